"""The difficulty estimator as an ONNX graph: raw text in, predicted scores and class out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto

from profiles.difficulty.nodes import Graph, floats
from profiles.difficulty.text_features import text_features
from profiles.digest import digest_bytes
from profiles.errors import InputError

FORMAT_VERSION = "1.0"

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
    graph = Graph()
    raw = graph.add("Add", graph.add("MatMul", text_features(graph), weights), bias)
    scores = graph.add("Clip", raw, floats(0).reshape(()), floats(1).reshape(()))
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
