"""Level two of a stacked predictor: components of level one added up with weights of 0 or more.

Stacked regressions (Breiman 1996): one set of weights for every group of targets, by least squares
on predictions of level one for queries that it had not seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from profiles.difficulty.predicting.level_one import LevelOne
from profiles.difficulty.reading.recipes import rounded

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Labels that weigh less are left out: what they add is noise.
_LEAST_LABEL_SHARE = 0.05


def stack(
    level: LevelOne, targets: Floats, fold_of: Indices, groups: Indices
) -> tuple[Floats, Floats, Floats]:
    """Out-of-fold predictions float64[n, T] and the final weights float64[groups, components].

    Between them nested predictions, float64[F, n, T]: nothing in them has seen fold f, and their
    level one has not seen the query's fold either.

    What a model learned is added to the mean of all queries. Added to the mean of its own, the
    other folds', it would move against the luck of the fold that it is for, and classes of
    predictions that know nothing would be folds.
    """
    found = np.empty_like(targets)
    nested = np.full((len(level.inner), *targets.shape), np.nan)
    middle = _column_means(targets)
    direct = len(level.final.weights)
    for fold, inner in enumerate(level.inner):
        train, test = fold_of != fold, fold_of == fold
        means = _column_means(targets[train])
        shares = _shares(inner[train], targets[train], means, groups, direct)
        learned = np.einsum("nct,tc->nt", level.outer[test] - means, shares[groups])
        found[test] = middle + learned
        nested[fold, train] = means + np.einsum("nct,tc->nt", inner[train] - means, shares[groups])
    return found, nested, _shares(level.outer, targets, middle, groups, direct)


def _column_means(targets: Floats) -> Floats:
    return np.asarray(np.nanmean(targets, axis=0))


def _shares(
    components: Floats, targets: Floats, means: Floats, groups: Indices, direct: int
) -> Floats:
    """float64[groups, components]: non-negative least squares around the means.

    The first `direct` components do without labels.
    """
    found = np.zeros((int(groups.max()) + 1, components.shape[1]))
    for group, shares in enumerate(found):
        columns = groups == group
        truth = (targets - means)[:, columns]
        known = np.isfinite(truth)
        parts = (components - means)[:, :, columns].transpose(0, 2, 1)[known]
        shares[:] = _least_squares(parts, truth[known])
        if shares[direct:].sum() < _LEAST_LABEL_SHARE:
            shares[:] = 0
            shares[:direct] = _least_squares(parts[:, :direct], truth[known])
    return rounded(found)


def _least_squares(parts: Floats, truth: Floats) -> Floats:
    """float64[components], none negative, by the small normal equations."""
    square = parts.T @ parts
    square[np.diag_indices_from(square)] += 1e-9
    factor = np.linalg.cholesky(square)
    return np.asarray(nnls(factor.T, np.linalg.solve(factor, parts.T @ truth))[0])
