"""What every number does to the plan when all change by as much: the bars of a tornado diagram.

Prices, accuracies, class shares and limits grow and shrink one at a time, and the question is
solved again. Numbers that carry most of the plan come first, so that few re-solves tell of what
matters; where a change flips the plan, bisection then finds from which size on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from planner.explaining.asked import asked
from planner.explaining.changes import Asked, Cells, Change, Enough, Outcome, possible, shares
from planner.explaining.flips import KINDS, TOLERANCE, bisected, directions, flip_at
from planner.explaining.margins import gained
from planner.explaining.report import Kind, Side, Swing
from planner.limit_names import is_latency, is_share
from planner.planner import Answer, Planner

SWING = 0.2
"""Relative change where no other is asked for."""


def swings(
    planner: Planner, answer: Answer, used: Cells, swing: float, trial: Asked
) -> tuple[list[Swing], int]:
    """Every number with both its sides, the largest effect first, and how many were not tried.

    Args:
        planner: Of the plan.
        answer: Of that planner to its spec.
        used: Cells that the plan uses.
        swing: Relative change, above 0 and below 1.
        trial: Answers to changed questions.
    """
    numbers = _by_weight(planner, answer, used, swing)
    outcomes: dict[Change, Outcome | None] = {}
    with suppress(Enough):
        for changes in numbers:
            for change in changes:
                outcomes[change] = trial.outcome(change)
    found = []
    for changes in numbers:
        if not all(change in outcomes for change in changes):
            continue
        sides: dict[bool, Side] = {}
        for change in changes:
            outcome = outcomes[change]
            worth = None if outcome is None else gained(planner, answer, outcome.value)
            sides[change.by > 0] = _side(change, worth, used, trial)
        first = changes[0]
        found.append(Swing(first.kind, first.name, sides.get(False), sides.get(True)))
    found.sort(key=lambda one: (-one.size, not one.matters))
    return found, len(numbers) - len(found)


def _side(change: Change, worth: float | None, used: Cells, trial: Asked) -> Side:
    """A change that was asked, with the smaller one from which on the plan flips."""
    by = _digits(change.by)
    if trial.cells(change) == used:
        return Side(by, worth, by, None)
    if change.kind == "limit" and is_latency(change.name):
        return Side(by, worth, 0.0, flip_at(change, used, trial))
    try:
        least = bisected(change, 0.0, used, trial)
    except Enough:
        trial.allow(0)
        return Side(by, worth, 0.0, flip_at(change, used, trial))
    same_to = np.sign(least.by) * max(abs(least.by) - TOLERANCE, 0.0)
    return Side(by, worth, _digits(same_to), flip_at(least, used, trial))


def _by_weight(planner: Planner, answer: Answer, used: Cells, swing: float) -> list[list[Change]]:
    """Every number with its possible changes: limits, then what carries most of the plan."""
    weights = _weights(planner, answer)
    numbers = list(_latencies(planner, swing))
    for kind in KINDS:
        for name, signs in directions(planner, used, kind).items():
            tried = (_up_to_one(planner, Change(kind, name, sign * swing)) for sign in signs)
            numbers.append([one for one in tried if one.by and possible(planner, one)])
    numbers = [changes for changes in numbers if changes]
    return sorted(numbers, key=lambda changes: -weights[changes[0].kind].get(changes[0].name, 0.0))


def _up_to_one(planner: Planner, change: Change) -> Change:
    """The change, or as much of it as a limit that is a share can take."""
    if change.kind != "limit" or not is_share(change.name):
        return change
    value = asked(planner.limits)[change.name]
    return replace(change, by=min(change.by, 1 / value - 1)) if value else change


def _latencies(planner: Planner, swing: float) -> Iterator[list[Change]]:
    """Latency limits move to those that the profile counts, about as far as all other numbers."""
    grid_s = np.asarray(planner.estimates.grid_s)
    for name, value in asked(planner.limits).items():
        if is_latency(name):
            changes = grid_s / value - 1
            sides = ((changes[changes < 0], -swing), (changes[changes > 0], swing))
            ends = [side[np.argmin(abs(side - aim))] for side, aim in sides if len(side)]
            yield [Change("limit", name, float(end)) for end in ends]


def _weights(planner: Planner, answer: Answer) -> dict[Kind, dict[str, float]]:
    """How much of the plan rests on a number, 0..1: its part of the money, or of the requests."""
    e = planner.estimates
    requests = e.traffic_share * answer.x
    answered = np.bincount(e.strategy_of, requests, len(e.strategies))
    spent = requests * e.cost_usd if planner.costs_known else np.zeros(e.columns)
    usd = np.bincount(e.strategy_of, spent, len(e.strategies)) / (spent.sum() or 1.0)
    return {
        "limit": dict.fromkeys(asked(planner.limits), 1.0),
        "price": dict(zip(e.strategies, usd.tolist(), strict=True)),
        "accuracy": dict(zip(e.strategies, answered.tolist(), strict=True)),
        "class share": shares(planner),
    }


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
