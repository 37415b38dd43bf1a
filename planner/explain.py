"""Why no plan exists: the limits that clash, and what one of them would have to become."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from planner.estimating.estimates import timed_queries
from planner.limit_names import (
    OVERALL,
    class_of_latency,
    in_words,
    is_floor,
    is_latency,
    is_share,
    tail_of_limit,
    whose,
)
from planner.limits import LimitSet
from planner.programme.margin import Array
from planner.spec import Objective
from profiles.errors import InfeasibleError, UnknownValueError
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.planner import Planner

MAX_MOVES = 8
"""A lower floor leaves more noise in the judged traffic, so a move may ask for one more."""


MOST_TIMES = 1e3
"""Nobody measures more than this many times what they have."""


class LimitsClashError(InfeasibleError):
    """No allocation keeps all limits.

    Attributes:
        clashing: Names of limits that cannot hold together; any of them dropped, the rest can.
        menu: What a limit alone would have to become for all of them to hold, by name.
    """

    def __init__(self, message: str, clashing: tuple[str, ...], menu: Mapping[str, float]) -> None:
        super().__init__(message)
        self.clashing = clashing
        self.menu = dict(menu)


def explain(planner: Planner, limits: LimitSet) -> LimitsClashError:
    """The clash in words. Call it only where the limits are infeasible."""
    clashing = _minimal_clash(planner, limits)
    menu = {}
    for name in clashing:
        value = _kept_at(planner, limits, name)
        if value is not None:
            menu[name] = value
    values = limits.values
    named = " and ".join(f"{escaped(name)} {in_words(name, values[name])}" for name in clashing)
    together = "cannot hold together" if len(clashing) > 1 else "cannot hold"
    lines = [f"no plan keeps all limits: {named} {together}"]
    if menu:
        moves = ", or ".join(
            f"{escaped(name)} to {in_words(name, value)}" for name, value in menu.items()
        )
        lines.append(f"  move only this limit: {moves}")
    elif len(clashing) > 1:
        lines.append("  no single limit helps if it moves alone: loosen two of them")
    else:
        lines += _at_no_value(planner, limits, clashing[0])
    if len(clashing) == 1 and len(values) > 1:
        lines += _alone(planner, limits, clashing[0])
    if OVERALL in menu:
        lines += _for_want_of_evidence(planner, limits, menu[OVERALL])
    lines += _of_groups(planner, clashing)
    return LimitsClashError("\n".join(lines), clashing, menu)


def _minimal_clash(planner: Planner, limits: LimitSet) -> tuple[str, ...]:
    """Deletion filter: drop every limit without which the rest still clash."""
    for name in limits.values:
        fewer = limits.without(name)
        if not planner.feasible(fewer):
            limits = fewer
    return tuple(limits.values)


def _alone(planner: Planner, limits: LimitSet, name: str) -> list[str]:
    """What a limit that no other limit hinders could be at best."""
    alone = limits
    for other in limits.values:
        alone = alone if other == name else alone.without(other)
    best = _kept_at(planner, alone, name)
    if best is None:
        return []
    return [f"  even without the other limits: {escaped(name)} {in_words(name, best)}"]


def _kept_at(planner: Planner, limits: LimitSet, name: str) -> float | None:
    """The value nearest to the limit at which all hold, rounded to the safe side."""
    if is_latency(name):
        return _slower(planner, limits, name)
    start = limits.values[name]
    for _ in range(MAX_MOVES):
        try:
            value = limits.values[name]
            slack = planner.slack(limits, name)
        except InfeasibleError:
            return None
        if slack <= 0 and value != start:
            return value
        moved = _moved(name, value, slack)
        if is_share(name) and not 0 <= moved <= 1:
            return None
        limits = limits.moved(name, moved)
    return None


def _moved(name: str, value: float, slack: float) -> float:
    """A limit looser by its slack, rounded to the safe side."""
    if not is_share(name):
        return _up(value + slack)
    if is_floor(name):
        return math.floor((value - slack) * 1e4) / 1e4
    return math.ceil((value + slack) * 1e4) / 1e4


def _slower(planner: Planner, limits: LimitSet, name: str) -> float | None:
    """The smallest grid limit at which all hold."""
    asked_s = limits.values[name]
    grid = [limit_s for limit_s in planner.estimates.grid_s if limit_s > asked_s]
    low, high = 0, len(grid)
    while low < high:
        middle = (low + high) // 2
        if planner.feasible(limits.moved(name, grid[middle])):
            high = middle
        else:
            low = middle + 1
    return grid[low] if low < len(grid) else None


def _up(value: float) -> float:
    """Four significant digits, never less."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 3)
    return float(f"{math.ceil(value / unit) * unit:.4g}")


