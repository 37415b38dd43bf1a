"""Single strategies that a plan has to beat: one strategy for everything, and the doubt against it.

Maximising accuracy, a plan leaves the best single strategy only on evidence (`Planner.answer`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from itertools import islice

import numpy as np

from planner.decisions import Decisions
from planner.limits import LimitSet
from planner.programme.margin import Array

REFERENCES = 3
"""How many single strategies are tried as the one to beat."""


class Rivals:
    """The single strategies of one question, and what is known against them.

    Args:
        decisions: Columns, rows and sessions of the question.
        costs_known: Whether all costs are.
    """

    def __init__(self, decisions: Decisions, *, costs_known: bool) -> None:
        self._decisions = decisions
        self._costs_known = costs_known

    def all(self) -> Iterator[tuple[str, Array]]:
        """Every strategy measured in all classes, with the allocation that uses nothing else."""
        e = self._decisions.estimates
        for s, strategy in enumerate(e.strategies):
            own = e.strategy_of == s
            if own.sum() == len(e.classes):
                yield strategy, own.astype(np.float64)

    def doubts(self, limits: LimitSet) -> list[str]:
        """Names of the margins over the most accurate ones that keep the limits.

        Where none keeps them it is the margin of the accuracy itself.
        """
        kept = islice(self._kept(limits), REFERENCES)
        d = self._decisions
        found = [
            d.doubt(f"doubt against {strategy}", partial(d.accounts.difference_margin, single))
            for strategy, single in kept
        ]
        return found or [d.doubt("doubt", lambda: d.accounts.accuracy_margin)]

    def unbeaten(self, x: Array, limits: LimitSet) -> Array | None:
        """The most accurate one that keeps the limits, if x shows no gain over it."""
        single = next((single for _, single in self._kept(limits)), None)
        return None if single is None or self._decisions.accounts.shows(x, single) else single

    def _kept(self, limits: LimitSet) -> Iterator[tuple[str, Array]]:
        """Undominated ones that keep the limits, best first."""
        d = self._decisions
        return (one for one in self._undominated if d.keeps(d.alike(one[1]), limits, 1e-9))

    @cached_property
    def _undominated(self) -> list[tuple[str, Array]]:
        """Those that no other beats in both accuracy and cost, best first."""
        e = self._decisions.estimates
        share = e.traffic_share
        kept: list[tuple[str, Array]] = []
        cheapest = np.inf
        best_first = sorted(self.all(), key=lambda one: -float(share * one[1] @ e.accuracy))
        for strategy, x in best_first:
            cost = float(share * x @ e.cost_usd) if self._costs_known else -len(kept)
            if cost < cheapest:
                kept.append((strategy, x))
                cheapest = cost
        return kept
