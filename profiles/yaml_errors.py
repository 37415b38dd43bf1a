"""What a pydantic model says against a file, as one message with a place and a next step."""

from __future__ import annotations

import datetime as dt
import re
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from profiles.errors import InputError
from profiles.visible import LONGEST_NAME
from profiles.yaml_nodes import List, Mapping, Node, Scalar, place
from profiles.yaml_scalars import is_day

_UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "min": "minutes",
    "minutes": "minutes",
    "h": "hours",
    "hours": "hours",
    "usd": "US dollars",
    "eur": "euros",
    "cents": "cents",
    "percent": "per cent",
    "pct": "per cent",
    "share": "a share of 1",
    "fraction": "a share of 1",
    "g": "grams",
    "kg": "kilograms",
    "t": "tonnes",
    "joules": "joules",
    "j": "joules",
    "wh": "watt-hours",
    "kwh": "kilowatt-hours",
    "mwh": "megawatt-hours",
}
_MOST_KEYS = 12
_MOST_ERRORS = 50_000
"""Pydantic writes all of them out, or none: for a million it takes ten seconds."""
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?\Z")
_WITH_UNIT = re.compile(r"[-+$]?[0-9.,]+\s*\S{0,20}\Z")


def explained(
    error: ValidationError, root: Mapping, model: type[BaseModel], name: str
) -> InputError:
    """The complaint that helps most: a key that nobody knows, else the first."""
    if error.error_count() > _MOST_ERRORS:
        return InputError(
            "almost nothing in this file is as it should be",
            where=place(root, name),
            got=f"{error.error_count():,} keys and values that are wrong or missing",
            next_step="is this the file that you mean?",
        )
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    keys, node, key = located(root, [str(part) for part in first["loc"]])
    where = place(key or node, name, keys)
    match first["type"]:
        case "extra_forbidden":
            return _unknown_key(keys, root, model, where)
        case "missing":
            return InputError(
                f"{keys[-1]!r} is missing", where=where, next_step=f"add {keys[-1]!r}"
            )
    value = first["input"]
    return InputError(
        first["msg"].removeprefix("Value error, "),
        where=place(node if isinstance(node, Scalar) else key or node, name, keys),
        got=None if isinstance(value, dict) else _written(value),
        next_step=_next_step(first, keys, node),
    )


def located(root: Node, keys: Sequence[str]) -> tuple[list[str], Node, Scalar | None]:
    """The path that the file really has, the deepest node on it and that node's key.

    Pydantic puts names of union branches into a location; they are not keys and are skipped. A last
    key that the file lacks belongs to the path: it is missing there.
    """
    node: Node = root
    at: Scalar | None = None
    written: list[str] = []
    for position, key in enumerate(keys):
        if isinstance(node, Mapping) and key in node.values:
            at, node = node.keys[key], node.values[key]
            written.append(key)
        elif isinstance(node, List) and key.isdecimal() and int(key) < len(node.items):
            at, node = None, node.items[int(key)]
            written.append(key)
        elif isinstance(node, Mapping) and position == len(keys) - 1:
            written.append(key)
    return written, node, at


def misread_day(found: BaseModel, root: Mapping, name: str) -> InputError | None:
    """The first bare day that the model took for a text."""
    for keys, node in _days(root, ()):
        if not isinstance(_at(found, keys), dt.date):
            return InputError(
                f"{node.text} is a day to some YAML readers and a text to others",
                where=place(node, name, keys),
                expected="what all YAML readers take alike",
                got=node.text,
                next_step=f'a text is meant here: put it in quotes: "{node.text}"',
            )
    return None


def _days(node: Node, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Scalar]]:
    if isinstance(node, Scalar):
        if is_day(node):
            yield keys, node
    elif isinstance(node, List):
        for index, item in enumerate(node.items):
            yield from _days(item, (*keys, str(index)))
    else:
        for key, value in node.values.items():
            yield from _days(value, (*keys, key))


