"""At most K strategies: which ones go well together, before any search.

With every limit that couples classes priced by its dual, an allocation over a set Y of strategies
costs ``sum_d min_{s in Y} price_ds``, and choosing Y is a K-median problem. Taking the best next
strategy and then exchanging one for another solves it well (Teitz and Bart, "Heuristic methods for
estimating the generalized vertex median of a weighted graph", Operations Research 16 (1968);
bounds with such prices: Cornuejols, Fisher and Nemhauser, Management Science 23 (1977)). Prices are
those of the relaxation, so the best set is not proven to be best, nor to keep the limits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from planner.integers.problem import Problem
from planner.programme.margin import Array

MISSING = 1e9
"""Price of a strategy that a class lacks: finite, so that sets can be compared."""


def go_together(problem: Problem, prices: Array, at_most: int, count: int) -> NDArray[np.bool_]:
    """Shares of `count` strategies: the best set found, and those that replace one of it best.

    Args:
        problem: What is asked.
        prices: Price per share, all coupling limits included.
        at_most: Strategies of a set.
        count: Strategies wanted.
    """
    strategies, place = np.unique(problem.strategy_of, return_inverse=True)
    classes, of_class = np.unique(problem.class_of, return_inverse=True)
    table = np.full((len(classes), len(strategies)), MISSING)
    table[of_class, place] = prices
    chosen: list[int] = []
    for _ in range(min(at_most, len(strategies))):
        chosen.append(int(np.argmin(_with_each(table, chosen))))
    gained = True
    while gained:
        gained = False
        for i in range(len(chosen)):
            values = _with_each(table, [*chosen[:i], *chosen[i + 1 :]])
            best = int(np.argmin(values))
            if values[best] < values[chosen[i]] - 1e-9 * abs(values[chosen[i]]):
                chosen[i], gained = best, True
    exchanged = np.min(
        [_with_each(table, [*chosen[:i], *chosen[i + 1 :]]) for i in range(len(chosen))], axis=0
    )
    exchanged[chosen] = -np.inf
    taken = np.argsort(exchanged, kind="stable")[: max(count, at_most)]
    return np.isin(place, taken)


def _with_each(table: Array, others: list[int]) -> Array:
    """Value of the set of the others and each strategy, per strategy."""
    so_far = table[:, others].min(axis=1, initial=np.inf)[:, None]
    return np.asarray(np.minimum(table, so_far).sum(axis=0))
