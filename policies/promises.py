"""What becomes of a policy's promises: they appear, vanish, loosen or tighten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isclose

from planner.limit_names import is_floor, is_latency
from planner.plan import LimitFigures

NOISE = 1e-6
"""Relative; promises have nine digits, of which a solver's tolerance moves the last."""
NOTHING = 1e-12
"""A promise of no more than this, in any unit, is one of zero."""


class Turn(StrEnum):
    """What became of a promise."""

    APPEARED = "appeared"
    VANISHED = "vanished"
    LOOSENED = "loosened"
    TIGHTENED = "tightened"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class Promise:
    """One limit's promise before and after; None where there is none."""

    limit: str
    turn: Turn
    before: LimitFigures | None
    after: LimitFigures | None


def promises(
    before: Mapping[str, LimitFigures], after: Mapping[str, LimitFigures]
) -> tuple[Promise, ...]:
    """Every limit of either side, in the old order and then the new."""
    limits = [*before, *(limit for limit in after if limit not in before)]
    return tuple(
        Promise(limit, _turn(limit, before.get(limit), after.get(limit)), before.get(limit),
                after.get(limit))
        for limit in limits
    )  # fmt: skip


def _turn(limit: str, before: LimitFigures | None, after: LimitFigures | None) -> Turn:
    if before is None or after is None:
        return Turn.APPEARED if before is None else Turn.VANISHED
    was, now = before.promised, after.promised
    # A share of slower requests is promised of one limit in seconds, and compares with no other.
    if is_latency(limit) and not isclose(before.asked, after.asked, rel_tol=NOISE):
        was, now = before.asked, after.asked
    if isclose(was, now, rel_tol=NOISE, abs_tol=NOTHING):
        return Turn.SAME
    return Turn.TIGHTENED if (now > was) == is_floor(limit) else Turn.LOOSENED