def _at(found: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        if isinstance(found, BaseModel):
            fields = type(found).model_fields
            names = (name for name, field in fields.items() if key in (name, field.alias))
            found = getattr(found, next(names, ""), None)
        elif isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, (list, tuple)) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def _next_step(error: ErrorDetails, keys: list[str], node: Node) -> str | None:
    """What to do about a wrong value, where its type says it."""
    value, kind = error["input"], error["type"]
    if keys[-1:] == ["format_version"] and isinstance(value, float):
        return f'put it in quotes: "{value}"'
    if kind == "string_type" and isinstance(node, Scalar) and node.bare:
        return f'put it in quotes: "{node.text}"'
    if kind in {"float_type", "int_type", "bool_type"} and isinstance(value, str):
        return _instead_of_text(value)
    if kind in {"int_type", "int_from_float"} and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if kind in {"literal_error", "enum"} and isinstance(value, str):
        words = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        near = _nearest(value, words)
        return f"did you mean {near[0]!r}?" if near else None
    return None


def _instead_of_text(value: str) -> str | None:
    """What to write where a text stands and a number or truth value is needed."""
    word = value.strip()
    if word in {"true", "false"} or _NUMBER.match(word):
        return f"take the quotes away: {word}"
    with_unit = _WITH_UNIT.match(word)
    return "write the number alone, without a unit: the key says which" if with_unit else None


def _written(value: Any) -> str:
    """A value as the file has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return reprlib.repr(value)


def _unknown_key(keys: list[str], root: Mapping, model: type[BaseModel], where: str) -> InputError:
    *path, key = keys
    parent = located(root, path)[1]
    there = parent.values if isinstance(parent, Mapping) else {}
    known = _known_keys(model, path)
    free = [word for word in known if word not in there]
    next_step = "remove it"
    if other := next((word for word in known if _same_but_unit(key, word)), None):
        unit = _UNITS[_unit(key, other)[1]]
        next_step = f"did you mean {other!r}? It is in {unit}: convert the number"
    elif near := _nearest(key, free) or _nearest(key, known):
        next_step = f"did you mean {near[0]!r}?"
    return InputError(
        f"unknown key {key!r}",
        where=where,
        expected=f"one of {', '.join(free)}" if 0 < len(free) <= _MOST_KEYS else None,
        next_step=next_step,
    )


def _nearest(word: str, known: Iterable[str]) -> list[str]:
    """The known word that is nearest, if any is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - slow, and only mistakes need it

    return get_close_matches(word, list(known), n=1) if len(word) <= LONGEST_NAME else []


def _unit(key: str, other: str) -> tuple[str, str]:
    pairs = zip(key.split("_"), other.split("_"), strict=True)
    return next((a, b) for a, b in pairs if a != b)


def _same_but_unit(key: str, other: str) -> bool:
    """Whether two keys differ in one word, and that is a unit in both."""
    words, others = key.split("_"), other.split("_")
    if len(words) != len(others):
        return False
    different = [(a, b) for a, b in zip(words, others, strict=True) if a != b]
    return len(different) == 1 and all(word in _UNITS for word in different[0])


def _known_keys(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys that the model's schema has at a path, in its order."""
    schema = _schema(model)
    parts = [schema]
    for key in path:
        parts = [inner for part in parts for inner in _inside(_resolved(part, schema), key)]
    found: dict[str, None] = {}
    for part in parts:
        for resolved in _resolved(part, schema):
            found |= dict.fromkeys(resolved.get("properties", {}))
    return list(found)


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A part of a schema with references and alternatives followed."""
    if "$ref" in part:
        return _resolved(schema["$defs"][part["$ref"].rpartition("/")[2]], schema)
    branches = [*part.get("anyOf", ()), *part.get("allOf", ())]
    return [part, *(found for branch in branches for found in _resolved(branch, schema))]


def _inside(parts: Iterable[dict[str, Any]], key: str) -> Iterator[dict[str, Any]]:
    for part in parts:
        if key in part.get("properties", {}):
            yield part["properties"][key]
        elif isinstance(more := part.get("additionalProperties"), dict):
            yield more
        elif key.isdecimal() and isinstance(items := part.get("items"), dict):
            yield items
