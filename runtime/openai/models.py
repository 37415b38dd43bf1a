"""Models on the wire: one, and the list of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec


class Model(msgspec.Struct):
    """One model that clients may name."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "inferbudget"


class ModelList(msgspec.Struct):
    """All of them."""

    data: list[Model]
    object: Literal["list"] = "list"


_encoder = msgspec.json.Encoder()


def models_body(names: Iterable[str]) -> bytes:
    """The list of models."""
    return _encoder.encode(ModelList([Model(name) for name in names]))


def model_body(name: str) -> bytes:
    """One model."""
    return _encoder.encode(Model(name))
