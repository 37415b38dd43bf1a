"""Classes by one number per query, cut at borders: quantiles, or where a plan gains most.

The number is computed from predictions alone. `Hardness` is the mean predicted score, turned over.
`Upgrade` is what leaving the cheapest strategy is predicted to gain, per dollar.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from onnx import TensorProto

from profiles.difficulty.grid import STEPS_PER_POINT, Floats, append_on_grid, on_grid
from profiles.difficulty.nodes import Graph, ints
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.classes import Indices, class_names, easiest_first, too_small

How = Literal["quantiles", "plan"]


@dataclass(frozen=True, slots=True)
class Hardness:
    """Minus the sum of a query's predicted scores, in steps of the grid.

    Attributes:
        strategies: S.
    """

    strategies: int
    name = "difficulty"

    def of(self, scores: Floats) -> Floats:
        """float64[n]: the higher, the harder."""
        return np.asarray(-on_grid(scores).sum(axis=1))

    def append(self, graph: Graph, scores: str) -> str:
        """Name of the double[N] of the graph's float32[N, S] predicted scores."""
        total = graph.add("ReduceSum", append_on_grid(graph, scores), ints(1), keepdims=0)
        return graph.add("Neg", total)

    def describe(self, low: float | None, high: float | None) -> str:
        """What it means to be from one border to another; None where there is none."""
        least, most = (
            None if value is None else f"{-value / (STEPS_PER_POINT * self.strategies):.4f}"
            for value in (high, low)
        )
        return _between("mean predicted score", least, most)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The best gain in predicted score over a base strategy, per dollar that it costs more.

    Attributes:
        base: Column of the strategy with the smallest mean cost; without known costs of the one
            with the smallest mean predicted score.
        dearer: Columns of the strategies to change to.
        extra_usd: By strategy of `dearer`: its mean cost less the base's, above 0; without known
            costs 1.
    """

    base: int
    dearer: tuple[int, ...]
    extra_usd: tuple[float, ...]
    name = "upgrade"

    @classmethod
    def fit(cls, scores: Floats, mean_costs: Floats | None) -> Upgrade | None:
        """The value for these strategies; None where no strategy is dearer (or better) than one.

        Args:
            scores: Predicted, float64[n, S].
            mean_costs: float64[S] in dollars per request, or None where they are not known.
        """
        if mean_costs is None:
            level = on_grid(scores).sum(axis=0)
            base, best = int(level.argmin()), int(level.argmax())
            return None if base == best else cls(base, (best,), (1.0,))
        base = int(mean_costs.argmin())
        dearer = tuple(map(int, np.flatnonzero(mean_costs > mean_costs[base])))
        extra = tuple(float(mean_costs[s] - mean_costs[base]) for s in dearer)
        return cls(base, dearer, extra) if dearer else None

    def of(self, scores: Floats) -> Floats:
        """float64[n]: points of score per dollar; the higher, the more an upgrade is worth."""
        steps = on_grid(scores)
        gained = steps[:, list(self.dearer)] - steps[:, [self.base]]
        return np.asarray((gained * self._per_dollar()).max(axis=1))

    def append(self, graph: Graph, scores: str) -> str:
        """Name of the double[N] of the graph's float32[N, S] predicted scores."""
        steps = append_on_grid(graph, scores)
        dearer = graph.add("Gather", steps, ints(*self.dearer), axis=1)
        gained = graph.add("Sub", dearer, graph.add("Gather", steps, ints(self.base), axis=1))
        worth = graph.add("Mul", gained, self._per_dollar())
        return graph.add("ReduceMax", worth, ints(1), keepdims=0)

    def describe(self, low: float | None, high: float | None) -> str:
        """What it means to be from one border to another; None where there is none."""
        least, most = (None if value is None else f"{value:.4g}" for value in (low, high))
        return _between("predicted points gained per dollar", least, most)

    def _per_dollar(self) -> Floats:
        return 1 / (STEPS_PER_POINT * np.array(self.extra_usd))


