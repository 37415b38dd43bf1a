"""Borders of bins where a monotone plan gains most: exact dynamic programming with few switches.

A plan gives every bin one strategy per price of a dollar, and never a cheaper one in a higher bin.
Its value is the sum of score - price * cost over the queries, added up over a few prices. Every
switch pays what the best border of pure noise would seem to gain (`switch_prices`); so a border
stands only where the outcomes speak for it.

Values are counted in whole steps of the grid, so that no choice depends on the order of adding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from profiles.difficulty.grid import STEPS_PER_POINT, Floats
from profiles.difficulty.sorting.bins import bin_of, quantile_borders
from profiles.difficulty.sorting.classes import SMALLEST_SHARE, Indices, too_small

#: Borders are sought between so many groups of queries of equal size and neighbouring values.
MOST_CELLS = 256
#: Strategies considered per price; the states of the search are all their combinations.
MOST_CHOICES = 8
#: Chance that pure noise gets a border.
_FALSE_BORDER = 0.05


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a plan is judged by.

    Attributes:
        scores: float64[n, S], no nan.
        costs: float64[n, S] in dollars, no nan.
        multipliers: Prices of a dollar, in points of score.
    """

    scores: Floats
    costs: Floats
    multipliers: tuple[float, ...]

    def only(self, rows: Indices) -> Outcomes:
        """Those of some queries."""
        return Outcomes(self.scores[rows], self.costs[rows], self.multipliers)


@dataclass(frozen=True, slots=True)
class Cut:
    """The best borders for one number of bins.

    Attributes:
        borders: Rising values; a bin begins at each.
        value: Of the best plan on these bins, in steps, what its switches pay taken off.
    """

    borders: Floats
    value: float


@dataclass(frozen=True, slots=True)
class Axis:
    """One price's part of the problem; strategies ordered from cheap to dear.

    Attributes:
        gains: float64[B, A]: value of a cell's queries under each of A strategies, whole steps.
        prices: float64[A, A]: what a switch from row to column pays, whole steps; only those
            above the diagonal are allowed and read.
    """

    gains: Floats
    prices: Floats


def cuts(values: Floats, outcomes: Outcomes, most: int) -> list[Cut]:
    """The best borders for 1, 2, ... up to `most` bins, as many as are possible.

    Args:
        values: float64[n], what is cut.
        outcomes: Of the same n queries.
        most: Bins, at least 1.
    """
    starts = np.append(values.min(), quantile_borders(values, MOST_CELLS))
    cell = bin_of(values, starts[1:])
    sizes = np.bincount(cell)
    axes = [_axis(outcomes, price, cell) for price in outcomes.multipliers]
    smallest = int(np.ceil(SMALLEST_SHARE * len(values)))
    return [
        Cut(starts[np.array(ends, dtype=np.intp)], value)
        for ends, value in search(axes, sizes, smallest, most)
    ]


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """Borders for one number of bins, and the bins of the queries by borders that saw them not.

    Attributes:
        cut: By all queries.
        bins: intp[n]: the bin of every query, by as many borders found on the other folds.
    """

    cut: Cut
    bins: Indices


def cross_fitted(
    values: Floats, outcomes: Outcomes, fold_of: Indices, most: int
) -> list[CrossFitted]:
    """For 1, 2, ... up to `most` bins: borders, and bins that no query's own outcome has moved.

    What one strategy per bin scores, summed over the bins, is unbiased. The mean of one bin over
    all folds is so only where the folds agree on the border: a lucky fold moves the borders of the
    others, not its own, and so on pure noise the strategy that a bin seems to favour looks worse
    than it is (tests/profiles/test_bins.py measures it).

    Fewer come back where some fold cannot be cut so often, or a bin would get too small.

    Args are those of `cuts`, and `fold_of`, intp[n].
    """
    final = cuts(values, outcomes, most)
    bins = np.zeros((len(final), len(values)), dtype=np.intp)
    for fold in np.unique(fold_of):
        seen, unseen = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        found = cuts(values[seen], outcomes.only(seen), len(final))
        final = final[: len(found)]
        for row, cut in zip(bins, found, strict=False):
            row[unseen] = bin_of(values[unseen], cut.borders)
    pairs = (CrossFitted(cut, row) for cut, row in zip(final, bins, strict=False))
    return [pair for count, pair in enumerate(pairs, start=1) if not too_small(pair.bins, count)]


