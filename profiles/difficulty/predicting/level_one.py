"""Level one of a stacked predictor: many ridge regressions, each without some of the folds.

Components of a prediction are the targets regressed at each of `STRENGTHS`, then, where there are
labels, the mean targets of the labels weighed by what the text says of the label.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from profiles.difficulty.predicting.ridge import many

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Of the penalty, in units of a row's mean squared length.
STRENGTHS = (1.0, 4.0, 16.0)
LABEL_STRENGTH = 1.5
#: A label's mean is drawn towards the mean of all as if it had so many queries more.
_PRIOR_QUERIES = 5.0
#: Keeps shares defined where no label is likely.
LEAST_SQUARE = 1e-6
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Fitted:
    """Level one on some rows.

    Attributes:
        means: float64[T], of the targets.
        weights: float64[C, p, T]: a component is `features @ weights + means`.
        label_weights: float64[p, L], L is 0 without labels.
        label_means: float64[L].
        table: float64[L, T], the mean targets of each label.
    """

    means: Floats
    weights: Floats
    label_weights: Floats
    label_means: Floats
    table: Floats

    def components(self, rows: csr_array) -> Floats:
        """float64[n, C or C + 1, T]."""
        direct = [np.asarray(rows @ weights) + self.means for weights in self.weights]
        if len(self.label_means):
            guesses = np.asarray(rows @ self.label_weights) + self.label_means
            direct.append(label_shares(guesses) @ self.table)
        return np.stack(direct, axis=1)


@dataclass(frozen=True, slots=True)
class LevelOne:
    """Components of every query's prediction, and the models that are served.

    Attributes:
        outer: float64[n, C, T], by models that did not see the query's fold.
        inner: float64[F, n, C, T]: by models that saw neither the query's fold nor fold f; nan for
            queries of fold f itself.
        final: On all rows.
    """

    outer: Floats
    inner: Floats
    final: Fitted


def level_one(
    features: csr_array, targets: Floats, fold_of: Indices, labels: Indices | None
) -> LevelOne:
    """Fit without each fold, without each pair of folds, and on everything.

    Args:
        features: [n, p], with a constant column.
        targets: [n, T]; nan where unmeasured, which then is not learned from.
        fold_of: [n], from 0.
        labels: [n], from 0, or None.
    """
    indicators = np.zeros((len(targets), 0))
    if labels is not None:
        indicators = np.eye(int(labels.max()) + 1)[labels]
    folds = range(int(fold_of.max()) + 1)
    features = csr_array(features.astype(np.float32))
    count = len(STRENGTHS) + (labels is not None)
    outer = np.full((len(targets), count, targets.shape[1]), np.nan)
    inner = np.full((len(folds), *outer.shape), np.nan)

    def without(left_out: tuple[int, ...]) -> Fitted:
        return _fit(features, targets, indicators, ~np.isin(fold_of, left_out))

    with ThreadPoolExecutor(_THREADS) as threads:
        singles = [(fold,) for fold in folds]
        for (fold,), fitted in zip(singles, threads.map(without, singles), strict=True):
            rows = np.flatnonzero(fold_of == fold)
            outer[rows] = fitted.components(features[rows])
        pairs = list(combinations(folds, 2))
        for pair, fitted in zip(pairs, threads.map(without, pairs), strict=True):
            for fold, other in (pair, pair[::-1]):
                rows = np.flatnonzero(fold_of == other)
                inner[fold, rows] = fitted.components(features[rows])
    return LevelOne(outer, inner, without(()))


def label_shares(guesses: Floats) -> Floats:
    """float64[n, L] of sum 1 from guessed indicators."""
    squares = guesses.clip(0) ** 2 + LEAST_SQUARE
    return np.asarray(squares / squares.sum(axis=1, keepdims=True))


def _fit(
    features: csr_array, targets: Floats, indicators: Floats, seen: NDArray[np.bool_]
) -> Fitted:
    rows = np.flatnonzero(seen)
    part, targets, indicators = csr_array(features[rows]), targets[rows], indicators[rows]
    known = np.isfinite(targets)
    measured = np.where(known, targets, 0.0)
    means = measured.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    label_means = indicators.mean(axis=0)
    unit = float(part.multiply(part).sum()) / len(rows)
    width, copies = targets.shape[1], len(STRENGTHS)
    strengths = [*np.repeat(STRENGTHS, width), *[LABEL_STRENGTH] * len(label_means)]
    weights = many(
        part,
        np.hstack([np.tile(measured - means, copies), indicators - label_means]),
        np.hstack([np.tile(known, copies), np.ones(indicators.shape, dtype=bool)]),
        np.array(strengths) * unit,
    )
    direct = weights[:, : width * copies].reshape(-1, copies, width).transpose(1, 0, 2)
    sums = indicators.T @ measured + _PRIOR_QUERIES * means
    table = sums / (indicators.T @ known + _PRIOR_QUERIES)
    return Fitted(means, direct, weights[:, width * copies :], label_means, table)