Value = Hardness | Upgrade


@dataclass(frozen=True, slots=True)
class Bins:
    """Classes of a value that is cut at borders.

    Attributes:
        value: What is cut.
        how: The borders were chosen: for equal size, or for a plan.
        borders: C-1 rising values; a query is above a border that its value reaches.
        class_of_bin: C class indices, by bin from the lowest value; easiest class first.
    """

    value: Value
    how: How
    borders: tuple[float, ...]
    class_of_bin: tuple[int, ...]

    @classmethod
    def at(cls, value: Value, how: How, borders: Floats, scores: Floats) -> Bins:
        """Bins with these borders, classes ordered by the predicted float64[n, S] `scores`."""
        order = easiest_first(scores, bin_of(value.of(scores), borders), len(borders) + 1)
        place = tuple(map(int, np.argsort(order)))
        return cls(value, how, tuple(map(float, borders)), place)

    @classmethod
    def of_equal_size(cls, value: Value, predictions: Predictions, count: int) -> Bins:
        """At most `count` bins of equal size; fewer where ties would make one too small."""
        found = value.of(predictions.scores)
        borders = quantile_borders(found, count)
        while too_small(bin_of(found, borders), len(borders) + 1):
            borders = quantile_borders(found, count := count - 1)
        return cls.at(value, "quantiles", borders, predictions.scores)

    @property
    def kind(self) -> str:
        """What is cut, and how."""
        return f"{self.value.name} by {self.how}"

    @property
    def names(self) -> tuple[str, ...]:
        """What the classes are called, easiest first."""
        return class_names(len(self.class_of_bin))

    def sort(self, predictions: Predictions) -> Indices:
        """intp[n]: the class of every query."""
        return self.classes_at(self.value.of(predictions.scores), np.array(self.borders))

    def classes_at(self, values: Floats, borders: Floats) -> Indices:
        """intp[n]: classes of values at as many other borders, for cross-fitting."""
        return np.array(self.class_of_bin, dtype=np.intp)[bin_of(values, borders)]

    def append(self, graph: Graph, scores: str, costs: str | None) -> str:  # noqa: ARG002 - the face
        """Name of the int64[N] class of the graph's float32[N, S] predicted scores."""
        value = graph.add("Unsqueeze", self.value.append(graph, scores), ints(1))
        # a border that every value reaches stands first, so that there always is one
        borders = np.array([-np.inf, *self.borders])
        reached = graph.add("GreaterOrEqual", value, borders)
        reached = graph.add("Cast", reached, to=TensorProto.INT64)
        reached = graph.add("ReduceSum", reached, ints(1), keepdims=0)
        return graph.add("Gather", ints(-1, *self.class_of_bin), reached)

    def describe(self) -> tuple[str, ...]:
        """A sentence per class."""
        ends = pairwise([None, *self.borders, None])
        words = [self.value.describe(low, high) for low, high in ends]
        return tuple(words[index] for index in np.argsort(self.class_of_bin))

    def to_json(self) -> dict[str, Any]:
        """The sorting as plain values."""
        return {
            "kind": self.kind,
            "names": self.names,
            "borders": self.borders,
            "class_of_bin": self.class_of_bin,
        }


def _between(what: str, least: str | None, most: str | None) -> str:
    if least is None:
        return f"any {what}" if most is None else f"{what} up to {most}"
    return f"{what} from {least}" if most is None else f"{what} {least} to {most}"


def bin_of(values: Floats, borders: Floats) -> Indices:
    """intp[n]: how many of the rising borders each value reaches."""
    return np.searchsorted(borders, values, side="right")


def quantile_borders(values: Floats, count: int) -> Floats:
    """At most count-1 borders between bins of equal size; equal within one where no values tie.

    A border is the smallest value of the bin above it. Values that tie stay together.
    """
    ranks = np.ceil(np.arange(1, count) / count * len(values)).astype(int)
    borders = np.unique(np.sort(values)[ranks[ranks < len(values)]])
    return np.asarray(borders[borders > values.min()])
