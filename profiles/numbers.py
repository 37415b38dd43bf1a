"""Numbers as files write them: what is accepted, what is repaired, what is refused."""

from __future__ import annotations

import math
import re
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
_BOOLEANS = {"true": 1.0, "false": 0.0}
_ABSENT = {"", "null", "none", "n/a", "na"}
_LARGEST = 1e15  # beyond it whole numbers are no longer exact


class BadNumberError(ValueError):
    """A value that is not a usable number; the text says why."""


def is_absent(value: Any) -> bool:
    """Whether a value stands for "not recorded"."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _ABSENT)


def read_number(value: Any) -> tuple[float, bool]:
    """A finite number and whether its text had to be repaired (``1,234.5``).

    Raises:
        BadNumberError: Text, NaN, infinity, or beyond 1e15.
    """
    repaired = False
    if isinstance(value, str):
        text = value.strip()
        repaired = bool(_GROUPED.fullmatch(text))
        text = text.replace(",", "") if repaired else text
        if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()], False
        number = _parsed(text)
    elif isinstance(value, bool | int | float):
        number = _converted(value)
    else:
        raise BadNumberError("not a number")
    if not math.isfinite(number):
        raise BadNumberError("NaN or infinite")
    if abs(number) > _LARGEST:
        raise BadNumberError("too large")
    return number, repaired


def _parsed(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    if text.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        return math.nan
    raise BadNumberError("not a number")


def _converted(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
