"""The difficulty estimator as an ONNX graph: raw text in, predicted scores and class out.

The trainer takes its features from the same nodes that later serve, so the two cannot differ.
Words, digits and punctuation marks are tokens; all digits count as one token. Single tokens and
pairs of neighbours are hashed into `WIDTH` buckets; a bucket holds the square root of its share
of the tokens, so every text has length 1 (Hellinger map, Perronnin et al. 2010). What is counted
of the text's surface becomes steps, one column per threshold passed. The rest is linear. Case is
kept: folding it needs a locale, which hosts do not share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from profiles.digest import digest_bytes
from profiles.errors import InputError

FORMAT_VERSION = "1.0"
PREFIX = "difficulty/"
OPSETS: Mapping[str, int] = {"": 18, "ai.onnx.ml": 3, "com.microsoft": 1}
IR_VERSION = 10

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

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What an estimator's file says of itself.

    Attributes:
        digest: Of the file's bytes; predicted classes are stored under it.
        workload: What it was fitted on.
        class_names: Easiest first; `class_index` points here.
        strategies: Columns of `predicted_scores`.
        note: For people.
    """

    digest: str
    workload: str
    class_names: tuple[str, ...]
    strategies: tuple[str, ...]
    note: str


def feature_model() -> onnx.ModelProto:
    """The feature part alone: `text` string[N] to `features` float32[N, FEATURES]."""
    graph = _Graph()
    graph.add("Identity", _features(graph), output="features")
    return graph.model({"features": (TensorProto.FLOAT, ["N", FEATURES])}, {})


def build(
    weights: Floats,
    bias: Floats,
    prototypes: Floats,
    *,
    workload: str,
    class_names: tuple[str, ...],
    strategies: tuple[str, ...],
    note: str,
) -> onnx.ModelProto:
    """The estimator: `text` string[N] to `class_index` int64[N], `predicted_scores` float32[N, S].

    Args:
        weights: float32[FEATURES, S].
        bias: float32[S].
        prototypes: float32[C, S]; a text belongs to the nearest one to its predicted scores.
        workload: What it was fitted on.
        class_names: C names, easiest first.
        strategies: S canonical texts.
        note: For people.
    """
    graph = _Graph()
    raw = graph.add("Add", graph.add("MatMul", _features(graph), weights), bias)
    scores = graph.add("Clip", raw, _float(0).reshape(()), _float(1).reshape(()))
    graph.add("Identity", scores, output="predicted_scores")
    # nearest prototype: |p - c|^2 is smallest where 2 p c - |c|^2 is largest
    nearness = graph.add("MatMul", scores, 2 * prototypes.T)
    nearness = graph.add("Sub", nearness, (prototypes**2).sum(axis=1))
    graph.add("ArgMax", nearness, output="class_index", axis=1, keepdims=0)
    return graph.model(
        {
            "class_index": (TensorProto.INT64, ["N"]),
            "predicted_scores": (TensorProto.FLOAT, ["N", len(strategies)]),
        },
        {
            "inferbudget_format_version": FORMAT_VERSION,
            "workload": workload,
            "class_names": json.dumps(class_names),
            "strategies": json.dumps(strategies),
            "note": note,
        },
    )


