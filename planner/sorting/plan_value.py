"""What plans by some classes would achieve on queries that they have not seen.

For every fold, a plan is made from the other folds by the planner as it is, with the limits and
margins of any plan, and judged on the fold's own queries. A request of class d is answered by
strategy s with the plan's share ``x_ds``, so a query q is worth its expectation,

    v_q = sum_s x_ds y_qs        (y: scores, or dollars)

and figures are means over queries, each judged once, with ``sd(v) / sqrt(n)`` as standard error:
that of judging the plans, not of making them. The classes themselves must be out of fold, or the
value flatters them. Outcomes that nobody measured are filled in by `cells_of_outcomes.filled`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.limit_names import BY_CLASS, OVERALL, SPEND
from planner.limits import LimitSet
from planner.programme.margin import Array
from planner.sorting.cells_of_outcomes import Indices, Outcomes, filled
from planner.sorting.plan_questions import Asked, asked
from planner.sorting.plans_by_fold import BlindPlan, Classes, plans_without
from planner.spec import Spec
from profiles.errors import InputError

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over queries and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Array) -> Mean:
        """Of one value per query; the error of a single one is unknown and infinite."""
        n = len(values)
        return cls(float(values.mean()), float(values.std(ddof=1) / n**0.5) if n > 1 else np.inf)


@dataclass(frozen=True, slots=True)
class FoldValue:
    """One plan on the fold that it has not seen.

    Attributes:
        fold: Which fold was held out.
        limits: What was asked.
        queries: Queries it was judged on.
        refused: No plan could be certified; the figures are those of the strategy charged for it.
        accuracy: Mean score, 0..1.
        cost_usd: Dollars per request, None where unknown.
        missed: Names of the limits on accuracy and money that these means miss, noise included.
    """

    fold: int
    limits: LimitSet
    queries: int
    refused: bool
    accuracy: Mean
    cost_usd: Mean | None
    missed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What plans by one way of sorting achieve on queries they have not seen.

    The value ranks ways of sorting: mean held-out dollars per request where the objective is cost
    (less is better), else mean held-out accuracy, averaged over the questions. A fold whose plan is
    refused is charged the dollars of the single strategy with the best mean score in the other
    folds, or, where accuracy is the objective, the score of the one with the worst; so is a query
    of a class that no other fold has.

    Attributes:
        value: Dollars per request or accuracy, and its standard error.
        accuracy: Mean score over all questions, 0..1.
        cost_usd: Dollars per request over all questions, None where unknown.
        folds: Every question of every fold.
        missed: Limits that the mean over all certified folds misses by more than its standard
            error.
        gain_of: The value per question and query, its sign turned where less is better.
        spare_of: What pays for it, per question and query: the score where the value is cost,
            dollars with their sign turned where it is accuracy.
        rates: What a unit of that is worth in the value, per question: the mean shadow price of the
            overall floor, or of the budget, over certified plans.
        alone: Index of the strategy that a plan gives all requests to, per question and fold; -1
            where there are several.
    """

    value: Mean
    accuracy: Mean
    cost_usd: Mean | None
    folds: tuple[FoldValue, ...]
    missed: tuple[str, ...]
    gain_of: Array
    spare_of: Array
    rates: Array
    alone: Indices

    @property
    def refused(self) -> int:
        """Questions of folds without a certified plan."""
        return sum(fold.refused for fold in self.folds)


def held_out(
    outcomes: Outcomes, sorted_by: Classes, fold_of: Indices, spec: Spec | None = None
) -> HeldOut:
    """Make a plan without every fold in turn, and judge it on that fold.

    Args:
        outcomes: Scores and costs of n queries.
        sorted_by: Their classes, out of fold.
        fold_of: Fold per query, shape (n,), at least two different ones.
        spec: What plans are asked; `plan_questions.asked` says what stands in for it.

    Raises:
        InputError: Fewer than two folds, or the spec names another workload, unknown classes or
            groups.
        UnknownValueError: A cost that the spec needs is unknown, or it limits latency.
    """
    return judged(outcomes, sorted_by, fold_of, asked(outcomes, fold_of, spec))


def judged(outcomes: Outcomes, sorted_by: Classes, fold_of: Indices, ask: Asked) -> HeldOut:
    """`held_out` for questions that are known."""
    folds = np.unique(fold_of)
    if len(folds) < 2:
        raise InputError(
            "plans cannot be judged on queries that they have not seen",
            where=f"outcomes of {outcomes.workload}",
            expected="at least two folds",
            got=str(len(folds)),
        )
    plans = [plans_without(outcomes, sorted_by, fold_of == fold, ask) for fold in folds]
    return _Judge(outcomes, sorted_by, fold_of, ask).held_out(dict(zip(folds, plans, strict=True)))


