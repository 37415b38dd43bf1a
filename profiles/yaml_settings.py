"""Values set over those of a file, as a command line or a page does it.

``limits.accuracy.overall=0.9`` sets one value; the part behind the first ``=`` is YAML, so that
``limits.spend={usd_per_request: 0.004}`` replaces a part and ``limits.latency=null`` takes it away,
as if the file did not have it.
A key with a dot in it stands in double quotes: ``limits.accuracy.by_class."v1.5"=0.8``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from profiles.errors import InputError
from profiles.visible import quoted
from profiles.yaml_nodes import List, Mapping, Node, Scalar, nodes
from profiles.yaml_scalars import plain_data

_KEY = re.compile(r'"((?:[^"\\]|\\["\\])+)"|([^".=\s]+)')
_ONE = r'(?:"(?:[^"\\]|\\["\\])+"|[^".=\s]+)'
_PATH = re.compile(rf"({_ONE}(?:\.{_ONE}){{0,31}})=")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_VALUE = "value"


def set_over(root: Mapping, settings: Sequence[str], name: str) -> None:
    """Set values over a file's nodes, one after the other.

    Args:
        root: The file's; changed. What was set has line 0.
        settings: ``path=value`` each.
        name: The file's name in errors.

    Raises:
        InputError: A setting is no path and value, or leads through what has no keys.
    """
    for setting in settings:
        keys, text = _parts(setting)
        value = _value(text, setting)
        at = root
        for key in keys[:-1]:
            if key not in at.values:
                at.keys[key], at.values[key] = Scalar(key, False, 0, 0), Mapping(0, 0)
            below = at.values[key]
            if _is_null(below):
                below = at.values[key] = Mapping(0, 0)
            if not isinstance(below, Mapping):
                raise InputError(
                    f"{quoted(key)} has no keys of its own",
                    where=f"--set {quoted(setting)} over {name}",
                    next_step=f"set {quoted(key)} as a whole",
                )
            at = below
        if _is_null(value):
            at.keys.pop(keys[-1], None)
            at.values.pop(keys[-1], None)
        else:
            at.keys[keys[-1]], at.values[keys[-1]] = Scalar(keys[-1], False, 0, 0), value


def setting(keys: Sequence[str], value: Any) -> str:
    """The text that sets a value: numbers, texts, truth values, None, lists and mappings."""
    return f"{_path(keys)}={flow(value)}"


def parted(text: str) -> tuple[str, Any]:
    """The path of a setting as `setting` spells it, and its value as JSON has it.

    Raises:
        InputError: It is no path and value.
    """
    keys, value = _parts(text)
    return _path(keys), plain_data(_value(value, text), f"--set {quoted(text)}")


def flow(value: Any) -> str:
    """A value in one line of the YAML that files are read as: numbers without exponents."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    return json.dumps(value, ensure_ascii=False)


def _path(keys: Sequence[str]) -> str:
    return ".".join(map(_key, keys))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _parts(setting: str) -> tuple[list[str], str]:
    path = _PATH.match(setting)
    if path is None:
        raise InputError(
            "this sets nothing",
            where=f"--set {quoted(setting)}",
            expected="path=value, e.g. limits.accuracy.overall=0.9",
            next_step='put a key that has dots or = in it in double quotes: by_class."v1.5"=0.8',
        )
    keys = [
        json.loads(f'"{in_quotes}"', strict=False) if in_quotes else bare
        for in_quotes, bare in _KEY.findall(path[1])
    ]
    return keys, setting[path.end() :]


def _value(text: str, setting: str) -> Node:
    root = nodes(f"{_VALUE}: {text}", f"--set {quoted(setting)}")
    if not isinstance(root, Mapping) or list(root.values) != [_VALUE]:
        raise InputError(
            "this is not one value",
            where=f"--set {quoted(setting)}",
            expected="a number, a text, null, [..] or {..} behind the =",
        )
    for node in _all(root):
        node.line = node.column = 0
    return root.values[_VALUE]


def _all(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, List):
        for item in node.items:
            yield from _all(item)
    elif isinstance(node, Mapping):
        yield from node.keys.values()
        for value in node.values.values():
            yield from _all(value)


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.bare and node.text == "null"