def read_facts(path: Path) -> GraphFacts:
    """Read what an estimator's file says of itself.

    Raises:
        InputError: Unreadable, not an estimator, or of a newer format.
    """
    try:
        content = path.read_bytes()
        model = onnx.load_from_string(content)
    except (OSError, DecodeError, ValueError) as error:
        raise InputError(
            "cannot read the difficulty estimator", where=str(path), got=str(error)
        ) from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    version = properties.get("inferbudget_format_version", "")
    if version.split(".")[0] != FORMAT_VERSION.split(".", maxsplit=1)[0]:
        raise InputError(
            "this is not a difficulty estimator that this version can read",
            where=f"{path}: inferbudget_format_version",
            expected=FORMAT_VERSION,
            got=repr(version),
            next_step="fit one with 'inferbudget difficulty fit'",
        )
    try:
        return GraphFacts(
            digest=digest_bytes(content),
            workload=properties["workload"],
            class_names=tuple(map(str, json.loads(properties["class_names"]))),
            strategies=tuple(map(str, json.loads(properties["strategies"]))),
            note=properties.get("note", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "the estimator's metadata is damaged", where=str(path), got=str(error)
        ) from error


def _features(graph: _Graph) -> str:
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


def _steps(graph: _Graph, kind: str) -> str:
    """float32[N, SURFACE * STEPS]: which steps each surface count passes."""
    kinds = _int(*range(_NO_TOKEN)).reshape(1, 1, -1)
    is_kind = graph.add("Equal", graph.add("Unsqueeze", kind, _int(2)), kinds)
    is_kind = graph.add("Cast", is_kind, to=TensorProto.FLOAT)
    counts = graph.add("ReduceSum", is_kind, _int(1), keepdims=0)
    more = [_count(graph, expression) for expression in (_NUMBER, _EIGHT_CHARACTERS)]
    counts = graph.add("Unsqueeze", graph.add("Concat", counts, *more, axis=1), _int(2))
    passed = graph.add("Greater", counts, _float(*STEPS).reshape(1, 1, -1))
    passed = graph.add("Cast", passed, to=TensorProto.FLOAT)
    passed = graph.add("Reshape", passed, _int(-1, len(SURFACE) * len(STEPS)))
    return graph.add("Mul", passed, _float(STEP_SCALE))


def _buckets(graph: _Graph, tokens: str, kind: str) -> str:
    """float32[N, WIDTH]: roots of the shares of hashed tokens and pairs of neighbours."""
    hashed = graph.add("MurmurHash3", tokens, domain="com.microsoft", positive=1)
    hashed = graph.add("Cast", hashed, to=TensorProto.INT64)
    is_digit = graph.add("Equal", kind, _int(_DIGIT))
    hashed = graph.add("Where", is_digit, _int(_HASH_OF_DIGITS), hashed)
    is_token = graph.add("Less", kind, _int(_NO_TOKEN))
    behind = graph.add("Slice", hashed, _int(0), _int(-1), _int(1))
    ahead = graph.add("Slice", hashed, _int(1), _int(_MOST_TOKENS), _int(1))
    is_pair = graph.add("Slice", is_token, _int(1), _int(_MOST_TOKENS), _int(1))
    pairs = graph.add("Add", graph.add("Mul", behind, _int(_MULTIPLIER)), ahead)
    ids = graph.add("Mod", graph.add("Concat", hashed, pairs, axis=1), _int(WIDTH))
    is_id = graph.add("Concat", is_token, is_pair, axis=1)
    ids = graph.add("Where", is_id, ids, _int(WIDTH))  # padding falls into a bucket of its own
    size = graph.add("Concat", graph.add("Shape", "text"), _int(WIDTH + 1), axis=0)
    counts = graph.add(
        "ScatterElements",
        graph.add("Expand", _float(0), size),
        ids,
        graph.add("Expand", _float(1), graph.add("Shape", ids)),
        axis=1,
        reduction="add",
    )
    counts = graph.add("Slice", counts, _int(0), _int(WIDTH), _int(1))
    total = graph.add("ReduceSum", counts, _int(1), keepdims=1)
    return graph.add("Sqrt", graph.add("Div", counts, graph.add("Max", total, _float(1))))


def _tokens(graph: _Graph, expression: str, padding: str) -> str:
    tokens = graph.add(
        "Tokenizer",
        "text",
        domain="com.microsoft",
        mark=0,
        mincharnum=1,
        pad_value=padding,
        tokenexp=expression,
    )
    return graph.add("Slice", tokens, _int(0), _int(_MOST_TOKENS), _int(1))


def _count(graph: _Graph, expression: str) -> str:
    """float32[N, 1]: matches of an expression that never matches the empty text."""
    is_match = graph.add(
        "LabelEncoder",
        _tokens(graph, expression, ""),
        domain="ai.onnx.ml",
        keys_strings=[""],
        values_floats=[0.0],
        default_float=1.0,
    )
    return graph.add("ReduceSum", is_match, _int(1), keepdims=1)


class _Graph:
    """Nodes and constants under one prefix, so that the graph can be merged into another."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(
        self,
        kind: str,
        *inputs: str | NDArray[Any],
        domain: str = "",
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Append a node; arrays become constants. Returns the name of its output."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        name = f"{PREFIX}{kind}_{len(self._nodes)}"
        output = output or f"{name}:0"
        node = helper.make_node(kind, names, [output], name=name, domain=domain, **attributes)
        self._nodes.append(node)
        return output

    def model(
        self, outputs: Mapping[str, tuple[int, list[str | int]]], properties: Mapping[str, str]
    ) -> onnx.ModelProto:
        """The model with the one input `text`."""
        graph = helper.make_graph(
            self._nodes,
            "difficulty",
            [helper.make_tensor_value_info("text", TensorProto.STRING, ["N"])],
            [helper.make_tensor_value_info(n, kind, dims) for n, (kind, dims) in outputs.items()],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(name, v) for name, v in OPSETS.items()],
            ir_version=IR_VERSION,
            producer_name="inferbudget",
        )
        helper.set_model_props(model, dict(properties))
        return model

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"{PREFIX}constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _int(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _float(*values: float) -> Floats:
    return np.array(values, dtype=np.float32)
