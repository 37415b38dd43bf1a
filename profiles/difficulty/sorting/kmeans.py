"""Classes by nearest prototype of predicted scores: prompts of different kinds, by k-means.

Coordinates are taken on a grid of 1e-5. On it every sum and product here is a whole number that
float64 or int64 holds exactly, so no decision depends on the order in which a machine adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from profiles.difficulty.grid import STEPS_PER_POINT, Floats, append_on_grid, on_grid
from profiles.difficulty.nodes import Graph
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.classes import SMALLEST_SHARE, Indices, class_names, easiest_first

_RESTARTS = 8
_ROUNDS = 100
#: Where to start is chosen on at most so many points; the winner then settles on all of them.
_SAMPLE = 5_000


@dataclass(frozen=True, slots=True)
class Prototypes:
    """A query belongs to the prototype that is nearest to its predicted scores.

    Attributes:
        centres: C prototypes of S predicted scores in 0..1, easiest class first.
    """

    centres: tuple[tuple[float, ...], ...]
    kind = "prototypes"

    @classmethod
    def fit(cls, predictions: Predictions, count: int, *, seed: int) -> Prototypes:
        """At most `count` prototypes, each with at least the smallest share of the queries."""
        scores = predictions.scores
        centres = prototypes(scores, count, smallest_share=SMALLEST_SHARE, seed=seed)
        order = easiest_first(scores, nearest(scores, centres), len(centres))
        return cls(tuple(tuple(map(float, centres[index])) for index in order))

    @property
    def names(self) -> tuple[str, ...]:
        """What the classes are called, easiest first."""
        return class_names(len(self.centres))

    def sort(self, predictions: Predictions) -> Indices:
        """intp[n]: the class of every query; the easier one on ties."""
        return nearest(predictions.scores, np.array(self.centres))

    def append(self, graph: Graph, scores: str, costs: str | None) -> str:  # noqa: ARG002 - the face
        """Name of the int64[N] class of the graph's float32[N, S] predicted scores."""
        centres = on_grid(np.array(self.centres))
        nearness = graph.add("MatMul", append_on_grid(graph, scores), 2 * centres.T)
        nearness = graph.add("Sub", nearness, (centres**2).sum(axis=1))
        return graph.add("ArgMax", nearness, axis=1, keepdims=0)

    def describe(self) -> tuple[str, ...]:
        """A sentence per class."""
        means = [np.mean(centre) for centre in self.centres]
        return tuple(f"like a mean predicted score of {mean:.3f}" for mean in means)

    def to_json(self) -> dict[str, Any]:
        """The sorting as plain values."""
        return {"kind": self.kind, "names": self.names, "centres": self.centres}


def nearest(points: Floats, prototypes: Floats) -> Indices:
    """Index of the nearest prototype of every point; the first one on ties."""
    return _nearest(on_grid(points), on_grid(prototypes))


def prototypes(points: Floats, count: int, *, smallest_share: float, seed: int) -> Floats:
    """At most `count` k-means centres of points[n, d]; the same ones for the same arguments.

    A group that holds less than `smallest_share` of the points is given up to its neighbours, so
    fewer centres than asked for may come back; at least one always does.
    """
    points = on_grid(points)
    rng = np.random.default_rng(seed)
    sample = points if len(points) <= _SAMPLE else points[rng.choice(len(points), _SAMPLE, False)]
    order = sample.mean(axis=1).argsort(kind="stable")
    spread = ((np.arange(count) + 0.5) / count * len(sample)).astype(int)
    starts = [sample[order[spread]]]
    starts += [sample[rng.choice(len(sample), count)] for _ in range(_RESTARTS)]
    found = [_settle(sample, start) for start in starts]
    best = min(found, key=lambda centres: _spread(sample, centres))
    best = best if sample is points else _settle(points, best)
    while len(best) > 1:
        sizes = np.bincount(_nearest(points, best), minlength=len(best))
        if sizes.min() >= smallest_share * len(points):
            break
        best = _settle(points, np.delete(best, sizes.argmin(), axis=0))
    return best / STEPS_PER_POINT


def _nearest(points: Floats, prototypes: Floats) -> Indices:
    # |p - c|^2 is smallest where 2 p c - |c|^2 is largest
    nearness = points @ (2 * prototypes.T) - (prototypes**2).sum(axis=1)
    return np.asarray(nearness.argmax(axis=1))


def _settle(points: Floats, centres: Floats) -> Floats:
    """Lloyd's rounds until no centre moves; a centre without points is dropped."""
    for _ in range(_ROUNDS):
        group = _nearest(points, centres)
        kept = np.unique(group)
        moved = np.rint([points[group == index].mean(axis=0) for index in kept])
        if moved.shape == centres.shape and np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _spread(points: Floats, centres: Floats) -> int:
    squares = (points - centres[_nearest(points, centres)]) ** 2
    return int(squares.astype(np.int64).sum())
