"""Sortings: ways from predictions to classes, and all those worth a trial on a workload.

A sorting is fitted on out-of-fold predictions. Where its borders are chosen by outcomes too, a
query's own class comes from borders that did not see its fold. So the measured scores of a class
are not flattered by the choice of its queries. The prices of a dollar and the mean costs, a few
numbers from all queries, are the only thing that all folds share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np

from profiles.difficulty.grid import Floats, as_served
from profiles.difficulty.lessons import Lessons
from profiles.difficulty.nodes import Graph
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.bins import Bins, Hardness, Upgrade, Value
from profiles.difficulty.sorting.borders import CrossFitted, Outcomes, cross_fitted
from profiles.difficulty.sorting.classes import Indices, too_small
from profiles.difficulty.sorting.kmeans import Prototypes
from profiles.difficulty.sorting.multiplier import frontier
from profiles.difficulty.sorting.price_rule import PriceRule

#: Prices of a dollar at which borders and choices at a single price are tried.
_PRICES = 3
#: How many prices, spread over all budgets, the choices of a price rule's class are for.
_FRONTIERS = (3, 6, 9)


class Sorting(Protocol):
    """What every way of sorting can do; numpy and the graph agree to the bit."""

    @property
    def kind(self) -> str:
        """Of sorting, in words."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the classes are called, easiest first."""

    def sort(self, predictions: Predictions) -> Indices:
        """intp[n]: the class of every query."""

    def append(self, graph: Graph, scores: str, costs: str | None) -> str:
        """Name of the int64[N] class of the graph's float32[N, S] predicted scores and dollars."""

    def describe(self) -> tuple[str, ...]:
        """What a query of each class is like, in words."""

    def to_json(self) -> dict[str, Any]:
        """The sorting as plain values."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sorting and the class that it gives each training query without having seen its outcome.

    Attributes:
        kind: Of sorting, in words.
        classes: How many there are; each holds at least the smallest share of the queries.
        class_index: intp[n], easiest class first.
        sorting: Fitted on all queries: what is served.
    """

    kind: str
    classes: int
    class_index: Indices
    sorting: Sorting


def candidates(
    predictions: Predictions,
    lessons: Lessons,
    fold_of: Indices,
    counts: Sequence[int],
    seed: int,
) -> list[Candidate]:
    """Every sorting worth a trial, at least one; those that sort alike are listed once.

    Args:
        predictions: Of the n queries, out of fold.
        lessons: Their outcomes.
        fold_of: intp[n].
        counts: How many classes are wanted, each at least 1; fewer may come back. A
            rule with a single price has as many as it makes, up to the largest count.
        seed: Of the prototypes' restarts.
    """
    world = _World(predictions, lessons, fold_of)
    found: dict[bytes, Candidate] = {}
    tried = (
        *_simple(world, counts, seed),
        *(part for value in world.values for part in _by_plan(world, value, counts)),
        *_price_rules(world, counts),
    )
    for candidate in tried:
        if not too_small(candidate.class_index, candidate.classes):
            found.setdefault(candidate.class_index.tobytes(), candidate)
    return list(found.values())


def known_mean_costs(predictions: Predictions, lessons: Lessons) -> Floats | None:
    """Mean dollars per request of every strategy; None where one strategy has no costs at all.

    Means of the predictions where there are any, otherwise of what was measured; to 6 digits, so
    that they do not depend on the order of adding.
    """
    costs = lessons.costs if predictions.costs is None else as_served(predictions.costs)
    known = np.isfinite(costs)
    if not known.any(axis=0).all():
        return None
    means = np.where(known, costs, 0.0).sum(axis=0) / known.sum(axis=0)
    return np.array([float(f"{mean:.5e}") for mean in means])


