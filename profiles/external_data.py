"""Which files beside an ONNX model hold some of its numbers: ONNX calls them external data.

Whoever loads a model reads those files too, so a digest of the model alone pins nothing of them.
The model is read as protobuf without the `onnx` package, which few of our commands may need. What
no writer of ONNX writes is refused, so that no other reader finds a file here that this one misses.
"""

from __future__ import annotations

from collections.abc import Iterator

from profiles.errors import InputError

AS_ONNX = ("session.load_model_format", "ONNX")
"""Session entry of ONNX Runtime: the same bytes could also be a model of its own format, of whose
files nothing is known here."""

_TENSOR = "TensorProto"
_INSIDE = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: _TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: _TENSOR,
        6: "GraphProto",
        10: _TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: _TENSOR, 2: _TENSOR},
}
"""By message of onnx.proto: the fields through which tensors are reached, with their messages."""
_EXTERNAL_DATA, _KEY, _VALUE = 13, 1, 2
_VARINT, _LENGTH_FIRST, _FIXED_BYTES = 0, 2, {1: 8, 5: 4}
_MOST_FIELDS, _MOST_VARINT_BYTES = 2**29, 10


def external_files(model: bytes, where: str) -> tuple[str, ...]:
    """Files that a model names, as it names them, sorted; none where it holds all of itself.

    Args:
        model: An ONNX file's bytes.
        where: What they are, for errors.

    Raises:
        InputError: The bytes are no ONNX model.
    """
    try:
        return tuple(sorted(set(_locations(model))))
    except ValueError as error:
        raise InputError("this is not an ONNX model", where=where, got=str(error)) from error


def require_whole(model: bytes, where: str, next_step: str) -> None:
    """Refuse a model that keeps numbers in other files: its digest would not pin them.

    Raises:
        InputError: It does, or the bytes are no ONNX model.
    """
    if found := external_files(model, where):
        raise InputError(
            "this graph keeps numbers in other files, which no digest pins",
            where=where,
            expected="one file that holds all of it",
            got=", ".join(map(repr, found)),
            next_step=next_step,
        )


def _locations(model: bytes) -> Iterator[str]:
    waiting = [("ModelProto", memoryview(model))]
    while waiting:
        kind, message = waiting.pop()
        for number, content in _fields(message):
            if kind != _TENSOR:
                if (inner := _INSIDE[kind].get(number)) is not None:
                    waiting.append((inner, content))
            elif number == _EXTERNAL_DATA:
                entry = dict(_fields(content))
                if entry.get(_KEY, b"") == b"location":
                    yield bytes(entry.get(_VALUE, b"")).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Fields that have a length: messages, texts and bytes.

    Raises:
        ValueError: It is cut off, or not as any writer of ONNX writes it.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            length, at = 0, _varint(message, at)[1]
        elif kind == _LENGTH_FIRST:
            length, at = _varint(message, at)
        else:
            length = _FIXED_BYTES.get(kind, len(message))
        if at + length > len(message) or not 0 < number < _MOST_FIELDS:
            raise ValueError("a field that is cut off, or that ONNX does not have")
        if kind == _LENGTH_FIRST:
            yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    found = 0
    for place, byte in enumerate(message[at : at + _MOST_VARINT_BYTES]):
        found |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return found, at + place + 1
    raise ValueError("a number that does not end")
