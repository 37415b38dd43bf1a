"""Numbers as files write them: what is accepted, what is repaired, what is refused."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
_BOOLEANS = {"true": 1.0, "false": 0.0}
_ABSENT = {"", "null", "none", "n/a", "na"}
_LARGEST = 1e15  # beyond it whole numbers are no longer exact


class BadNumberError(ValueError):
    """A value that is not a usable number; the text says why."""


class PerCentError(BadNumberError):
    """A value with a per-cent sign, where nobody said that it is per cent."""


def is_absent(value: Any) -> bool:
    """Whether a value stands for "not recorded"."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _ABSENT)


def read_number(value: Any, *, per_cent: bool = False) -> tuple[float, bool]:
    """A finite number and whether its text had to be repaired (``1,234.5``).

    Args:
        value: Text, a number (also a decimal one) or a boolean.
        per_cent: A sign behind the number is expected; the number itself is not divided.

    Raises:
        BadNumberError: Text, NaN, infinity, beyond 1e15, or a per-cent sign nobody declared.
    """
    if type(value) is float:
        return _finite(value), False
    repaired = False
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and "_" not in text:
            with suppress(ValueError):  # most values are plain, and a million of them adds up
                return _finite(float(text)), False
        if text.endswith("%"):
            if not per_cent:
                raise PerCentError("has a per-cent sign")
            text, repaired = text[:-1].rstrip(), True
        if "," in text and _GROUPED.fullmatch(text):
            text, repaired = text.replace(",", ""), True
        boolean = _BOOLEANS.get(text.lower())
        return (_finite(_parsed(text)), repaired) if boolean is None else (boolean, False)
    if isinstance(value, bool | int | float | Decimal):
        return _finite(_converted(value)), False
    raise BadNumberError("not a number")


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise BadNumberError("NaN or infinite")
    if abs(number) > _LARGEST:
        raise BadNumberError("too large")
    return number


def _parsed(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    if text.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        return math.nan
    raise BadNumberError("not a number")


def _converted(value: float | Decimal) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
