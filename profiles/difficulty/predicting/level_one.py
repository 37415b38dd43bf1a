"""Level one of a stacked predictor: many ridge regressions, each without some of the folds.

Components of a prediction are the targets regressed on the text's features at each of `STRENGTHS`;
where an encoder gives vectors, the targets regressed on those in the same way; and, where there are
labels, the mean targets of the labels weighed by what features and vectors together say of the
label. Regressed on both at once, targets would be predicted worse by a vector that tells nothing
new: 300 small numbers in every row are more to fit noise with than a few words are.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.predicting.features import Features
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
        weights: float64[C, p + D, T]: a component is `features @ weights + means`.
        label_weights: float64[p + D, L], L is 0 without labels.
        label_means: float64[L].
        table: float64[L, T], the mean targets of each label.
    """

    means: Floats
    weights: Floats
    label_weights: Floats
    label_means: Floats
    table: Floats

    def components(self, rows: Features) -> Floats:
        """float64[n, C or C + 1, T]: of labels last."""
        direct = [rows.times(weights) + self.means for weights in self.weights]
        if len(self.label_means):
            guesses = rows.times(self.label_weights) + self.label_means
            direct.append(label_shares(guesses) @ self.table)
        return np.stack(direct, axis=1)


@dataclass(frozen=True, slots=True)
class LevelOne:
    """Components of every query's prediction, and the models that are served.

    Attributes:
        outer: float64[n, C or C + 1, T], by models that did not see the query's fold.
        inner: float64[F, n, ..., T]: by models that saw neither the query's fold nor fold f; nan
            for queries of fold f itself.
        final: On all rows.
    """

    outer: Floats
    inner: Floats
    final: Fitted


def level_one(
    features: Features, targets: Floats, fold_of: Indices, labels: Indices | None
) -> LevelOne:
    """Fit without each fold, without each pair of folds, and on everything.

    Args:
        features: [n, p + D].
        targets: [n, T]; nan where unmeasured, which then is not learned from.
        fold_of: [n], from 0.
        labels: [n], from 0, or None.
    """
    indicators = np.zeros((len(targets), 0))
    if labels is not None:
        indicators = np.eye(int(labels.max()) + 1)[labels]
    folds = range(int(fold_of.max()) + 1)
    count = len(STRENGTHS) * len(list(features.blocks())) + (labels is not None)
    outer = np.full((len(targets), count, targets.shape[1]), np.nan)
    inner = np.full((len(folds), *outer.shape), np.nan)

    def without(left_out: tuple[int, ...]) -> Fitted:
        return _fit(features, targets, indicators, ~np.isin(fold_of, left_out))

    with ThreadPoolExecutor(_THREADS) as threads:
        singles = [(fold,) for fold in folds]
        for (fold,), fitted in zip(singles, threads.map(without, singles), strict=True):
            rows = np.flatnonzero(fold_of == fold)
            outer[rows] = fitted.components(features.part(rows))
        pairs = list(combinations(folds, 2))
        for pair, fitted in zip(pairs, threads.map(without, pairs), strict=True):
            for fold, other in (pair, pair[::-1]):
                rows = np.flatnonzero(fold_of == other)
                inner[fold, rows] = fitted.components(features.part(rows))
    return LevelOne(outer, inner, without(()))


def label_shares(guesses: Floats) -> Floats:
    """float64[n, L] of sum 1 from guessed indicators."""
    squares = guesses.clip(0) ** 2 + LEAST_SQUARE
    return np.asarray(squares / squares.sum(axis=1, keepdims=True))


def _fit(
    features: Features, targets: Floats, indicators: Floats, seen: NDArray[np.bool_]
) -> Fitted:
    rows = np.flatnonzero(seen)
    part, targets, indicators = features.part(rows), targets[rows], indicators[rows]
    known = np.isfinite(targets)
    measured = np.where(known, targets, 0.0)
    means = measured.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    label_means = indicators.mean(axis=0)
    direct = [
        _direct(block, columns, measured - means, known, part.width)
        for block, columns in part.blocks()
    ]
    label_weights = many(
        part,
        indicators - label_means,
        np.ones(indicators.shape, dtype=bool),
        np.full(len(label_means), LABEL_STRENGTH) * part.mean_square(),
    )
    sums = indicators.T @ measured + _PRIOR_QUERIES * means
    table = sums / (indicators.T @ known + _PRIOR_QUERIES)
    return Fitted(means, np.concatenate(direct), label_weights, label_means, table)


def _direct(
    block: Features, columns: slice, targets: Floats, known: NDArray[np.bool_], width: int
) -> Floats:
    """float64[strengths, width, T]: targets regressed on one block, 0 in other columns."""
    count, copies = targets.shape[1], len(STRENGTHS)
    strengths = np.repeat(STRENGTHS, count) * block.mean_square()
    weights = many(block, np.tile(targets, copies), np.tile(known, copies), strengths)
    found = np.zeros((copies, width, count))
    found[:, columns] = weights.reshape(-1, copies, count).transpose(1, 0, 2)
    return found
