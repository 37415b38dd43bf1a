"""Features of raw text, as nodes of an ONNX graph.

The trainer takes its features from the same nodes that later serve, so the two cannot differ.
Words, digits and punctuation marks are tokens; all digits count as one token. Single tokens and
pairs of neighbours are hashed into `WIDTH` buckets; a bucket holds the square root of its share
of the tokens, so every text has length 1 (Hellinger map, Perronnin et al. 2010). What is counted
of the text's surface becomes steps, one column per threshold passed. Case is kept: folding it
needs a locale, which hosts do not share.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from profiles.difficulty.nodes import Graph, floats, ints

WIDTH = 4096
#: What is counted of a text, in this order.
SURFACE = ("words", "digits", "lines", "operators", "punctuation", "numbers", "characters / 8")
#: A column is on where the count is above its step.
STEPS = (
    *range(13),
    *(14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048),
)
STEP_SCALE = 0.2
FEATURES = WIDTH + len(SURFACE) * len(STEPS)

_TOKEN = r"\pL+|\n|[^\s\pL]"  # noqa: S105 - an expression in RE2's syntax, not a secret
_NUMBER = r"[0-9]+"
_EIGHT_CHARACTERS = r"(?s).{1,8}"
_PADDING = " "  # never a token: each has a character that is no blank
_MOST_TOKENS = 2048
_KINDS = ("0123456789", "\n", "+-*/=<>^%", "!\"#$&'(),.:;?@[\\]_`{|}~")
_WORD, _DIGIT, _NO_TOKEN = 0, 1, len(_KINDS) + 1
_HASH_OF_DIGITS = 1
_MULTIPLIER = 1_000_003  # times a 32-bit hash stays below 2**63


def feature_model() -> onnx.ModelProto:
    """The feature part alone: `text` string[N] to `features` float32[N, FEATURES]."""
    graph = Graph()
    graph.add("Identity", text_features(graph), output="features")
    return graph.model({"features": (TensorProto.FLOAT, ["N", FEATURES])}, {})


def text_features(graph: Graph) -> str:
    """Name of the float32[N, FEATURES] of the graph's input `text`."""
    tokens = _tokens(graph, _TOKEN, _PADDING)
    kind = graph.add(
        "LabelEncoder",
        tokens,
        domain="ai.onnx.ml",
        keys_strings=[*"".join(_KINDS), _PADDING],
        values_int64s=[*(i for i, k in enumerate(_KINDS, start=1) for _ in k), _NO_TOKEN],
        default_int64=_WORD,
    )
    buckets = _buckets(graph, tokens, kind)
    return graph.add("Concat", buckets, _steps(graph, kind), axis=1)


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


def _buckets(graph: Graph, tokens: str, kind: str) -> str:
    """float32[N, WIDTH]: roots of the shares of hashed tokens and pairs of neighbours."""
    hashed = graph.add("MurmurHash3", tokens, domain="com.microsoft", positive=1)
    hashed = graph.add("Cast", hashed, to=TensorProto.INT64)
    is_digit = graph.add("Equal", kind, ints(_DIGIT))
    hashed = graph.add("Where", is_digit, ints(_HASH_OF_DIGITS), hashed)
    is_token = graph.add("Less", kind, ints(_NO_TOKEN))
    behind = graph.add("Slice", hashed, ints(0), ints(-1), ints(1))
    ahead = graph.add("Slice", hashed, ints(1), ints(_MOST_TOKENS), ints(1))
    is_pair = graph.add("Slice", is_token, ints(1), ints(_MOST_TOKENS), ints(1))
    pairs = graph.add("Add", graph.add("Mul", behind, ints(_MULTIPLIER)), ahead)
    ids = graph.add("Mod", graph.add("Concat", hashed, pairs, axis=1), ints(WIDTH))
    is_id = graph.add("Concat", is_token, is_pair, axis=1)
    ids = graph.add("Where", is_id, ids, ints(WIDTH))  # padding falls into a bucket of its own
    size = graph.add("Concat", graph.add("Shape", "text"), ints(WIDTH + 1), axis=0)
    counts = graph.add(
        "ScatterElements",
        graph.add("Expand", floats(0), size),
        ids,
        graph.add("Expand", floats(1), graph.add("Shape", ids)),
        axis=1,
        reduction="add",
    )
    counts = graph.add("Slice", counts, ints(0), ints(WIDTH), ints(1))
    total = graph.add("ReduceSum", counts, ints(1), keepdims=1)
    return graph.add("Sqrt", graph.add("Div", counts, graph.add("Max", total, floats(1))))


def _tokens(graph: Graph, expression: str, padding: str) -> str:
    tokens = graph.add(
        "Tokenizer",
        "text",
        domain="com.microsoft",
        mark=0,
        mincharnum=1,
        pad_value=padding,
        tokenexp=expression,
    )
    return graph.add("Slice", tokens, ints(0), ints(_MOST_TOKENS), ints(1))


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
