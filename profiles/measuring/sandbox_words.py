"""The values that travel between a sandboxed program and its tests, as JSON."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

SCALARS = (bool, int, float, str)
COLLECTIONS = (tuple, set, frozenset, deque)
MUTABLE: dict[str, type] = {kind.__name__: kind for kind in (list, dict, set, deque)}
_TAGGED: dict[str, type] = {kind.__name__: kind for kind in COLLECTIONS}
_MOMENTS: dict[str, type] = {kind.__name__: kind for kind in (datetime, date, time)}
PLAIN = (*SCALARS, *COLLECTIONS, *_MOMENTS.values(), list, dict, bytes, bytearray, complex,
         Fraction, Decimal, timedelta, range, type(None))  # fmt: skip


def encode(value: Any, other: Callable[[Any], Any]) -> Any:  # noqa: PLR0911 - one per kind of value
    """A value as JSON.

    Args:
        value: Any object.
        other: What to send in place of an object that is no plain value.
    """
    kind = type(value)
    if value is None or kind in SCALARS:
        return value
    if value is NotImplemented:
        return {"nothing": "NotImplemented"}
    if kind is list:
        return [encode(item, other) for item in value]
    if kind is dict:
        return {"dict": [[encode(key, other), encode(item, other)] for key, item in value.items()]}
    if kind in COLLECTIONS:
        return {kind.__name__: [encode(item, other) for item in value]}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind in (bytes, bytearray):
        return {kind.__name__: value.hex()}
    return _number_or_moment(value, kind, other)


def _number_or_moment(value: Any, kind: type, other: Callable[[Any], Any]) -> Any:
    if kind in (Fraction, Decimal):
        return {kind.__name__: str(value)}
    if kind is range:
        return {"range": [value.start, value.stop, value.step]}
    if kind is timedelta:
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if kind in _MOMENTS.values() and getattr(value, "tzinfo", None) is None:
        return {kind.__name__: value.isoformat()}
    if kind.__module__ == "numpy" and isinstance(value, Integral | Real):
        return int(value) if isinstance(value, Integral) else float(value)
    return other(value)


def decode(value: Any, other: Callable[[dict[str, Any]], Any]) -> Any:  # noqa: PLR0911 - see above
    """The value behind `encode`'s JSON.

    Args:
        value: What `json.loads` gave.
        other: Makes something of the words that `encode`'s ``other`` sent.

    Raises:
        ValueError, TypeError, KeyError, ArithmeticError, RecursionError: It is no such value.
    """
    if isinstance(value, list):
        return [decode(item, other) for item in value]
    if not isinstance(value, dict):
        return value
    if "held" in value:
        return other(value)
    ((tag, inner),) = value.items()
    if tag == "dict":
        return {decode(key, other): decode(item, other) for key, item in inner}
    if tag in _TAGGED:
        return _TAGGED[tag](decode(item, other) for item in inner)
    if tag in _MOMENTS:
        return _MOMENTS[tag].fromisoformat(inner)  # type: ignore[attr-defined] # all three have it
    return _SIMPLE[tag](inner)


_SIMPLE: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda _: NotImplemented,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda parts: complex(*parts),
    "Fraction": Fraction,
    "Decimal": Decimal,
    "range": lambda parts: range(*parts),
    "timedelta": lambda parts: timedelta(*parts),
}