class _Judge:
    """Outcomes of queries, as plans by one way of sorting are judged by them."""

    def __init__(
        self, outcomes: Outcomes, sorted_by: Classes, fold_of: Indices, ask: Asked
    ) -> None:
        self._class_of, self._names = sorted_by.classes, sorted_by.names
        self._fold_of, self._ask = fold_of, ask
        self._scores = filled(outcomes.scores, outcomes.known, self._class_of)
        priced = (np.isfinite(outcomes.costs) | ~outcomes.known).all(axis=0)
        self._costs = filled(
            np.where(priced, outcomes.costs, np.nan), outcomes.known, self._class_of
        )
        self._weights = self._traffic_weights()

    def held_out(self, plans: dict[int, list[BlindPlan]]) -> HeldOut:
        """Judge the plans of every fold."""
        shape = (len(self._ask.limits), len(self._fold_of))
        scores, costs, certified = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
        for fold, own in ((fold, self._fold_of == fold) for fold in plans):
            for index, plan in enumerate(plans[fold]):
                shares = plan.shares[self._class_of[own]]
                scores[index, own] = _expected(shares, self._scores[own])
                costs[index, own] = _expected(shares, self._costs[own])
                certified[index, own] = plan.price is not None
        accuracy, cost = self._mean(scores.mean(axis=0)), self._known_mean(costs.mean(axis=0))
        prices = np.array([[plan.price for plan in plans[fold]] for fold in plans], dtype=float)
        gain, spare = (-costs, scores) if self._ask.cheapest else (scores, -costs)
        return HeldOut(
            value=cost if self._ask.cheapest and cost else accuracy,
            accuracy=accuracy,
            cost_usd=cost,
            folds=tuple(
                self._fold_value(fold, limits, scores[index], costs[index], plans[fold][index])
                for index, limits in enumerate(self._ask.limits)
                for fold in plans
            ),
            missed=tuple(dict.fromkeys(self._missed_by_all(scores, costs, certified))),
            gain_of=np.array([self._weighted(values) for values in gain]),
            spare_of=np.array([self._weighted(values) for values in spare]),
            rates=np.nansum(prices, axis=0) / np.maximum(np.isfinite(prices).sum(axis=0), 1),
            alone=np.array([[plan.alone for plan in plans[fold]] for fold in plans]).T,
        )

    def _fold_value(
        self, fold: int, limits: LimitSet, scores: Array, costs: Array, plan: BlindPlan
    ) -> FoldValue:
        own = self._fold_of == fold
        return FoldValue(
            fold=int(fold),
            limits=limits,
            queries=int(own.sum()),
            refused=plan.price is None,
            accuracy=self._mean(scores, own),
            cost_usd=self._known_mean(costs, own),
            missed=tuple(self._missed(limits, scores, costs, own, errors=0.0)),
        )

    def _missed_by_all(self, scores: Array, costs: Array, certified: Mask) -> Iterator[str]:
        for limits, *rows in zip(self._ask.limits, scores, costs, certified, strict=True):
            yield from self._missed(limits, *rows, errors=1.0)

    def _missed(
        self, limits: LimitSet, scores: Array, costs: Array, rows: Mask, *, errors: float
    ) -> Iterator[str]:
        """Limits that the mean over some queries misses by more than so many standard errors."""
        for name, limit in limits.values.items():
            own = rows
            if name.startswith(BY_CLASS):
                own = rows & (self._class_of == self._names.index(name.removeprefix(BY_CLASS)))
            elif name not in {OVERALL, SPEND}:
                continue
            if not own.any():
                continue
            mean = self._mean(costs if name == SPEND else scores, own)
            short = mean.value - limit if name == SPEND else limit - mean.value
            if short > errors * mean.error:
                yield name

    def _traffic_weights(self) -> Array:
        """How many requests a query stands for, up to a factor: 1 unless the spec gives the mix."""
        traffic = self._ask.spec.traffic
        if traffic is None or not traffic.mix:
            return np.ones(len(self._class_of))
        share = np.array([traffic.mix.get(name, 0.0) for name in self._names])
        counts = np.bincount(self._class_of, minlength=len(self._names))
        return np.asarray((share / np.maximum(counts, 1))[self._class_of])

    def _weighted(self, values: Array, rows: Mask | None = None) -> Array:
        """Values per query whose plain mean and spread are those of the weighted mean."""
        weights = self._weights if rows is None else self._weights[rows]
        values = values if rows is None else values[rows]
        if not weights.any():
            return values
        mean = weights @ values / weights.sum()
        return np.asarray(mean + weights / weights.mean() * (values - mean))

    def _mean(self, values: Array, rows: Mask | None = None) -> Mean:
        return Mean.of(self._weighted(values, rows))

    def _known_mean(self, values: Array, rows: Mask | None = None) -> Mean | None:
        mean = self._mean(values, rows)
        return mean if np.isfinite(mean.value) else None


def _expected(shares: Array, outcomes: Array) -> Array:
    """What a plan is worth per query; nan where it uses what nobody knows."""
    return np.asarray(np.where(shares > 0, shares * outcomes, 0.0).sum(axis=1))
