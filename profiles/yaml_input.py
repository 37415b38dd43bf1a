"""Strict YAML at the border: every error names file, line, column and key.

What a file says is read once, in one way: see `profiles.yaml_nodes` and `profiles.yaml_scalars` for
what is refused, and `profiles.yaml_errors` for how a model's complaint becomes a message.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from profiles.errors import InputError
from profiles.yaml_characters import MOST_BYTES, decoded
from profiles.yaml_nodes import Mapping, nodes, place
from profiles.yaml_scalars import has_day, plain_data

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, model: type[Model], settings: Sequence[str] = ()) -> Model:
    """Read a YAML file, or standard input for ``-``, into a pydantic model.

    Args:
        path: The file.
        model: What it should be.
        settings: ``path=value`` each, set over what the file says (`profiles.yaml_settings`).

    Raises:
        InputError: Unreadable file, what YAML readers disagree about, a duplicate or unknown key,
            a wrong value.
    """
    return parse_yaml(read_text(path), model, str(path), settings)


def read_text(path: Path) -> str:
    """The text of a file, or of standard input for ``-``.

    Raises:
        InputError: Unreadable, too large, or not UTF-8.
    """
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(
            "cannot read the file",
            where=str(path),
            got=str(error),
            next_step="name a file that is there and may be read",
        ) from error
    return decoded(content, str(path))


def input_bytes(path: Path) -> bytes:
    """The bytes of a file; those of standard input for ``-``."""
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def parse_yaml(text: str, model: type[Model], name: str, settings: Sequence[str] = ()) -> Model:
    """Read YAML text into a pydantic model; `name` stands for the file in errors.

    Raises:
        InputError: As of `read_yaml`.
    """
    root, data = parsed(text, name)
    if settings:
        from profiles.yaml_settings import set_over  # noqa: PLC0415 - few commands set anything

        set_over(root, settings, name)
        data = plain_data(root, name)
    return validated(data, model, root, name)


def parse_json(text: str, model: type[Model], name: str) -> Model:
    """Read JSON that we wrote ourselves; its numbers may have exponents that YAML is refused.

    Raises:
        InputError: It does not fit the model.
    """
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            first["msg"],
            where=f"{name}: {'.'.join(map(str, first['loc'])) or 'the text'}",
            got=reprlib.repr(first["input"]),
        ) from error


def parsed(text: str, name: str) -> tuple[Mapping, dict[str, Any]]:
    """A file's nodes, and the same as JSON has it.

    Raises:
        InputError: It is not YAML that all readers take alike, or no mapping.
    """
    root = nodes(text, name)
    if not isinstance(root, Mapping):
        raise InputError(
            "the file is not a mapping",
            where=place(root, name),
            expected="keys and values",
            got="nothing" if root is None else reprlib.repr(plain_data(root, name)),
            next_step="write 'key: value' lines",
        )
    data: dict[str, Any] = plain_data(root, name)
    return root, data


def validated(data: dict[str, Any], model: type[Model], root: Mapping, name: str) -> Model:
    """Data as JSON has it in a model, strictly: no text counts as a number, nor 1 as true.

    Args:
        data: What the nodes say.
        model: What it should be.
        root: Where every key of it stands.
        name: The file's name in errors.

    Raises:
        InputError: Names the place of the first thing that is wrong.
    """
    try:
        found = model.model_validate_json(to_json(data), strict=True)
    except ValidationError as error:
        from profiles.yaml_errors import explained  # noqa: PLC0415 - only mistakes need it

        raise explained(error, root, model, name) from error
    if has_day(root):
        from profiles.yaml_errors import misread_day  # noqa: PLC0415 - few files have days

        if day := misread_day(found, root, name):
            raise day
    return found
