"""Features of raw text, as nodes of an ONNX graph.

The trainer takes its features from the same nodes that later serve, so the two cannot differ.
Words, digits and punctuation marks are tokens, and so is every letter of a script that is written
without spaces between words; all digits count as one token. Keys are hashes of
single tokens and of pairs of neighbours, or of four characters in a row. What is counted of the
text's surface becomes steps, one column per threshold passed. Case is kept: folding it needs a
locale, which hosts do not share.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from profiles.difficulty.nodes import Graph, floats, ints

#: What is counted of a text, in this order.
SURFACE = ("words", "digits", "lines", "operators", "punctuation", "numbers", "characters / 8")
#: A column is on where the count is above its step.
STEPS = (
    *range(13),
    *(14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048),
)
STEP_SCALE = 0.1
"""What a step counts, beside tokens whose squares sum to 1."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
# RE2's syntax; a negated class of no letters and some letters is all other letters
_TOKEN = rf"[^\PL{_UNSPACED}]+|\n|[^\s\pL]|[{_UNSPACED}]"
_NUMBER = r"[0-9]+"
_EIGHT_CHARACTERS = r"(?s).{1,8}"
_PADDING = " "  # never a token: each has a character that is no blank
_MOST_TOKENS = 2048
_CHARACTER = r"(?s)."
_MOST_CHARACTERS = 8192
_WINDOW = 4
_BASE = 1 << 15
_KINDS = ("0123456789", "\n", "+-*/=<>^%", "!\"#$&'(),.:;?@[\\]_`{|}~")
_WORD, _DIGIT, _NO_TOKEN = 0, 1, len(_KINDS) + 1
_HASH_OF_DIGITS = 1
_MULTIPLIER = 1_000_003  # times a 32-bit hash stays below 2**63


def surface(graph: Graph) -> str:
    """Name of the float32[N, len(SURFACE) * len(STEPS)] of the input's surface counts."""
    return _steps(graph, _kind(graph, _tokens(graph, _TOKEN, _PADDING)))


def word_keys(graph: Graph) -> str:
    """Name of the int64[N, T] of keys of single tokens and pairs of neighbours; 0 is no token."""
    tokens = _tokens(graph, _TOKEN, _PADDING)
    kind = _kind(graph, tokens)
    keys, is_key = _singles_and_pairs(graph, tokens, kind)
    return graph.add("Where", is_key, keys, ints(0))


def character_keys(graph: Graph) -> str:
    """Name of the int64[N, T] of keys of four characters in a row; 0 where there are not four.

    A key is a number of four digits in base 2**15, one per character, so it cannot overflow. A
    decimal digit is 1, any other character 2 or more.
    """
    characters = _tokens(graph, _CHARACTER, "", _MOST_CHARACTERS)
    kind = graph.add(
        "LabelEncoder",
        characters,
        domain="ai.onnx.ml",
        keys_strings=["", *"0123456789"],
        values_int64s=[0, *([1] * 10)],
        default_int64=2,
    )
    hashed = graph.add("MurmurHash3", characters, domain="com.microsoft", positive=1)
    hashed = graph.add("Cast", hashed, to=TensorProto.INT64)
    hashed = graph.add("Add", graph.add("Mod", hashed, ints(_BASE - 2)), ints(2))
    digit = graph.add("Where", graph.add("Equal", kind, ints(2)), hashed, kind)
    # the end of a text is followed by padding alone, so a window is whole where its last one is
    end = int(np.iinfo(np.int64).max)
    keys = graph.add("Slice", digit, ints(0), ints(1 - _WINDOW), ints(1))
    for place in range(1, _WINDOW):
        stop = place + 1 - _WINDOW or end
        following = graph.add("Slice", digit, ints(place), ints(stop), ints(1))
        keys = graph.add("Add", graph.add("Mul", keys, ints(_BASE)), following)
    last = graph.add("Slice", kind, ints(_WINDOW - 1), ints(end), ints(1))
    keys = graph.add("Where", graph.add("Greater", last, ints(0)), keys, ints(0))
    nothing = graph.add("Concat", graph.add("Shape", "text"), ints(1), axis=0)
    return graph.add("Concat", keys, graph.add("Expand", ints(0), nothing), axis=1)


