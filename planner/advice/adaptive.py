"""Adaptive measuring: the next queries go where they are worth most to the plan.

One round starts from what is known, values every cell (`planner.advice.information`) and hands out
the round's queries greedily: always to the cell whose next batch is worth most per dollar (or per
query), as if the batches already handed out had shown what is expected of them. Rounds grow with
what was measured, so a run takes few of them.

Within a cell queries come in one fixed order that does not depend on any outcome
(`planner.advice.pool`). Where nothing more is worth its cost, `confirm` tops up the cells that the
plan rests on: a run that stops when its numbers look good must not stop on a handful of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from planner.advice.information import Information, position
from planner.advice.pool import Batch, Cell
from planner.planner import Planner
from planner.programme.margin import Array
from planner.spec import Spec
from profiles.errors import InfeasibleError
from profiles.profile import Profile

BATCHES = (10, 20, 50, 100, 200, 500, 1000)
"""Batch sizes looked ahead to: a cell may need many queries before it can change a plan."""

WARM_UP = 10
"""Queries of every cell before anything is known about it."""

ROUND_SHARE = 0.1
"""A round pays for this share of what was measured before it, at least `WARM_UP` queries."""

CONFIRMED = 100
"""A certificate that adaptive measuring stops at needs this many queries of every cell in use:
stopping at the first certificate of fewer, by luck, broke its floor in up to a fifth of simulated
worlds, whoever chose the queries."""

STEPS = 40
"""A round is handed out in about this many portions."""


def warm_up(left: Mapping[Cell, int], measured: Mapping[Cell, int]) -> tuple[Batch, ...]:
    """What must be measured before values can be reckoned: a few queries of every cell."""
    short = {
        cell: min(WARM_UP - measured.get(cell, 0), available) for cell, available in left.items()
    }
    return tuple(Batch(*cell, queries) for cell, queries in short.items() if queries > 0)


def next_batches(
    profile: Profile,
    spec: Spec,
    left: Mapping[Cell, int],
    *,
    queries: int | None = None,
    per: Literal["usd", "query"] = "usd",
    until_worthless: bool = True,
) -> tuple[Batch, ...]:
    """The next round of measuring; empty where nothing more is worth its cost.

    Args:
        profile: What is known now.
        spec: The question that the plan will answer.
        left: Queries that can still be measured, per (class, strategy).
        queries: Size of the round; a tenth of what was measured where absent.
        per: Whether value counts per dollar of measuring or per query paid for.
        until_worthless: Whether a batch whose expected value per window of traffic is less than
            what it costs is left out. Values that no price says in dollars are never left out.

    Raises:
        InfeasibleError: No limit could be kept by moving it alone.
        UnknownValueError: A class without cells, an unknown cost or tail that the plan needs.
    """
    information = Information(Planner(profile, spec))
    round_ = _Round(information, profile, spec, left, per=per, until_worthless=until_worthless)
    measured = sum(cell.queries for cell in profile.cells.values())
    return round_.hand_out(queries or max(WARM_UP, round(ROUND_SHARE * measured)))


def confirm(profile: Profile, spec: Spec, left: Mapping[Cell, int]) -> tuple[Batch, ...]:
    """What is still missing before the plan may be trusted: its own cells, at `CONFIRMED` queries.

    Empty where the certified plan's cells all rest on as many, or no more queries are left.

    Raises:
        InfeasibleError: No plan can be certified and no single limit could be moved.
        UnknownValueError: A class without cells, an unknown cost or tail that the plan needs.
    """
    planner = Planner(profile, spec)
    batches = []
    for cell, share in zip(planner.estimates.cells, position(planner).x, strict=True):
        key = (cell.class_name, cell.strategy)
        short = min(CONFIRMED - cell.queries, left.get(key, 0))
        if share > 0 and short > 0:
            cost = None if cell.cost_usd is None else short * cell.cost_usd
            batches.append(Batch(*key, short, None, cost))
    return tuple(batches)


def towards_hindsight(profile: Profile, spec: Spec, left: Mapping[Cell, int]) -> tuple[Batch, ...]:
    """The next round where several limits cannot be certified at once, so nothing has a value.

    Each cell of the plan that would be best, were every measured mean the truth, is measured as
    often again. Empty where there is no such plan either, or its cells have no queries left.

    Raises:
        UnknownValueError: A class without cells, an unknown cost or tail that the plan needs.
    """
    bold = Planner(profile, spec).on_point_estimates()
    try:
        answer = bold.answer(spec.objective, bold.limits)
    except InfeasibleError:
        return ()
    batches = []
    for cell, share in zip(bold.estimates.cells, answer.x, strict=True):
        queries = min(max(cell.queries, WARM_UP), left.get((cell.class_name, cell.strategy), 0))
        if share > 0 and queries > 0:
            cost = None if cell.cost_usd is None else queries * cell.cost_usd
            batches.append(Batch(cell.class_name, cell.strategy, queries, None, cost))
    return tuple(batches)


class _Round:
    """One round: batches handed out so far, and what the next ones would add."""

    def __init__(
        self,
        information: Information,
        profile: Profile,
        spec: Spec,
        left: Mapping[Cell, int],
        *,
        per: str,
        until_worthless: bool,
    ) -> None:
        beliefs = information.beliefs
        strategies = information.planner.estimates.strategies
        self._cells = [
            (profile.classes[d], strategies[s])
            for d, s in zip(beliefs.class_of, beliefs.strategy_of, strict=True)
        ]
        self._left = np.array([float(left.get(cell, 0)) for cell in self._cells])
        self._taken = np.zeros(len(self._cells))
        self._information = information
        self._usd = dollars_per_window(information, spec)
        self._cost = beliefs.cost_usd
        by_dollar = per == "usd" and bool(np.isfinite(self._cost).all() and (self._cost > 0).all())
        self._price = self._cost if by_dollar else np.ones(len(self._cells))
        self._until_worthless = until_worthless

    def hand_out(self, queries: int) -> tuple[Batch, ...]:
        gained = np.zeros(len(self._cells))
        step = max(BATCHES[0], queries // STEPS)
        while queries > 0:
            cell, size, value = self._best(min(queries, step))
            if cell is None and not self._until_worthless:
                cell, size = self._least_known(min(queries, step))
            if cell is None:
                break
            self._taken[cell] += size
            gained[cell] += value
            queries -= size
        return tuple(
            self._batch(int(cell), float(gained[cell])) for cell in np.flatnonzero(self._taken > 0)
        )

    def _best(self, most: int) -> tuple[int | None, int, float]:
        """The cell whose next batch is worth most; at most `most` queries of it at a time."""
        before = self._information.value(self._taken)
        best: tuple[int | None, int, float] = (None, 0, 0.0)
        highest = 0.0
        for size in BATCHES:
            extra = np.minimum(size, self._left - self._taken)
            value = np.where(extra > 0, self._information.value(self._taken + extra) - before, 0.0)
            rate = np.where(value > 0, value / (self._price * np.maximum(extra, 1)), 0.0)
            rate[~self._worthwhile(value, extra)] = 0.0
            cell = int(np.argmax(rate))
            if rate[cell] > highest:
                highest = float(rate[cell])
                step = int(min(extra[cell], most))
                best = (cell, step, float(value[cell]) * step / float(extra[cell]))
        return best

    def _least_known(self, most: int) -> tuple[int | None, int]:
        """Where no cell has a value that can be told from 0: the one that may move the most."""
        extra = np.minimum(most, self._left - self._taken)
        beliefs = self._information.beliefs
        moves = beliefs.after(self._taken + extra).accuracy_swing
        moves = moves - beliefs.after(self._taken).accuracy_swing
        moves *= self._information.planner.estimates.weights[beliefs.class_of]
        rate = np.where(extra > 0, moves / self._price / np.maximum(extra, 1), 0.0)
        cell = int(np.argmax(rate))
        return (cell, int(extra[cell])) if rate[cell] > 0 else (None, 0)

    def _worthwhile(self, value: Array, extra: Array) -> NDArray[np.bool_]:
        if not self._until_worthless or self._usd is None:
            return np.ones(len(value), dtype=bool)
        cost = np.where(np.isfinite(self._cost), self._cost, 0.0)
        return np.asarray(value * self._usd > cost * extra)

    def _batch(self, cell: int, value: float) -> Batch:
        queries, cost = int(self._taken[cell]), float(self._cost[cell])
        return Batch(
            *self._cells[cell],
            queries,
            None if self._usd is None else value * self._usd,
            cost * queries if np.isfinite(cost) else None,
        )


def dollars_per_window(information: Information, spec: Spec) -> float | None:
    """Dollars per window of traffic that one unit of the objective is worth, None if unknown."""
    unit = information.usd_per_unit
    return None if unit is None or spec.traffic is None else unit * spec.traffic.requests
