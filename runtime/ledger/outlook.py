"""When the money of a window runs out, if it goes on as it went so far.

Only what is charged counts, on average since the window began: a straight line. Whoever spends at
noon and rests at night is told too early a time at noon; what requests hold now is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import floor
from typing import Final

from runtime.ledger.windows import Span


class Outlook(StrEnum):
    """What becomes of a budget until its window ends."""

    SPENT = "spent"
    """Nothing of it is left."""
    RUNS_OUT = "runs out"
    """Nothing will be left before the window ends."""
    LASTS = "lasts"
    """Within this window it never runs out."""
    UNKNOWN = "unknown"
    """There is no pace: nothing was charged yet, or the window has no beginning or end (`total` and
    rolling ones), or it is not the running one; or there is no limit."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What becomes of a budget, and when.

    Attributes:
        outlook: In a word.
        runs_out_s: Unix seconds, where it runs out.
        left_at_end: In the account's unit, where it lasts, rounded down.
    """

    outlook: Outlook
    runs_out_s: float | None = None
    left_at_end: int | None = None


_UNKNOWN: Final = Projection(Outlook.UNKNOWN)
_SPENT: Final = Projection(Outlook.SPENT)


def projected(most: int | None, spent: int, span: Span, now_s: float) -> Projection:
    """A window's spending so far, carried on at the same pace.

    Args:
        most: Limit and inheritance; None without a limit.
        spent: Charged, in the same unit; below 0 where an operator gave back more.
        span: The window.
        now_s: Unix seconds.
    """
    if most is None or not span.holds(now_s):
        return _UNKNOWN
    if spent >= most:
        return _SPENT
    elapsed_s = Fraction(now_s) - span.start_s
    if span.end_s is None or spent <= 0 or not elapsed_s:
        return _UNKNOWN
    out_s = span.start_s + elapsed_s * most / spent
    if out_s < span.end_s:
        return Projection(Outlook.RUNS_OUT, runs_out_s=float(out_s))
    at_end = spent * (span.end_s - span.start_s) / elapsed_s
    return Projection(Outlook.LASTS, left_at_end=floor(most - at_end))