def _for_want_of_evidence(planner: Planner, limits: LimitSet, promised: float) -> list[str]:
    """Says so where the floor is expected to hold and only cannot be promised yet."""
    floor = limits.values[OVERALL]
    try:
        answer = planner.answer(Objective.MAXIMIZE_ACCURACY, limits.without(OVERALL))
    except (InfeasibleError, UnknownValueError):
        return []
    expected = planner.accounts.expected(answer.x).accuracy
    if expected <= floor:
        return []
    queries = sum(_fewest(planner, answer.x, "queries").values())
    wider = (expected - promised) / (expected - floor)
    more = math.ceil(queries * (wider**2 - 1))
    return [
        f"  {expected:.4g} is expected, but only {promised:.4g} can be promised with {queries} "
        f"queries; about {more} more queries of the same mix would do"
    ]


def _at_no_value(planner: Planner, limits: LimitSet, name: str) -> list[str]:
    """Why one limit cannot be promised whatever it is set to."""
    lines: list[str] = []
    if name == OVERALL:
        lines = _for_want_of_evidence(planner, limits, 0.0)
    if is_latency(name):
        lines = _for_want_of_latencies(planner, limits, name)
    return lines or ["  with what was measured it cannot be promised at any value"]


def _for_want_of_latencies(planner: Planner, limits: LimitSet, name: str) -> list[str]:
    """About how many more latencies the fastest allocation needs, where more would help."""
    tenant, inner = whose(name)
    one = class_of_latency(inner)
    accounts = planner.accounts
    asked = planner.spec.limits.latency
    if tenant is not None and planner.tenants is not None:
        accounts = planner.tenants.accounts_of(tenant)
        asked = planner.spec.tenants[tenant].latency
    e = accounts.estimates
    row = e.latency_row(limits.values[name])
    slow, timed = timed_queries(e.cells, len(e.grid_s))
    x = planner.fastest(limits, name)
    if one is not None:
        x = np.where(e.class_of == e.classes.index(one), x, 0.0)
    together = max(len(asked.by_class) if asked else 1, 1)
    for factor in np.geomspace(1.0, MOST_TIMES, 200):
        counts = factor * slow[row], factor * timed
        missed = accounts.tail_missed(x, counts, tail_of_limit(name), one, together)
        if missed <= 0:
            measured = sum(_fewest(planner, x, "latency_queries").values())
            more = math.ceil(measured * (factor - 1))
            alike = "the same traffic" if one is None else f"class {escaped(one)}"
            return [
                f"  with only {measured} timed queries it cannot be promised; about {more} more of "
                f"{alike} would do"
            ]
    return [f"  even {e.grid_s[-1]:g} s, the slowest limit of the profile, cannot be promised"]


def _of_groups(planner: Planner, clashing: tuple[str, ...]) -> list[str]:
    """What the groups in question rest on: few queries promise little."""
    lines = []
    for name in clashing:
        rows = planner.estimates.groups.rows_of(name)
        queries = {group.value: group.queries for row in rows for group in row.groups}
        if queries:
            fewest = sorted(queries, key=lambda value: (queries[value], value))[:3]
            counts = ", ".join(f"{queries[value]} of {escaped(value)}" for value in fewest)
            lines.append(f"  fewest queries behind {escaped(name)}: {counts}")
    return lines


def _fewest(planner: Planner, x: Array, field: str) -> dict[str, int]:
    """Fewest queries or latencies behind a used cell, per class."""
    fewest: dict[str, int] = {}
    for cell, share in zip(planner.estimates.cells, x, strict=True):
        if share > 0:
            count = int(getattr(cell, field))
            fewest[cell.class_name] = min(fewest.get(cell.class_name, count), count)
    return fewest
