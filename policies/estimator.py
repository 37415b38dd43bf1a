"""The difficulty graph as policies see it: what it reads and which labels it knows."""

from __future__ import annotations

import json
from typing import Any

import onnx

from policies.policy import inputs_of
from profiles.errors import InputError

_FIT_AGAIN = "run 'inferbudget difficulty fit' again"


def load_estimator(content: bytes) -> Any:
    """The ONNX model of a difficulty graph.

    Raises:
        InputError: The bytes are no ONNX file.
    """
    try:
        return onnx.load_from_string(content)
    except Exception as error:  # protobuf names no exception of its own
        raise InputError(
            "the difficulty graph is not an ONNX file",
            where="difficulty graph",
            got=str(error),
            next_step=_FIT_AGAIN,
        ) from error


def known_labels(content: bytes, source: str) -> tuple[str, ...]:
    """The labels that a difficulty graph knows; none where it reads the text alone.

    Args:
        content: Bytes of the graph.
        source: What the plan sorts by.

    Raises:
        InputError: No ONNX file, a graph that reads other things than the plan sorts by, or one
            that reads labels and does not say which.
    """
    model = load_estimator(content)
    inputs = [value.name for value in model.graph.input]
    if ("label" in inputs) != ("label" in inputs_of(source)):
        raise InputError(
            "the difficulty graph reads other things than the plan sorts by",
            where="difficulty graph: inputs",
            expected=" and ".join(inputs_of(source)),
            got=" and ".join(inputs) or "none",
            next_step="pass the graph that the plan was made with, or plan again",
        )
    if "label" not in inputs:
        return ()
    found = {entry.key: entry.value for entry in model.metadata_props}.get("labels", "null")
    try:
        labels = json.loads(found)
    except ValueError:
        labels = None
    if not _are_labels(labels):
        raise InputError(
            "the difficulty graph reads a label and does not say which ones it knows",
            where="difficulty graph: metadata labels",
            expected="a list of different labels as JSON",
            got=found,
            next_step=_FIT_AGAIN,
        )
    return tuple(labels)


def _are_labels(found: object) -> bool:
    if not isinstance(found, list) or not found:
        return False
    return all(isinstance(label, str) and label for label in found) and len(set(found)) == len(
        found
    )
