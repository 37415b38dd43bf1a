"""Classes that are choices: per query the strategy whose predicted score is worth its dollars.

At a price of a dollar, `multiplier` points of score, a query's choice is the strategy with the
largest predicted score - multiplier * cost. One multiplier keeps one budget at the best predicted
score: it is the budget's dual, and the optimum of the linear programme over all queries but for
the one query that it splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from profiles.difficulty.grid import (
    STEPS_PER_POINT,
    Floats,
    append_as_double,
    append_on_grid,
    on_grid,
)
from profiles.difficulty.nodes import Graph, ints
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.classes import (
    SMALLEST_SHARE,
    Indices,
    class_names,
    easiest_first,
    too_small,
)
from profiles.difficulty.sorting.multiplier import dollars, worth
from profiles.errors import InputError

#: Choices in a row that are tried as classes; 20 can hold the smallest share.
_MOST_TUPLES = 100


@dataclass(frozen=True, slots=True)
class PriceRule:
    """A class is the choice at each multiplier; a rare one joins where it loses least.

    A query belongs to the class whose choices are worth most to it, added up over the multipliers.
    That is its own choices where they are a class. With one multiplier the class is the strategy.

    Attributes:
        strategies: S canonical texts.
        multipliers: Points of score per dollar, rising; 0 or more.
        choices: By class, easiest first, a column of `strategies` per multiplier.
        mean_costs: By strategy in dollars per request; None where a query's own predicted dollars
            count.
    """

    strategies: tuple[str, ...]
    multipliers: tuple[float, ...]
    choices: tuple[tuple[int, ...], ...]
    mean_costs: tuple[float, ...] | None
    kind = "price rule"

    @classmethod
    def fit(
        cls,
        predictions: Predictions,
        strategies: Sequence[str],
        multipliers: Sequence[float],
        *,
        most: int,
        mean_costs: Floats | None = None,
    ) -> PriceRule:
        """The rule for these multipliers; none of its classes is smaller than the smallest share.

        Args:
            predictions: Of n queries, out of fold.
            strategies: S canonical texts.
            multipliers: Points of score per dollar, at least one; equal ones count once.
            most: Classes, at least 1.
            mean_costs: float64[S]; to be given where `predictions` has no costs.

        Raises:
            InputError: No costs at all.
        """
        means = None if mean_costs is None else tuple(map(float, mean_costs))
        prices = tuple(sorted(set(map(float, multipliers))))
        rule = cls(tuple(strategies), prices, (), means)
        parts = [rule._worth(predictions, price) for price in prices]
        kept, group = _merged(parts, most)
        kept = kept[easiest_first(predictions.scores, group, len(kept))]
        # equal worth goes to the first class, so the order may have moved some queries
        while too_small(group := _total(parts, kept).argmax(axis=1), len(kept)):
            kept = np.delete(kept, np.bincount(group, minlength=len(kept)).argmin(), axis=0)
        choices = tuple(tuple(map(int, row)) for row in kept)
        return cls(rule.strategies, prices, choices, means)

    @property
    def names(self) -> tuple[str, ...]:
        """What the classes are called, easiest first."""
        return class_names(len(self.choices))

    def sort(self, predictions: Predictions) -> Indices:
        """intp[n]: the class of every query.

        Raises:
            InputError: The rule needs predicted costs and there are none.
        """
        parts = [self._worth(predictions, price) for price in self.multipliers]
        total = _total(parts, np.array(self.choices))
        return np.asarray(total.argmax(axis=1))

    def append(self, graph: Graph, scores: str, costs: str | None) -> str:
        """Name of the int64[N] class of the graph's float32[N, S] predicted scores and dollars.

        Raises:
            InputError: The rule needs predicted costs and the graph has none.
        """
        steps = append_on_grid(graph, scores)
        total = ""
        for price, chosen in zip(self.multipliers, zip(*self.choices, strict=True), strict=True):
            pays = self._append_pays(graph, costs, price)
            part = graph.add("Gather", graph.add("Sub", steps, pays), ints(*chosen), axis=1)
            total = graph.add("Add", total, part) if total else part
        return graph.add("ArgMax", total, axis=1, keepdims=0)

    def describe(self) -> tuple[str, ...]:
        """A sentence per class: its choices from loose budgets to tight ones."""
        return tuple(self._in_words(row) for row in self.choices)

    def to_json(self) -> dict[str, Any]:
        """The sorting as plain values."""
        return {
            "kind": self.kind,
            "names": self.names,
            "multipliers": self.multipliers,
            "choices": [[self.strategies[s] for s in row] for row in self.choices],
            "mean_costs_usd": self.mean_costs,
        }

    def _in_words(self, row: tuple[int, ...]) -> str:
        runs = [(s, max(n for n, _ in run)) for s, run in groupby(enumerate(row), lambda c: c[1])]
        words = [
            f"{self.strategies[s]} where a correct answer is worth at least "
            f"{1 / self.multipliers[last]:.3g} USD"
            for s, last in runs[:-1]
            if self.multipliers[last]
        ]
        price = self.multipliers[-1]
        reach = f"tried down to {1 / price:.3g} USD" if price else "money is no object"
        return ", else ".join([*words, f"{self.strategies[runs[-1][0]]} ({reach})"])

    def _append_pays(self, graph: Graph, costs: str | None, price: float) -> str | Floats:
        if self.mean_costs is not None:
            return np.array(self.mean_costs) * (price * STEPS_PER_POINT)
        if costs is None:
            raise InputError(
                "this price rule needs a query's predicted dollars",
                expected="a graph that predicts the cost of every strategy",
                got="a graph that predicts scores alone",
            )
        dollars = append_as_double(graph, costs)
        return graph.add("Mul", dollars, np.array(price * STEPS_PER_POINT))

    def _worth(self, predictions: Predictions, price: float) -> Floats:
        """float64[n, S]: score - price * cost, in steps of the grid."""
        means = None if self.mean_costs is None else np.array(self.mean_costs)
        return worth(on_grid(predictions.scores), dollars(predictions, means), price)


def _total(parts: Sequence[Floats], kept: Indices) -> Floats:
    """float64[n, C]: what the choices of each class are worth, added in the graph's order."""
    total = parts[0][:, kept[:, 0]]
    for part, chosen in zip(parts[1:], kept.T[1:], strict=True):
        total = total + part[:, chosen]
    return total


