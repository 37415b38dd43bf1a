"""Numbers as people read them: short decimals, rounded in the direction that keeps a promise."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
)

SHARE_UNITS = 1_000_000
_EXACT = Context(prec=400)


def exact(value: float) -> Decimal:
    """The shortest decimal that reads back as this float: 0.1 is one tenth."""
    return Decimal(repr(value))


def nearest(value: float, digits: int) -> float:
    """Rounded to so many significant digits."""
    return _significant(exact(value), digits, ROUND_HALF_EVEN)


def at_least(value: float, digits: int) -> float:
    """Rounded up to so many significant digits; never below the value."""
    return _significant(exact(value), digits, ROUND_CEILING)


def at_most(value: Decimal, digits: int) -> float:
    """Rounded down to so many significant digits; never above the value."""
    return _significant(value, digits, ROUND_DOWN)


def plain(value: float) -> str:
    """A number text that YAML 1.1 and 1.2 readers both take for this very number."""
    text = repr(value)
    if "e" not in text:  # the shortest decimal as it is
        return text if text.startswith("-0") else text.removesuffix(".0")
    number = exact(value)
    if abs(number.adjusted()) > 20:
        mantissa, exponent = f"{number:e}".split("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}"
    text = f"{number:f}"
    return text if text.startswith("-0") else text.removesuffix(".0")


def millionths(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares as six decimals whose decimal sum is exactly 1, by largest remainder.

    Args:
        shares: Positive numbers in any proportion; ties fall to the earlier key.
    """
    total = sum(map(exact, shares.values()))
    scaled = {key: exact(share) * SHARE_UNITS / total for key, share in shares.items()}
    units = {key: int(value) for key, value in scaled.items()}
    missing = SHARE_UNITS - sum(units.values())
    by_remainder = sorted(scaled, key=lambda key: units[key] - scaled[key])
    for key in by_remainder[:missing]:
        units[key] += 1
    return {key: float(Decimal(count) / SHARE_UNITS) for key, count in units.items()}


def _significant(value: Decimal, digits: int, rounding: str) -> float:
    if not value:
        return 0.0
    step = Decimal(1).scaleb(value.adjusted() - digits + 1)
    return float(value.quantize(step, rounding, _EXACT))
