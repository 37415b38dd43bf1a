"""Sets of classes that hold a query's true class with a stated chance.

The true class is known only afterwards, for training queries: a label, or the class that their
measured outcomes fit best (`nearest_in_hindsight`, `best_in_hindsight`). Chances of each class are
estimated from predictions; a set holds the classes whose chance is high enough, "least ambiguous
sets" (Sadinle, Lei and Wasserman, JASA 114 (2019)). How high is high enough is split conformal: of
the n calibration queries, the ceil((n + 1)(1 - alpha))-th smallest of ``1 - chance of the true
class``. A new query that is exchangeable with them is covered with probability 1 - alpha at least,
however wrong the chances are (Vovk, Gammerman and Shafer 2005). Wrong chances make sets large.

Sets of training queries take both, chances and threshold, from other folds (cross-conformal, Vovk
2015); with near-duplicates in one fold, no copy vouches for itself. The promise is about queries
on average: a rare class can be covered less often, so coverage is also told class by class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from profiles.cells.intervals import wilson

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

UNKNOWN = -1
"""The true class of a query whose outcomes do not tell it."""
_PENALTY = 1.0
_SMALLEST_CHANCE = 1e-3
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often sets held the true class.

    Attributes:
        queries: With a known true class.
        covered: Of those, 0..1; 0 without any.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    queries: int
    covered: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PredictionSets:
    """Sets of the training queries, each by other folds, and the threshold for new ones.

    Attributes:
        alpha: The error rate that is allowed.
        smallest_chance: A new query's set holds every class with at least this chance; 0 where
            too few queries were there to leave any class out.
        members: bool, shape (n, C); the likeliest class is always in.
        overall: Over all queries.
        by_class: Per true class.
        mean_size: Classes per set.
        single: Share of sets with one class.
    """

    alpha: float
    smallest_chance: float
    members: NDArray[np.bool_]
    overall: Coverage
    by_class: tuple[Coverage, ...]
    mean_size: float
    single: float


def nearest_in_hindsight(scores: Floats, prototypes: Floats) -> Indices:
    """The class whose prototype is nearest to what was measured; the first one on ties.

    The distance is the mean squared one over the strategies that the query was measured on and that
    every class has a mean of: one that a class lacks would bring it near for knowing less.

    Args:
        scores: Shape (n, S), in 0..1, nan where unmeasured. A query that no such strategy was
            measured on has the class `UNKNOWN`.
        prototypes: Shape (C, S): mean measured score of each class, nan where it has none.
    """
    counts = np.isfinite(scores) & np.isfinite(prototypes).all(axis=0)
    squares = np.where(counts[:, None, :], (scores[:, None, :] - prototypes) ** 2, 0.0)
    apart = squares.sum(axis=2) / np.maximum(counts.sum(axis=1), 1)[:, None]
    return np.where(counts.any(axis=1), _smallest(apart), UNKNOWN)


def best_in_hindsight(
    shares: Floats, scores: Floats, costs: Floats | None, usd_per_point: float
) -> Indices:
    """The class under which a plan would have served the query best; the first one on ties.

    Args:
        shares: Shape (C, S): which strategy answers a class, rows sum to 1.
        scores: Shape (n, S), in 0..1. A query for which any strategy of the plan was not measured
            has the class `UNKNOWN`.
        costs: Shape (n, S), dollars, nan where unknown; None where only scores count.
        usd_per_point: Dollars that a score of 1 instead of 0 is worth, at least 0.
    """
    used: NDArray[np.bool_] = np.any(shares > 0, axis=0)
    worth = scores if costs is None else usd_per_point * scores - costs
    known: NDArray[np.bool_] = np.all(np.isfinite(worth[:, used]), axis=1)
    loss = -np.where(known[:, None], worth[:, used], 0.0) @ shares[:, used].T
    return np.where(known, _smallest(loss), UNKNOWN)


def _smallest(loss: Floats) -> Indices:
    return np.asarray(np.round(loss, 12).argmin(axis=1))


def class_chances(
    predicted: Floats, sorted_as: Indices, truth: Indices, fold_of: Indices, classes: int
) -> Floats:
    """Shape (n, C), rows sum to 1: the chance of each true class, by the other folds.

    A linear probability model: ridge regression of "is this class" on the predicted scores and
    the predicted class. It need not be right for sets to keep their promise.

    Args:
        predicted: Shape (n, S), out of fold, no nan.
        sorted_as: Shape (n,): the class that each query was sorted into, out of fold.
        truth: Shape (n,): true class or `UNKNOWN`.
        fold_of: Shape (n,).
        classes: C.
    """
    rows = np.hstack([predicted, np.eye(classes)[sorted_as]])
    found = np.empty((len(rows), classes))
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        train = ~inside & (truth != UNKNOWN)
        if not train.any():
            found[inside] = 1 / classes
            continue
        target = np.eye(classes)[truth[train]]
        middle, level = rows[train].mean(axis=0), target.mean(axis=0)
        apart = rows[train] - middle
        gram = apart.T @ apart + _PENALTY * np.eye(rows.shape[1])
        weights = solve(gram, apart.T @ (target - level), assume_a="pos")
        found[inside] = (rows[inside] - middle) @ weights + level
    found = found.clip(_SMALLEST_CHANCE, None)
    return np.asarray((found / found.sum(axis=1, keepdims=True)).round(_DECIMALS))


def conformal_quantile(values: Floats, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n values; infinite where n is too small.

    A further exchangeable value exceeds it with probability alpha at most.
    """
    rank = math.ceil((len(values) + 1) * (1 - alpha) - 1e-9)
    if rank > len(values):
        return math.inf
    return float(np.sort(values)[max(rank, 1) - 1])


def prediction_sets(
    chances: Floats, truth: Indices, fold_of: Indices, alpha: float = 0.1
) -> PredictionSets:
    """Sets with an error rate of at most alpha.

    Args:
        chances: Shape (n, C), out of fold.
        truth: Shape (n,): true class or `UNKNOWN`.
        fold_of: Shape (n,): the folds of the chances.
        alpha: Between 0 and 1.
    """
    known = truth != UNKNOWN
    missed = 1 - chances[np.arange(len(truth)), np.where(known, truth, 0)]
    members = np.zeros(chances.shape, dtype=np.bool_)
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        limit = conformal_quantile(missed[known & ~inside], alpha)
        members[inside] = 1 - chances[inside] <= limit
    members[np.arange(len(truth)), chances.argmax(axis=1)] = True
    held = members[np.arange(len(truth)), np.where(known, truth, 0)]
    sizes = members.sum(axis=1)
    return PredictionSets(
        alpha=alpha,
        smallest_chance=max(0.0, 1 - conformal_quantile(missed[known], alpha)),
        members=members,
        overall=_coverage(held[known]),
        by_class=tuple(_coverage(held[truth == c]) for c in range(chances.shape[1])),
        mean_size=float(sizes.mean()) if len(sizes) else 0.0,
        single=float((sizes == 1).mean()) if len(sizes) else 0.0,
    )


def _coverage(held: NDArray[np.bool_]) -> Coverage:
    covered = float(held.mean()) if len(held) else 0.0
    return Coverage(len(held), covered, *wilson(covered, len(held)))
