"""Any number of ridge regressions on parts of the same rows at once.

By conjugate gradients (Hestenes and Stiefel 1952) on the dual systems: nothing but the features and
a few numbers per row and regression is held.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.predicting.features import Features

Floats = NDArray[np.float64]
_TOLERANCE = 0.01
_MOST_STEPS = 100


def many(features: Features, targets: Floats, rows: NDArray[np.bool_], strengths: Floats) -> Floats:
    """float64[p, k]: weights w that minimise |targets - features w|^2 + strength |w|^2, by column.

    Args:
        features: [n, p]; there is no free bias, so a constant feature stands for it.
        targets: [n, k].
        rows: [n, k], what each column is fitted on; targets elsewhere are not looked at.
        strengths: [k], above 0.
    """
    precision = features.sparse.dtype
    residual = np.where(rows, targets, 0).astype(precision)
    strengths = strengths.astype(precision)
    solution, direction = np.zeros_like(residual), residual.copy()
    square = (residual**2).sum(axis=0)
    enough = _TOLERANCE**2 * square
    for _ in range(_MOST_STEPS):
        unsolved = square > enough  # a column that is done stays as it is, whatever the others do
        if not unsolved.any():
            break
        image = features.times(features.transposed_times(direction))
        image = np.where(rows, image, 0) + strengths * direction
        curvature = (direction * image).sum(axis=0)
        step = np.divide(square, curvature, out=np.zeros_like(square), where=unsolved)
        solution += step * direction
        residual -= step * image
        before, square = square, (residual**2).sum(axis=0)
        ratio = np.divide(square, before, out=np.zeros_like(square), where=unsolved)
        direction = residual + ratio * direction
    return np.asarray(features.transposed_times(solution), dtype=np.float64)
