"""Who answers, who does not, and why: dominated by others, or too dear by so much.

A strategy is dominated in a class where another one, or a mixture of two, is at least as good in
everything that is compared and better in something. Dominance is about best estimates. It is a
reason why a strategy is left out, no proof that it must be: a plan also counts how sure its cells
are, and integers and fees can make a dominated strategy the right one.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from planner.explaining.asked import drawbacks
from planner.explaining.changes import Asked, Enough
from planner.explaining.flips import falls
from planner.explaining.report import StrategyFacts
from planner.planner import Answer, Planner
from planner.programme.margin import Array

Mixture = dict[str, float]

NOT_EVEN_FREE = "would not be used if it were free"
UNKNOWN = "some costs are unknown, so no price is said"
NOT_TRIED = "its price was not tried: too many re-solves"


def strategy_facts(planner: Planner, answer: Answer, trial: Asked) -> list[StrategyFacts]:
    """Every strategy that the spec allows; those that answer most requests first.

    Raises:
        UnprovenError: The solver stopped early.
    """
    e = planner.estimates
    total = np.bincount(e.strategy_of, e.traffic_share * answer.x, len(e.strategies))
    used = np.bincount(e.strategy_of, answer.x, len(e.strategies)) > 0
    dominated = _dominated(planner)
    found = []
    for s, strategy in enumerate(e.strategies):
        own = e.strategy_of == s
        shares = zip(e.class_of[own], answer.x[own], strict=True)
        in_use = {e.classes[d]: float(share) for d, share in shares if share > 0}
        by = {} if used[s] else dominated.get(strategy, {})
        entering: tuple[float | None, str | None] = (None, None)
        if not used[s] and not by:
            entering = _enters(planner, strategy, trial)
        found.append(
            StrategyFacts(strategy, float(f"{total[s]:.9g}"), in_use, by, entering[0], entering[1])
        )
    return sorted(found, key=lambda one: (-one.share, bool(one.dominated_by), one.strategy))


def _enters(planner: Planner, strategy: str, trial: Asked) -> tuple[float | None, str | None]:
    """By how much its cost must fall, or why that is not said."""
    if not planner.costs_known:
        return None, UNKNOWN
    try:
        fall = falls(strategy, trial)
    except Enough:
        return None, NOT_TRIED
    return fall, NOT_EVEN_FREE if fall is None else None


def _dominated(planner: Planner) -> dict[str, dict[str, Mixture]]:
    """Strategies that are dominated in every class they were measured in: by class, by whom."""
    e = planner.estimates
    table = np.array([numbers for _, numbers in drawbacks(planner)])
    found: dict[str, dict[str, Mixture]] = {}
    for d, name in enumerate(e.classes):
        own = np.flatnonzero(e.class_of == d)
        for strategy, mixture in _dominated_here(table[:, own]).items():
            named = {e.strategies[e.strategy_of[own[j]]]: share for j, share in mixture.items()}
            found.setdefault(e.strategies[e.strategy_of[own[strategy]]], {})[name] = named
    classes = np.bincount(e.strategy_of, minlength=len(e.strategies))
    measured = dict(zip(e.strategies, classes, strict=True))
    return {text: by for text, by in found.items() if len(by) == measured[text]}


def _dominated_here(table: Array) -> dict[int, dict[int, float]]:
    """Of one class, by column: the mixture that dominates it. Shape (drawbacks, columns)."""
    found: dict[int, dict[int, float]] = {}
    for j in range(table.shape[1]):
        better = _no_worse(table, table[:, j])
        if better.any():
            choices = np.flatnonzero(better)
            found[j] = {int(choices[np.lexsort(table[:, choices])[0]]): 1.0}
    left = [j for j in range(table.shape[1]) if j not in found]
    for j in left:
        pairs = [(i, k) for i, k in combinations(left, 2) if j not in {i, k}]
        mixture = _of_two(table, j, np.array(pairs, dtype=np.intp).reshape(-1, 2))
        if mixture is not None:
            found[j] = mixture
    return found


def _no_worse(table: Array, one: Array) -> NDArray[np.bool_]:
    """Columns that are as good in everything and better in something."""
    than = one[:, None]
    return np.asarray((table <= than).all(axis=0) & (table < than).any(axis=0))


def _of_two(table: Array, j: int, pairs: NDArray[np.intp]) -> dict[int, float] | None:
    """The mixture of a pair with the most room to spare; None where no pair dominates column j.

    ``t a + (1 - t) b <= p`` in every row bounds t from both sides.
    """
    a, b = table[:, pairs[:, 0]], table[:, pairs[:, 1]]
    room, slope = table[:, [j]] - b, a - b
    with np.errstate(divide="ignore", invalid="ignore"):
        at = room / slope
    high = np.where(slope > 0, at, 1.0).min(axis=0, initial=1.0)
    low = np.where(slope < 0, at, 0.0).max(axis=0, initial=0.0)
    fits = ((slope != 0) | (room >= 0)).all(axis=0) & np.isfinite(slope).all(axis=0)
    width = np.where(fits, high - low, -1.0)
    if not len(pairs) or width.max() <= 0:
        return None
    best = int(np.argmax(width))
    share = round(float(low[best] + high[best]) / 2, 9)
    return {int(pairs[best, 0]): share, int(pairs[best, 1]): round(1 - share, 9)}