def search(
    axes: Sequence[Axis], sizes: Indices, smallest: int, most: int
) -> list[tuple[list[int], float]]:
    """First cells of the second and later bins and the plan's value, for 1, 2, ... bins.

    Exact. With k bins, k-1 borders each switch the strategy of at least one price. `best[k][j, s]`
    is the value of the first j cells in k bins whose last one has the strategies s, an index per
    price. Fewer than `most` come back where no more bins are possible.

    Args:
        axes: One per price.
        sizes: Queries per cell.
        smallest: Queries that a bin must hold.
        most: Bins, at least 1.
    """
    sums = np.zeros((len(sizes) + 1, *[1] * len(axes)))
    for own, axis in enumerate(axes):
        shape = [len(sums), *(-1 if n == own else 1 for n in range(len(axes)))]
        sums = sums + np.cumsum(np.pad(axis.gains, ((1, 0), (0, 0))), axis=0).reshape(shape)
    queries = np.append(0, np.cumsum(sizes))
    # the last cell that a bin may begin with when it ends before cell j; none if negative
    begin = np.searchsorted(queries, queries - smallest, side="right") - 1
    wide = begin.reshape(-1, *[1] * len(axes)) >= 0
    best = [np.where(wide, sums, -np.inf)]
    best[0][0] = -np.inf
    found: list[tuple[list[int], float]] = [([], float(best[0][-1].max()))]
    while len(best) < most:
        switched = _switched(best[-1], axes)
        open_until = np.maximum.accumulate(switched - sums, axis=0)
        best.append(np.where(wide, sums + open_until[begin.clip(0)], -np.inf))
        value = float(best[-1][-1].max())
        if not np.isfinite(value):
            break
        found.append((_ends(best, sums, begin, axes), value))
    return found


def _switched(best: Floats, axes: Sequence[Axis]) -> Floats:
    """The best value before a bin with each state, after at least one price has switched."""
    same, switched = best, np.full_like(best, -np.inf)
    for number, axis in enumerate(axes, start=1):
        either = np.moveaxis(np.maximum(same, switched), number, 0)
        moved = np.full_like(either, -np.inf)
        for new in range(1, len(moved)):
            pays = axis.prices[:new, new].reshape(-1, *[1] * (either.ndim - 1))
            moved[new] = (either[:new] - pays).max(axis=0)
        switched = np.maximum(switched, np.moveaxis(moved, 0, number))
    return switched


def _ends(best: Sequence[Floats], sums: Floats, begin: Indices, axes: Sequence[Axis]) -> list[int]:
    """Follow the best plan back: the first cell of every bin but the first."""
    starts: list[int] = []
    cell = len(sums) - 1
    state = _place(best[-1][-1])
    for before in reversed(best[:-1]):
        pays = np.zeros(())
        for axis, new in zip(axes, state, strict=True):
            column = np.append(axis.prices[:new, new], 0.0)
            column = np.pad(column, (0, len(axis.prices) - len(column)), constant_values=np.inf)
            pays = np.add.outer(pays, column)
        pays[state] = np.inf  # nothing would switch
        options = before[: begin[cell] + 1] - pays
        passed = sums.reshape(len(sums), -1)[:, np.ravel_multi_index(state, sums.shape[1:])]
        options -= passed[: begin[cell] + 1].reshape(-1, *[1] * len(axes))
        cell, *old = _place(options)
        state = tuple(old)
        starts.append(cell)
    return starts[::-1]


def _place(values: Floats) -> tuple[int, ...]:
    """Where the first of the largest values stands."""
    return tuple(map(int, np.unravel_index(int(values.argmax()), values.shape)))


def switch_prices(worth: Floats, prices: int) -> Floats:
    """What switches pay: float64[A, A], the best border's gain on pure noise, rarely exceeded.

    The sums of the n differences between two strategies that are equally good everywhere are a
    random walk. A border gains its maximum M less what the better of the two gains without one,
    max(0, end). By P(M > m | end) = exp(-2 m (m - end)) of Brownian motion this exceeds
    z/2 sd sqrt(n) with the chance 2 (1 - Phi(z)). Bonferroni's z covers all pairs of strategies
    and all prices of a dollar.

    Args:
        worth: float64[n, A], score - price * cost.
        prices: How many there are.
    """
    choices = worth.shape[1]
    pairs = max(1, choices * (choices - 1) // 2)
    z = NormalDist().inv_cdf(1 - _FALSE_BORDER / (2 * pairs * prices))
    spread = np.atleast_2d(np.cov(worth, rowvar=False, ddof=0))
    variance = np.add.outer(np.diag(spread), np.diag(spread)) - 2 * spread
    return np.asarray(z / 2 * np.sqrt(variance.clip(0) * len(worth)))


def _axis(outcomes: Outcomes, price: float, cell: Indices) -> Axis:
    """One price's gains by cell, for the strategies that could matter."""
    order = np.argsort(outcomes.costs.mean(axis=0).round(12), kind="stable")
    worth = outcomes.scores[:, order] - price * outcomes.costs[:, order]
    by_query = np.argsort(cell, kind="stable")
    first = np.searchsorted(cell[by_query], np.arange(cell.max() + 1))
    gains = np.add.reduceat(worth[by_query], first, axis=0)
    kept = _contenders(gains)
    prices = switch_prices(worth[:, kept], len(outcomes.multipliers))
    return Axis(np.rint(gains[:, kept] * STEPS_PER_POINT), np.rint(prices * STEPS_PER_POINT))


def _contenders(gains: Floats) -> Indices:
    """At most so many strategies: first those that win most bins of the smallest size."""
    groups = min(len(gains), round(1 / SMALLEST_SHARE))
    first = (np.arange(groups) * len(gains)) // groups
    coarse = np.rint(np.add.reduceat(gains, first, axis=0) * STEPS_PER_POINT)
    wins = np.bincount(coarse.argmax(axis=1), minlength=gains.shape[1])
    return np.sort(np.lexsort((-coarse.sum(axis=0), -wins))[:MOST_CHOICES])