class _World:
    """What the sortings are fitted on."""

    def __init__(self, predictions: Predictions, lessons: Lessons, fold_of: Indices) -> None:
        self.predictions = predictions
        self.strategies = lessons.strategies
        self.fold_of = fold_of
        self.mean_costs = known_mean_costs(predictions, lessons)
        upgrade = Upgrade.fit(predictions.scores, self.mean_costs)
        hardness = Hardness(len(self.strategies))
        self.values: list[Value] = [hardness, upgrade] if upgrade else [hardness]
        self.outcomes = self._outcomes(lessons, upgrade)

    @property
    def own_means(self) -> Floats | None:
        """Mean costs where they stand in for predicted ones."""
        return self.mean_costs if self.predictions.costs is None else None

    def frontier(self, prices: int) -> tuple[float, ...]:
        """Prices of a dollar whose budgets are spread between the cheapest and the best."""
        return frontier(self.predictions, prices, self.own_means)

    def _outcomes(self, lessons: Lessons, upgrade: Upgrade | None) -> Outcomes | None:
        """What plans are judged by; where nothing was measured the prediction stands in.

        Without costs, plans choose between the strategies with the lowest and the highest mean
        predicted score, and a request to the latter counts 1.
        """
        scores = np.where(np.isnan(lessons.scores), self.predictions.scores, lessons.scores)
        if upgrade is None:
            return None
        if self.mean_costs is None:
            pair = [upgrade.base, *upgrade.dearer]
            two = Predictions(self.predictions.scores[:, pair], None)
            ones = np.array([0.0, 1.0])
            return Outcomes(
                scores[:, pair],
                np.broadcast_to(ones, (len(scores), 2)),
                frontier(two, _PRICES, ones),
            )
        stand_in = self.mean_costs if self.predictions.costs is None else self.predictions.costs
        costs = np.where(np.isnan(lessons.costs), stand_in, lessons.costs)
        return Outcomes(scores, costs, self.frontier(_PRICES))


def _simple(world: _World, counts: Sequence[int], seed: int) -> Iterator[Candidate]:
    """Sortings fitted without outcomes: prototypes and quantiles."""
    for count in counts:
        prototypes = Prototypes.fit(world.predictions, count, seed=seed)
        yield _candidate(prototypes, world.predictions)
        for value in world.values:
            yield _candidate(Bins.of_equal_size(value, world.predictions, count), world.predictions)


def _by_plan(world: _World, value: Value, counts: Sequence[int]) -> Iterator[Candidate]:
    """Bins with the borders that plans gain most by; none where one bin is best."""
    if world.outcomes is None or not world.outcomes.multipliers:
        return
    scores = world.predictions.scores
    values = value.of(scores)
    fitted = cross_fitted(values, world.outcomes, world.fold_of, max(counts))
    for count in counts:
        best = max((f for f in fitted if len(f.cut.borders) < count), key=_value, default=None)
        if best is not None and len(best.cut.borders):
            bins = Bins.at(value, "plan", best.cut.borders, scores)
            index = np.array(bins.class_of_bin, dtype=np.intp)[best.bins]
            yield Candidate(bins.kind, len(bins.names), index, bins)


def _price_rules(world: _World, counts: Sequence[int]) -> Iterator[Candidate]:
    """A rule per price, and rules for a whole frontier of prices."""
    if world.mean_costs is None or world.outcomes is None:
        return
    singles = [((price,), max(counts)) for price in world.outcomes.multipliers]
    frontiers = (world.frontier(number) for number in _FRONTIERS)
    for prices, most in [*singles, *product(filter(None, frontiers), counts)]:
        rule = PriceRule.fit(
            world.predictions, world.strategies, prices, most=most, mean_costs=world.own_means
        )
        yield _candidate(rule, world.predictions)


def _candidate(sorting: Sorting, predictions: Predictions) -> Candidate:
    return Candidate(sorting.kind, len(sorting.names), sorting.sort(predictions), sorting)


def _value(fitted: CrossFitted) -> float:
    return fitted.cut.value
