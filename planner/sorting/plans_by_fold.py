"""Plans made without some of the queries, to be judged on those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from planner.limit_names import OVERALL, SPEND
from planner.planner import Planner
from planner.programme.margin import Array
from planner.sorting.cells_of_outcomes import Indices, Outcomes, profile_of
from planner.sorting.plan_questions import Asked
from profiles.errors import InfeasibleError, UnprovenError


class Classes(Protocol):
    """A class per query."""

    @property
    def classes(self) -> Indices:
        """Class index per query, shape (n,)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, easiest first."""


@dataclass(frozen=True, slots=True)
class BlindPlan:
    """What the planner answers without some queries.

    Attributes:
        shares: Share of a class's requests by class and strategy, all of both, rows adding up to 1.
            A plan that is refused, and a class without any query to plan from, is charged one
            strategy: the one with the best mean score where the objective is cost, the one with
            the worst where it is accuracy.
        price: Shadow price of the overall floor where the objective is cost, of the budget where it
            is accuracy; 0 without one, None where no plan could be certified.
    """

    shares: Array
    price: float | None

    @property
    def alone(self) -> int:
        """Index of the strategy that answers every request; -1 where there are several."""
        used = np.flatnonzero(self.shares.any(axis=0))
        return int(used[0]) if len(used) == 1 else -1


def plans_without(
    outcomes: Outcomes, sorted_by: Classes, unseen: NDArray[np.bool_], ask: Asked
) -> list[BlindPlan]:
    """The planner's answer from the other queries to every question; one model serves them all."""
    rows = np.flatnonzero(~unseen)
    profile = profile_of(outcomes, sorted_by.classes, sorted_by.names, rows)
    planner = Planner(profile, ask.spec)
    e = planner.estimates
    class_at = np.array([sorted_by.names.index(name) for name in e.classes])
    strategy_at = np.array([outcomes.strategies.index(name) for name in e.strategies])
    charged = np.zeros((len(sorted_by.names), len(outcomes.strategies)))
    charged[:, _charged(outcomes, rows, strategy_at, best=ask.cheapest)] = 1.0
    plans = []
    for limits in ask.limits:
        try:
            answer = planner.answer(ask.spec.objective, limits)
        except (InfeasibleError, UnprovenError):
            plans.append(BlindPlan(charged, None))
            continue
        shares = charged.copy()
        shares[class_at] = 0.0
        shares[class_at[e.class_of], strategy_at[e.strategy_of]] = answer.x
        price = answer.shadow_prices.get(OVERALL if ask.cheapest else SPEND, 0.0)
        plans.append(BlindPlan(shares, price))
    return plans


def _charged(outcomes: Outcomes, rows: Indices, allowed: Indices, *, best: bool) -> int:
    known = outcomes.known[np.ix_(rows, allowed)]
    scores = np.where(known, outcomes.scores[np.ix_(rows, allowed)], 0.0)
    means = scores.sum(axis=0) / known.sum(axis=0)
    return int(allowed[np.argmax(means) if best else np.argmin(means)])