def _kind(graph: Graph, tokens: str) -> str:
    """int64[N, T]: `_WORD`, a kind of single character, or `_NO_TOKEN`."""
    return graph.add(
        "LabelEncoder",
        tokens,
        domain="ai.onnx.ml",
        keys_strings=[*"".join(_KINDS), _PADDING],
        values_int64s=[*(i for i, k in enumerate(_KINDS, start=1) for _ in k), _NO_TOKEN],
        default_int64=_WORD,
    )


def _steps(graph: Graph, kind: str) -> str:
    """float32[N, SURFACE * STEPS]: which steps each surface count passes."""
    kinds = ints(*range(_NO_TOKEN)).reshape(1, 1, -1)
    is_kind = graph.add("Equal", graph.add("Unsqueeze", kind, ints(2)), kinds)
    is_kind = graph.add("Cast", is_kind, to=TensorProto.FLOAT)
    counts = graph.add("ReduceSum", is_kind, ints(1), keepdims=0)
    more = [_count(graph, expression) for expression in (_NUMBER, _EIGHT_CHARACTERS)]
    counts = graph.add("Unsqueeze", graph.add("Concat", counts, *more, axis=1), ints(2))
    passed = graph.add("Greater", counts, floats(*STEPS).reshape(1, 1, -1))
    passed = graph.add("Cast", passed, to=TensorProto.FLOAT)
    passed = graph.add("Reshape", passed, ints(-1, len(SURFACE) * len(STEPS)))
    return graph.add("Mul", passed, floats(STEP_SCALE))


def _singles_and_pairs(graph: Graph, tokens: str, kind: str) -> tuple[str, str]:
    """int64[N, T] hashes of tokens, then of pairs; bool[N, T], false where padding is in it."""
    hashed = graph.add("MurmurHash3", tokens, domain="com.microsoft", positive=1)
    hashed = graph.add("Cast", hashed, to=TensorProto.INT64)
    is_digit = graph.add("Equal", kind, ints(_DIGIT))
    hashed = graph.add("Where", is_digit, ints(_HASH_OF_DIGITS), hashed)
    is_token = graph.add("Less", kind, ints(_NO_TOKEN))
    behind = graph.add("Slice", hashed, ints(0), ints(-1), ints(1))
    ahead = graph.add("Slice", hashed, ints(1), ints(_MOST_TOKENS), ints(1))
    is_pair = graph.add("Slice", is_token, ints(1), ints(_MOST_TOKENS), ints(1))
    pairs = graph.add("Add", graph.add("Mul", behind, ints(_MULTIPLIER)), ahead)
    keys = graph.add("Concat", hashed, pairs, axis=1)
    return keys, graph.add("Concat", is_token, is_pair, axis=1)


def _tokens(graph: Graph, expression: str, padding: str, most: int = _MOST_TOKENS) -> str:
    tokens = graph.add(
        "Tokenizer",
        "text",
        domain="com.microsoft",
        mark=0,
        mincharnum=1,
        pad_value=padding,
        tokenexp=expression,
    )
    return graph.add("Slice", tokens, ints(0), ints(most), ints(1))


def _count(graph: Graph, expression: str) -> str:
    """float32[N, 1]: matches of an expression that never matches the empty text."""
    is_match = graph.add(
        "LabelEncoder",
        _tokens(graph, expression, ""),
        domain="ai.onnx.ml",
        keys_strings=[""],
        values_floats=[0.0],
        default_float=1.0,
    )
    return graph.add("ReduceSum", is_match, ints(1), keepdims=1)
