"""The frontier of one who knows every outcome beforehand: an upper bound that nobody can reach.

Every query is a row of its own, so the choice may follow each outcome, its luck included. A runtime
sees the request and not the outcome; between this frontier and that of `planner.frontiers.frontier`
lies all that better classes could ever bring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planner.frontiers.hulls import exact_frontier
from planner.programme.margin import Array
from planner.sorting.cells_of_outcomes import Outcomes
from profiles.errors import InputError, UnknownValueError


@dataclass(frozen=True, slots=True)
class HindsightPoint:
    """The highest mean score that this spend could have bought; no query is split.

    Attributes:
        usd_per_request: Mean dollars.
        accuracy: Mean score, 0..1.
        usd_per_further_correct_answer: What the next query costs that is answered better, per point
            of its score; None at the end, where money buys nothing more.
    """

    usd_per_request: float
    accuracy: float
    usd_per_further_correct_answer: float | None


@dataclass(frozen=True, slots=True)
class Hindsight:
    """An exact frontier over single outcomes, and what it rests on.

    Attributes:
        workload: Name of the traffic.
        strategies: How many strategies were allowed.
        queries: Queries that count.
        left_out: Queries that none of these strategies answered, or that have no weight.
        outcomes: Measured outcomes of the queries that count; one that was not measured could not
            be chosen.
        breakpoints: Of the whole frontier.
        points: Some of them, by rising spend, both ends included.
    """

    workload: str
    strategies: int
    queries: int
    left_out: int
    outcomes: int
    breakpoints: int
    points: tuple[HindsightPoint, ...]

    @property
    def missing(self) -> int:
        """Outcomes of queries that count which were not measured."""
        return self.queries * self.strategies - self.outcomes


def hindsight(outcomes: Outcomes, points: int = 25, weights: Array | None = None) -> Hindsight:
    """The whole frontier over single queries, thinned to some of its breakpoints.

    Args:
        outcomes: Of n queries under the strategies that may be used.
        points: How many breakpoints to tell, at least 2.
        weights: Share of traffic per query, shape (n,), 0 or more; equal where absent. Queries that
            nobody answered lose theirs to the others.

    Raises:
        UnknownValueError: A measured outcome has no dollars.
        InputError: Nothing was measured.
    """
    share = np.ones(len(outcomes.scores)) if weights is None else weights
    counts = outcomes.known.any(axis=1) & (share > 0)
    if not counts.any():
        raise InputError("no query has a score", where=f"outcomes of {outcomes.workload}")
    costs, scores, share = outcomes.costs[counts], outcomes.scores[counts], share[counts]
    _require_costs(costs, scores, outcomes.strategies)
    found = exact_frontier(costs, scores, share / share.sum())
    prices = [*(1 / slope for slope in found.slopes), None]
    return Hindsight(
        workload=outcomes.workload,
        strategies=len(outcomes.strategies),
        queries=len(scores),
        left_out=int((~counts).sum()),
        outcomes=int(np.isfinite(scores).sum()),
        breakpoints=len(found.costs),
        points=tuple(
            HindsightPoint(float(found.costs[at]), float(found.values[at]), prices[at])
            for at in found.thinned(points)
        ),
    )


def weights_of(class_names: Sequence[str | None], mix: Mapping[str, float] | None) -> Array | None:
    """Weight per query so that the classes have the shares of a mix; None where there is no mix.

    Raises:
        InputError: The mix names a class that no query has.
    """
    if mix is None:
        return None
    names = np.array([name or "" for name in class_names])
    weights = np.zeros(len(names))
    for name, share in mix.items():
        own = names == name
        if share and not own.any():
            raise InputError("no scored query has this class", where=f"traffic.mix.{name}")
        weights[own] = share / max(int(own.sum()), 1)
    return weights


def _require_costs(costs: Array, scores: Array, strategies: Sequence[str]) -> None:
    known = np.isfinite(scores)
    unknown = known & ~np.isfinite(costs)
    if not unknown.any():
        return
    raise UnknownValueError(
        f"the cost of {int(unknown.sum())} of {int(known.sum())} outcomes is unknown and a "
        "frontier needs it",
        where=f"e.g. strategy {strategies[int(unknown.any(axis=0).argmax())]}",
        next_step="give its prices, or list the other strategies under 'strategies'",
    )