def _merged(parts: Sequence[Floats], most: int) -> tuple[Indices, Indices]:
    """Choices that are classes, and that of every query.

    Only the most common are tried. The rarest are given up until every one left is made by enough
    queries; then, down to `most`, always the one that loses least by it.
    """
    own = np.stack([part.argmax(axis=1) for part in parts], axis=1)
    kept, group, sizes = np.unique(own, axis=0, return_inverse=True, return_counts=True)
    group = group.ravel()
    if len(kept) > _MOST_TUPLES:
        common = np.sort(np.argsort(-sizes, kind="stable")[:_MOST_TUPLES])
        place = np.full(len(kept), -1)
        place[common] = np.arange(_MOST_TUPLES)
        kept, group = kept[common], place[group]
        rows = np.flatnonzero(group < 0)
        group[rows] = _total([part[rows] for part in parts], kept).argmax(axis=1)
    while len(kept) > 1:
        sizes = np.bincount(group, minlength=len(kept))
        if sizes.min() < SMALLEST_SHARE * len(group):
            gone = int(sizes.argmin())
        elif len(kept) > most:
            gone = _least_missed(_total(parts, kept))
        else:
            break
        rows = np.flatnonzero(group == gone)
        kept = np.delete(kept, gone, axis=0)
        group = group - (group > gone)
        group[rows] = _total([part[rows] for part in parts], kept).argmax(axis=1)
    return kept, group


def _least_missed(total: Floats) -> int:
    """The class without which the queries lose least; float64[n, C] is what each is worth."""
    second, first = np.partition(total, -2, axis=1)[:, -2:].T
    loss = np.rint(np.bincount(total.argmax(axis=1), weights=first - second))
    return int(loss.argmin())
