"""Ridge regression on sparse features, primal or dual, whichever system is smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True, slots=True)
class Linear:
    """scores[n, s] = features[n, p] @ weights[p, s] + bias[s]."""

    weights: Floats
    bias: Floats

    def predict(self, features: csr_array) -> Floats:
        """Scores of every row."""
        return np.asarray(features @ self.weights) + self.bias


def solve(features: csr_array, targets: Floats, strengths: Sequence[float]) -> list[Linear]:
    """One model per strength of the penalty on the weights; the bias is free.

    Args:
        features: [n, p].
        targets: [n, s], no nan.
        strengths: Above 0.
    """
    centre = np.asarray(features.mean(axis=0)).ravel()
    level = targets.mean(axis=0)
    dual = features.shape[0] <= features.shape[1]
    gram = (features @ features.T if dual else features.T @ features).toarray()
    if dual:
        to_centre = features @ centre
        gram += centre @ centre - to_centre[:, None] - to_centre[None, :]
        right = targets - level
    else:
        gram -= features.shape[0] * np.outer(centre, centre)
        right = np.asarray(features.T @ (targets - level))
    models = []
    for strength in strengths:
        system = gram.copy()
        system[np.diag_indices_from(system)] += strength
        weights = cho_solve(cho_factor(system, overwrite_a=True), right)
        if dual:
            weights = np.asarray(features.T @ weights) - np.outer(centre, weights.sum(axis=0))
        models.append(Linear(weights, level - centre @ weights))
    return models


def out_of_fold(
    features: csr_array, targets: Floats, folds: NDArray[np.intp]
) -> tuple[float, Floats, Linear]:
    """The best strength, every row's prediction by a model that never saw its fold, a final model.

    Args:
        features: [n, p].
        targets: [n, s]; nan where a row has no score, which then is not learned from.
        folds: [n], the fold of every row, from 0.
    """
    every = range(int(folds.max()) + 1)
    # with more rows than features one fold tells the strengths apart, and solving is dear
    judged = every if features.shape[0] <= features.shape[1] else every[:1]
    trials = _guesses(features, targets, folds, judged, STRENGTHS)
    errors = [float(np.nansum((guess - targets) ** 2)) for guess in trials]
    best = STRENGTHS[int(np.argmin(np.round(errors, 6)))]  # the last bits depend on the machine
    (guess,) = _guesses(features, targets, folds, every, (best,))
    weights = np.empty((features.shape[1], targets.shape[1]))
    bias = np.empty(targets.shape[1])
    for columns, known in _same_rows(targets):
        rows = np.flatnonzero(known)
        (model,) = solve(features[rows], targets[np.ix_(rows, columns)], (best,))
        weights[:, columns], bias[columns] = model.weights, model.bias
    return best, guess, Linear(weights, bias)


def _guesses(
    features: csr_array,
    targets: Floats,
    folds: NDArray[np.intp],
    judged: Sequence[int],
    strengths: Sequence[float],
) -> Floats:
    """float64[strengths, n, s]: out-of-fold predictions, nan in folds that are not judged."""
    guesses = np.full((len(strengths), *targets.shape), np.nan)
    for columns, known in _same_rows(targets):
        for fold in judged:
            train = np.flatnonzero(known & (folds != fold))
            test = np.flatnonzero(folds == fold)
            models = solve(features[train], targets[np.ix_(train, columns)], strengths)
            for guess, model in zip(guesses, models, strict=True):
                guess[np.ix_(test, columns)] = model.predict(features[test])
    return guesses


def _same_rows(targets: Floats) -> list[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
    """Columns that are known on the same rows share one system of equations."""
    groups: dict[bytes, list[int]] = {}
    known = np.isfinite(targets)
    for column in range(targets.shape[1]):
        groups.setdefault(known[:, column].tobytes(), []).append(column)
    return [(np.array(columns), known[:, columns[0]]) for columns in groups.values()]
