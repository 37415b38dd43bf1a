"""The whole exact frontier of one budget over many choices: merge the hulls of all rows by slope.

For rows r (classes or queries) with weights w and choices s with costs c and values v::

    maximise    sum_r w_r sum_s v_rs x_rs
    subject to  sum_r w_r sum_s c_rs x_rs <= budget
                sum_s x_rs = 1, x >= 0                          every row

is the linear relaxation of the multiple-choice knapsack. Only choices on the upper concave hull of
a row are ever used, in the order of their costs, and the best way to spend more is the steepest
step that any row has left (Sinha and Zoltners, "The multiple-choice knapsack problem", Operations
Research 27 (1979)). So all steps of all rows, sorted by falling slope, are the optimum for every
budget at once; the slope of a step is the dual of the budget there.

With R rows, S choices and M <= R (S - 1) steps it takes O(R S log S + M log M) time and, beside the
tables, 40 bytes a step, some 150 while it is made, and 4 MB of cells at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.programme.margin import Array
from profiles.errors import InfeasibleError, InputError

Indices = NDArray[np.intp]

_CELLS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Mix:
    """What every row takes. All shares are 0 or 1, but for one row at most.

    Attributes:
        choices: Shape (R,): choice per row.
        row: The row that is split, None where none is.
        upgrade: The choice that this row takes besides; -1 without such a row.
        share: Share of the row that takes it, inside 0..1; 0 without such a row.
        cost: Weighted sum of costs.
        value: Weighted sum of values.
    """

    choices: Indices
    row: int | None
    upgrade: int
    share: float
    cost: float
    value: float

    def shares(self, count: int) -> Array:
        """The same as a table, shape (R, count), for `count` choices; rows add up to 1."""
        table = np.zeros((len(self.choices), count))
        table[np.arange(len(self.choices)), self.choices] = 1.0
        if self.row is not None:
            table[self.row, self.choices[self.row]] = 1.0 - self.share
            table[self.row, self.upgrade] = self.share
        return table


@dataclass(frozen=True, slots=True, eq=False)
class ExactFrontier:
    """The most value at every cost, from the cheapest allocation to the most valuable one.

    It is concave and piecewise linear, with M + 1 breakpoints. Step m leads from breakpoint m to
    m + 1 and moves one whole row to its next choice. Steps of equal slope come in the order of
    rows. A step of a row without weight has no length.

    Attributes:
        costs: Shape (M + 1,): weighted cost at the breakpoints, rising.
        values: Shape (M + 1,): weighted value there, rising.
        slopes: Shape (M,): value per unit of cost along each step, above 0, never rising.
        first: Shape (R,): choice per row where the frontier starts.
        rows: Shape (M,): the row of each step.
        upgrades: Shape (M,): the choice that it moves to.
    """

    costs: Array
    values: Array
    slopes: Array
    first: Indices
    rows: Indices
    upgrades: Indices

    def at_budget(self, budget: float) -> Mix:
        """The most value for at most this cost; of equal values the cheapest.

        Raises:
            InfeasibleError: The budget is below the cheapest allocation.
        """
        if not budget >= self.costs[0]:
            raise InfeasibleError(
                f"no allocation costs {budget:.9g} or less: the cheapest choice of every row "
                f"costs {self.costs[0]:.9g}"
            )
        done = int(np.searchsorted(self.costs, budget, side="right")) - 1
        if done == len(self.slopes):
            return self.at_breakpoint(done)
        low, high = self.costs[done : done + 2]
        return self._between(done, (budget - low) / (high - low))

    def at_value(self, floor: float) -> Mix:
        """The least cost for at least this value; of equal costs the most valuable.

        Raises:
            InfeasibleError: The floor is above the most valuable allocation.
        """
        if not floor <= self.values[-1]:
            raise InfeasibleError(
                f"no allocation has a value of {floor:.9g} or more: the best choice of every row "
                f"has {self.values[-1]:.9g}"
            )
        reached = int(np.searchsorted(self.values, floor, side="left"))
        if reached == 0:
            return self.at_breakpoint(0)
        low, high = self.values[reached - 1 : reached + 1]
        return self._between(reached - 1, (floor - low) / (high - low))

    def at_breakpoint(self, done: int) -> Mix:
        """What is taken at a breakpoint, 0..M, counted from the cheapest; no row is split."""
        choices = self.first.copy()
        choices[self.rows[:done]] = self.upgrades[:done]  # of a row's steps, the last one stays
        return Mix(choices, None, -1, 0.0, float(self.costs[done]), float(self.values[done]))

    def thinned(self, count: int) -> Indices:
        """At most `count` breakpoints, both ends among them, at evenly spaced costs.

        Evenly in ratio where the least cost is above 0. All of them, if `count` is as many.
        """
        if count >= len(self.costs):
            return np.arange(len(self.costs))
        low, high = self.costs[0], self.costs[-1]
        spaced = np.geomspace if low > 0 else np.linspace
        asked = spaced(low, high, max(count, 2))[1:-1]
        inner = np.searchsorted(self.costs[:-1], asked)  # rounded, one may lie beyond the end
        return np.unique([0, *inner, len(self.slopes)])

    def _between(self, done: int, share: float) -> Mix:
        at = self.at_breakpoint(done + (share >= 1))
        if not 0 < share < 1:
            return at
        ends = [(line[done], line[done + 1]) for line in (self.costs, self.values)]
        cost, value = (float(low + share * (high - low)) for low, high in ends)
        split = int(self.rows[done]), int(self.upgrades[done])
        return Mix(at.choices, *split, float(share), cost, value)


def exact_frontier(costs: Array, values: Array, weights: Array | None = None) -> ExactFrontier:
    """The frontier of all rows together.

    Of choices with equal value the cheapest counts, of equal cost the most valuable, of equal both
    the first. One on a straight line between others may be left out.

    Args:
        costs: Shape (R, S), any sign. nan where the choice is not known and so not offered.
        values: Shape (R, S), the same.
        weights: Shape (R,), 0 or more; 1 / R where absent.

    Raises:
        InputError: Shapes differ, a row has no known choice, or a number is infinite.
    """
    costs, values = np.asarray(costs, np.float64), np.asarray(values, np.float64)
    rows = len(costs)
    weights = np.full(rows, 1 / max(rows, 1)) if weights is None else np.asarray(weights)
    _refuse(costs, values, weights)
    at_once = max(1, _CELLS_AT_ONCE // costs.shape[1])
    parts = [
        _hulls(costs[low : low + at_once], values[low : low + at_once], low)
        for low in range(0, rows, at_once)
    ]
    row, choice = (np.concatenate(part) for part in zip(*parts, strict=True))
    cost, value = costs[row, choice], values[row, choice]
    starts = np.append(True, row[1:] != row[:-1])
    step = np.flatnonzero(~starts)
    dearer, better = cost[step] - cost[step - 1], value[step] - value[step - 1]
    with np.errstate(over="ignore"):
        slopes = better / dearer
    order = np.argsort(-slopes, kind="stable")
    by_slope = step[order]
    weight = weights[row[by_slope]]
    return ExactFrontier(
        costs=np.cumsum(np.append(weights @ cost[starts], weight * dearer[order])),
        values=np.cumsum(np.append(weights @ value[starts], weight * better[order])),
        slopes=slopes[order],
        first=choice[starts],
        rows=row[by_slope],
        upgrades=choice[by_slope],
    )


def _refuse(costs: Array, values: Array, weights: Array) -> None:
    if costs.ndim != 2 or 0 in costs.shape or costs.shape != values.shape:
        raise InputError(
            "costs and values need a row each and a column per choice, at least one of both",
            expected="two tables of one shape",
            got=f"{costs.shape} and {values.shape}",
        )
    if weights.shape != costs.shape[:1] or not (weights >= 0).all() or np.isinf(weights).any():
        raise InputError(
            "every row needs a weight", expected=f"{len(costs)} finite numbers, none below 0"
        )
    if np.isinf(costs).any() or np.isinf(values).any():
        raise InputError("a cost or a value is infinite", expected="finite numbers, or nan")


def _hulls(costs: Array, values: Array, low: int) -> tuple[Indices, Indices]:
    """Rows, counted from `low`, and choices of the upper hulls, by row and rising cost."""
    count = costs.shape[1]
    known = ~(np.isnan(costs) | np.isnan(values))
    offered = known.any(axis=1)
    if not offered.all():
        where = f"row {low + int(offered.argmin())}"
        raise InputError("this row has no choice with a known cost and value", where=where)
    order = np.argsort(np.where(known, costs, np.inf), axis=1, kind="stable")
    value = np.take_along_axis(np.where(known, values, -np.inf), order, axis=1)
    better = np.empty(value.shape, np.bool_)
    better[:, 0] = True
    np.greater(value[:, 1:], np.maximum.accumulate(value, axis=1)[:, :-1], out=better[:, 1:])
    place = np.flatnonzero(better)
    row, choice, value = place // count, order.ravel()[place], value.ravel()[place]
    cost = costs[row, choice]
    same_row = row[1:] == row[:-1]
    last = np.append(~(same_row & (cost[1:] == cost[:-1])), True)  # the best of equal cost
    row, choice, cost, value = row[last], choice[last], cost[last], value[last]
    kept = _on_hull(row, cost, value, len(costs))
    return row[kept] + low, choice[kept]


def _on_hull(row: Indices, cost: Array, value: Array, rows: int) -> NDArray[np.bool_]:
    """Which points are corners; points lie by row, and within one both costs and values rise.

    A point on or below the line between its neighbours is no corner, whatever becomes of them, so
    all such points go at once. Rows that lost some are looked at again.
    """
    kept = np.ones(len(row), np.bool_)
    left = np.arange(len(row))
    while True:
        same_row = row[1:] == row[:-1]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            slope = np.diff(value) / np.diff(cost)
        gone = np.zeros(len(row), np.bool_)
        gone[1:-1] = same_row[:-1] & same_row[1:] & (slope[:-1] <= slope[1:])
        if not gone.any():
            return kept
        kept[left[gone]] = False
        touched = np.zeros(rows, np.bool_)
        touched[row[gone]] = True
        again = touched[row] & ~gone
        left, row, cost, value = left[again], row[again], cost[again], value[again]
