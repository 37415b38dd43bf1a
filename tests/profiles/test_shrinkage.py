"""Shrinkage by sparse normal equations against dense least squares by singular values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq

from profiles.cells.shrinkage import SHARED_NOISE, shrink

Array = NDArray[np.float64]


def _dense(means: Array, variances: Array, design: Array) -> tuple[Array, Array]:
    """The same by pseudo-inverses of the weighted design, redundant columns and all."""

    def fit(tau2: float) -> tuple[Array, Array]:
        root = 1 / np.sqrt(variances + tau2)
        inverse = np.linalg.pinv(design * root[:, None], rcond=1e-12)
        return design @ (inverse @ (root * means)), ((design @ inverse) ** 2).sum(axis=1)

    def excess(tau2: float) -> float:
        return float(np.sum((means - fit(tau2)[0]) ** 2 / (variances + tau2))) - freedom

    freedom = len(means) - int(np.linalg.matrix_rank(design))
    if freedom < 3:
        return means, np.sqrt(variances)
    tau2 = 0.0 if excess(0.0) <= 0 else 1.0 if excess(1.0) > 0 else brentq(excess, 0, 1, xtol=1e-9)
    fitted, fitted_variance = fit(tau2)
    pull = (freedom - 2) / freedom * variances / (variances + tau2)
    left = (SHARED_NOISE + 1 - pull) * variances + pull**2 * fitted_variance
    return np.clip(pull * fitted + (1 - pull) * means, 0, 1), np.sqrt(left)


@given(
    seed=st.integers(0, 100_000),
    classes=st.integers(1, 6),
    strategies=st.integers(1, 8),
    measured=st.sampled_from([0.2, 0.5, 1.0]),
    queries=st.sampled_from([5, 50, 5000]),
)
def test_sparse_and_dense_least_squares_agree_also_where_cells_fall_into_parts(
    seed: int, classes: int, strategies: int, measured: float, queries: int
) -> None:
    rng = np.random.default_rng(seed)
    known = rng.random((classes, strategies)) < measured
    known.flat[rng.integers(known.size)] = True
    class_of, strategy_of = np.nonzero(known)
    levels = rng.uniform(0.3, 0.9, strategies)[strategy_of] + rng.normal(0, 0.1, classes)[class_of]
    noise = rng.normal(0, rng.choice([0.0, 0.05, 0.2]), len(levels))
    means = np.clip(levels + noise, 0.02, 0.98)
    variances = means * (1 - means) / queries
    common = len(np.unique(class_of)) == 1
    design = (
        np.ones((len(means), 1))
        if common
        else np.hstack(
            [np.equal.outer(of, np.unique(of)) for of in (class_of, strategy_of)]
        ).astype(np.float64)
    )
    ours, theirs = shrink(means, variances, class_of, strategy_of), _dense(means, variances, design)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-10)
    assert ours[1] == pytest.approx(theirs[1], abs=1e-10)
