"""The limits that a plan was asked to keep, one at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.limit_names import SPEND, is_floor, is_latency, is_share
from planner.limits import LimitSet
from planner.planner import Planner
from planner.programme.margin import Array

STEP = 0.01
"""Of a limit's value, by which it moves to see what it is worth."""

_LEAST_STEP = 1e-4
"""Of a share, whose value may be 0."""


def asked(limits: LimitSet) -> dict[str, float]:
    """Every limit's value by name, its own unit."""
    return dict(limits.values)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Values of a limit one step away, None where there is none."""

    looser: float | None
    tighter: float | None


def neighbours(planner: Planner, name: str, value: float) -> Neighbours:
    """1 % to either side, or the next latencies that the profile counts."""
    if is_latency(name):
        grid = planner.estimates.grid_s
        row = planner.estimates.latency_row(value)
        above = [limit_s for limit_s in grid if limit_s > value]
        return Neighbours(above[0] if above else None, grid[row - 1] if row else None)
    step = max(STEP * value, _LEAST_STEP) if is_share(name) else STEP * value
    lower, higher = max(value - step, 0.0), value + step
    if is_share(name):
        higher = min(higher, 1.0)
    looser, tighter = (lower, higher) if is_floor(name) else (higher, lower)
    return Neighbours(
        *(None if moved == value else float(f"{moved:.9g}") for moved in (looser, tighter))
    )


def drawbacks(planner: Planner) -> list[tuple[str, Array]]:
    """What strategies can be worse in: a name, and numbers per column of the estimates.

    Dollars and expected accuracy, the latter with its sign turned, and the body of every row that
    the planner's limits set, the more the worse; with tenants that of each. Dollars are left out
    where some cost is unknown.
    """
    e = planner.estimates
    found = [("accuracy", -e.accuracy)]
    if planner.costs_known:
        found.append(("dollars", e.cost_usd))
    values = asked(planner.limits)
    tenants = len(planner.spec.tenants) or 1
    for row in planner.rows(planner.limits):
        if row.limit in values and row.limit != SPEND:
            body = np.zeros(tenants * e.columns)
            body[row.at] = -row.body if row.is_floor else row.body
            found += [(row.limit, part) for part in body.reshape(tenants, -1)]
    return found
