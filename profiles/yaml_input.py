"""Strict YAML at the border: every error names file, line and key."""

from __future__ import annotations

import difflib
import reprlib
import sys
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from profiles.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file, or standard input for ``-``, into a pydantic model.

    Raises:
        InputError: Unreadable file, invalid YAML, a duplicate or unknown key, a wrong value.
    """
    try:
        text = input_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot read the file", where=str(path), got=str(error)) from error
    return parse_yaml(text, model, str(path))


def input_bytes(path: Path) -> bytes:
    """The bytes of a file; those of standard input for ``-``."""
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def parse_yaml(text: str, model: type[Model], name: str) -> Model:
    """Read YAML text into a pydantic model; `name` stands for the file in errors."""
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        data = _Loader(name).construct(node) if node else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            error.problem or "this is not YAML",
            where=f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name,
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError("this is not YAML", where=name, got=str(error)) from error
    if not isinstance(data, dict):
        raise InputError(
            "the file is not a mapping",
            where=f"{name}:1",
            expected="keys and values",
            got=reprlib.repr(data),
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _explain(error, node, model, name) from error


class _Loader:
    """Safe construction that refuses duplicate keys and aliases (few bytes can hide gigabytes)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def construct(self, node: yaml.Node) -> Any:
        self._refuse_duplicates(node, set())
        loader = yaml.CSafeLoader("")
        try:
            return loader.construct_document(node)
        finally:
            loader.dispose()

    def _refuse_duplicates(self, node: yaml.Node, seen_nodes: set[int]) -> None:
        if id(node) in seen_nodes:
            raise InputError(
                "aliases are not supported",
                where=f"{self.name}:{node.start_mark.line + 1}",
                next_step="write the value out where it is used",
            )
        seen_nodes.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for child in node.value:
                self._refuse_duplicates(child, seen_nodes)
        if not isinstance(node, yaml.MappingNode):
            return
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise InputError(
                        f"the key {key.value!r} stands twice",
                        where=f"{self.name}:{key.start_mark.line + 1}",
                        next_step="keep one of them",
                    )
                keys.add(key.value)
            self._refuse_duplicates(value, seen_nodes)


def _explain(
    error: ValidationError, node: yaml.Node | None, model: type[BaseModel], name: str
) -> InputError:
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"]]
    line, written = _locate(node, keys)
    place = f"{name}:{line}: {'.'.join(written) or 'the file'}"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(keys[-1], _known_keys(model), n=1)
        return InputError(
            f"unknown key {keys[-1]!r}",
            where=place,
            next_step=f"did you mean {near[0]!r}?" if near else "remove it",
        )
    if first["type"] == "missing":
        return InputError(f"{keys[-1]!r} is missing", where=place, next_step=f"add {keys[-1]!r}")
    message = first["msg"].removeprefix("Value error, ")
    got = None if isinstance(first["input"], dict) else reprlib.repr(first["input"])
    if keys[-1:] == ["format_version"] and isinstance(first["input"], float):
        return InputError(message, where=place, got=got, next_step='put it in quotes: "1.0"')
    return InputError(message, where=place, got=got)


def _locate(node: yaml.Node | None, keys: list[str]) -> tuple[int, list[str]]:
    """Line of the deepest key that the file really has, and the path to it.

    Pydantic puts names of union branches into a location; they are not keys and are skipped.
    """
    line = node.start_mark.line + 1 if node else 1
    written: list[str] = []
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == key), None)
            if found:
                line, node = found[0].start_mark.line + 1, found[1]
                written.append(key)
            elif key == keys[-1]:
                written.append(key)
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
            written.append(key)
    return line, written


def _known_keys(model: type[BaseModel]) -> list[str]:
    """Every key that appears anywhere in the model's schema."""
    found: set[str] = set()
    schema = model.model_json_schema()
    for part in [schema, *schema.get("$defs", {}).values()]:
        found.update(part.get("properties", {}))
    return sorted(found)
