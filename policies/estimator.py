"""The difficulty graph as policies see it: what it reads, which labels and encoder it knows."""

from __future__ import annotations

import json
from typing import Any

import onnx
from pydantic import ValidationError

from policies.policy import EMBEDDING, PolicyEncoder, inputs_of
from profiles.errors import InputError
from profiles.external_data import require_whole

_FIT_AGAIN = "run 'inferbudget difficulty fit' again"


def load_estimator(content: bytes) -> Any:
    """The ONNX model of a difficulty graph.

    Raises:
        InputError: The bytes are no ONNX file, or name files that hold more of it.
    """
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf names no exception of its own
        raise InputError(
            "the difficulty graph is not an ONNX file",
            where="difficulty graph",
            got=str(error),
            next_step=_FIT_AGAIN,
        ) from error
    require_whole(content, "difficulty graph", _FIT_AGAIN)
    return model


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


def pinned_encoder(content: bytes) -> PolicyEncoder | None:
    """The encoder whose vectors a difficulty graph reads; None where the text is enough.

    Args:
        content: Bytes of the graph.

    Raises:
        InputError: No ONNX file, or one that does not read the vectors of the encoder it names.
    """
    model = load_estimator(content)
    found = {entry.key: entry.value for entry in model.metadata_props}.get("encoder")
    reads = next((value for value in model.graph.input if value.name == EMBEDDING), None)
    if found is None and reads is None:
        return None
    try:
        encoder = PolicyEncoder.model_validate_json(found or "null")
    except ValidationError:
        encoder = None
    if encoder is None or reads is None or not _takes(reads, encoder.width):
        raise InputError(
            "the difficulty graph does not read the vectors of the encoder that it names",
            where=f"difficulty graph: metadata encoder, input {EMBEDDING}",
            expected="digest, width D, max_tokens and pooling as JSON, and float32[N, D]",
            got=f"{found or 'nothing'}, and {_shown(reads)}",
            next_step=_FIT_AGAIN,
        )
    return encoder


def _takes(value: Any, width: int) -> bool:
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    floats = tensor.elem_type == onnx.TensorProto.FLOAT
    return bool(floats and len(dims) == 2 and dims[1].dim_value == width)


def _shown(value: Any) -> str:
    if value is None:
        return "no such input"
    dims = value.type.tensor_type.shape.dim
    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return f"{kind}[{', '.join(str(dim.dim_value or dim.dim_param) for dim in dims)}]"


def _are_labels(found: object) -> bool:
    if not isinstance(found, list) or not found:
        return False
    return all(isinstance(label, str) and label for label in found) and len(set(found)) == len(
        found
    )
