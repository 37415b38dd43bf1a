"""Shrinkage by sparse normal equations against dense least squares under a full covariance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq

from profiles.cells.shrinkage import SHARED_NOISE, left_unknown, score_variances, shrink

Array = NDArray[np.float64]


def _dense(
    means: Array, variances: Array, classes: Array, strategies: Array
) -> tuple[Array, Array]:
    """The same by the covariance of the means, redundant columns and all.

    Least squares under the covariance ``diag(v + tau2) + sigma2 T T'``, with T a column of ones and
    zeros per strategy, and Goldberger's best linear prediction (JASA 57 (1962)) of their effects.
    """
    alone = classes.shape[1] == 1
    design = classes if alone else np.hstack([classes, strategies])
    freedom = len(means) - int(np.linalg.matrix_rank(design))
    if freedom < 3:
        return means, np.sqrt(variances)

    def loss(fixed: Array, tau2: float, sigma2: float) -> float:
        covariance = np.diag(variances + tau2) + sigma2 * strategies @ strategies.T
        inverse = np.linalg.inv(covariance)
        left = means - fixed @ np.linalg.pinv(fixed.T @ inverse @ fixed) @ fixed.T @ inverse @ means
        return float(left @ inverse @ left)

    def root(excess: Callable[[float], float], least: float) -> float:
        if excess(least) <= 0:
            return 0.0
        return 1.0 if excess(1.0) > 0 else float(brentq(excess, least, 1.0, xtol=1e-9))

    def likelier(tau2: float) -> float:
        """Slope of the restricted likelihood: ``m P P m - tr P``, P the projection off the fit."""
        inverse = np.diag(1 / (variances + tau2))
        off = inverse - inverse @ design @ np.linalg.pinv(design.T @ inverse @ design) @ (
            design.T @ inverse
        )
        return float(means @ off @ off @ means - np.trace(off))

    tau2 = root(likelier, 0.0)
    of_strategies = int(np.linalg.matrix_rank(design)) - classes.shape[1]
    fixed, sigma2 = design, 0.0
    if of_strategies >= 3:
        least = loss(design, tau2, 0.0) + of_strategies - 2
        fixed, sigma2 = classes, root(lambda s: loss(classes, tau2, s) - least, 1e-9)
    noise = np.diag(variances + tau2)
    between = sigma2 * strategies @ strategies.T
    inverse = np.linalg.inv(noise + between)
    onto = fixed @ np.linalg.pinv(fixed.T @ inverse @ fixed) @ fixed.T @ inverse
    predict = onto + between @ inverse @ (np.eye(len(means)) - onto)
    off = predict - np.eye(len(means))
    fitted_variance = np.diag(off @ between @ off.T + predict @ noise @ predict.T)
    pull = (freedom - 2) / freedom * variances / (variances + tau2)
    kept = 1 - pull + SHARED_NOISE * (1 - (1 - pull) ** 2)
    left = kept * variances + pull**2 * fitted_variance
    return np.clip(pull * (predict @ means) + (1 - pull) * means, 0, 1), np.sqrt(left)


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
    ones = [np.equal.outer(of, np.unique(of)).astype(np.float64) for of in (class_of, strategy_of)]
    ours, theirs = shrink(means, variances, class_of, strategy_of), _dense(means, variances, *ones)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-6)
    assert ours[1] == pytest.approx(theirs[1], abs=1e-6)


def test_strategies_that_differ_by_their_noise_alone_count_as_equal() -> None:
    class_of, strategy_of = (i.ravel() for i in np.indices((5, 20)))
    rng = np.random.default_rng(3)
    means = 0.7 + rng.normal(0, 0.04, 100)
    shrunken, _ = shrink(means, np.full(100, 0.04**2), class_of, strategy_of)
    luckiest = np.bincount(strategy_of, means).max() / 5
    assert luckiest > 0.72
    assert np.bincount(strategy_of, shrunken).max() / 5 < 0.705


def test_strategies_far_apart_stay_where_they_were_measured() -> None:
    class_of, strategy_of = (i.ravel() for i in np.indices((5, 20)))
    means = np.linspace(0.3, 0.9, 20)[strategy_of] + np.random.default_rng(3).normal(0, 0.02, 100)
    shrunken, _ = shrink(means, np.full(100, 0.02**2), class_of, strategy_of)
    moved = np.bincount(strategy_of, shrunken - means) / 5
    assert np.abs(moved).max() < 0.002


@given(seed=st.integers(0, 100_000), variance=st.sampled_from([1e-4, 1e-3, 1e-2]))
def test_cells_of_one_variance_are_pulled_as_the_classical_residuals_say(
    seed: int, variance: float
) -> None:
    """``B = (df - 2) v / max(residual squares, df v)`` towards the fit of a balanced table."""
    class_of, strategy_of = (i.ravel() for i in np.indices((8, 3)))
    rng = np.random.default_rng(seed)
    table = rng.uniform(0.4, 0.6, (8, 3)) + rng.uniform(-0.1, 0.1, 3)
    fit = table.mean(axis=1, keepdims=True) + table.mean(axis=0) - table.mean()
    freedom = 7 * 2
    pull = (freedom - 2) * variance / max(float(np.sum((table - fit) ** 2)), freedom * variance)
    shrunken, _ = shrink(table.ravel(), np.full(24, variance), class_of, strategy_of)
    assert shrunken == pytest.approx((pull * fit + (1 - pull) * table).ravel(), abs=1e-6)


def _unbalanced(seed: int) -> tuple[Array, Array, NDArray[np.intp], NDArray[np.intp]]:
    """Means and variances of 4 x 10 cells, some of them measured 200 times as often."""
    rng = np.random.default_rng(seed)
    class_of, strategy_of = (i.ravel() for i in np.indices((4, 10)))
    variances = 0.2 / rng.choice([10, 100, 2000], 40, p=[0.7, 0.1, 0.2])
    means = rng.uniform(0.4, 0.6, 10)[strategy_of] + rng.normal(0, np.sqrt(variances + 0.03**2))
    return np.clip(means, 0.05, 0.95), variances, class_of, strategy_of


@given(seed=st.integers(0, 100_000))
def test_the_order_of_cells_and_the_names_of_strategies_do_not_matter(seed: int) -> None:
    means, variances, class_of, strategy_of = _unbalanced(seed)
    rng = np.random.default_rng(seed)
    order, renamed = rng.permutation(40), rng.permutation(10)[strategy_of]
    plain = shrink(means, variances, class_of, strategy_of)
    mixed = shrink(means[order], variances[order], class_of[order], renamed[order])
    for ours, theirs in zip(plain, mixed, strict=True):
        assert theirs == pytest.approx(ours[order], abs=1e-6)


@given(seed=st.integers(0, 100_000), scale=st.floats(0.3, 1.0))
def test_scores_on_half_the_scale_are_shrunk_half_as_far(seed: int, scale: float) -> None:
    means, variances, class_of, strategy_of = _unbalanced(seed)
    plain = shrink(means, variances, class_of, strategy_of)
    scaled = shrink(scale * means, scale**2 * variances, class_of, strategy_of)
    for ours, theirs in zip(plain, scaled, strict=True):
        assert theirs == pytest.approx(scale * ours, abs=2e-5)


def test_well_measured_cells_keep_what_they_showed_among_many_cells_of_ten_queries() -> None:
    """5 x 20 accurate cells, two strategies measured 2,000 times a class, all others ten times.

    The many cells of ten queries seem more even than chance: were tau2 left to them, the intervals
    of the well measured cells would hold the truth in 84 % of cases.
    """
    class_of, strategy_of = (i.ravel() for i in np.indices((5, 20)))
    queries = np.where(strategy_of < 2, 2000.0, 10.0)
    held = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        skill, hardness = rng.normal(0.93, 0.01, 20), np.linspace(0, -0.05, 5)
        truth = skill[strategy_of] + hardness[class_of] + rng.normal(0, 0.02, 100)
        truth = np.clip(truth, 0.02, 0.995)
        means = rng.binomial(queries.astype(int), truth) / queries
        sds = np.sqrt(means * (1 - means) * queries / (queries - 1))
        variances = score_variances(means, sds, queries, strategy_of) / queries
        shrunken, sd = shrink(means, variances, class_of, strategy_of)
        held.append(np.mean((np.abs(shrunken - truth) <= 1.96 * sd)[strategy_of < 2]))
    standard_error = float(np.std(held)) / np.sqrt(len(held))
    assert standard_error < 0.015
    assert np.mean(held) > 0.95 - 3 * standard_error


@given(st.floats(0, 1))
def test_a_pull_never_leaves_more_doubt_than_no_pull(pull: float) -> None:
    assert SHARED_NOISE <= left_unknown(np.array(pull)) <= 1


def test_evenly_graded_scores_leave_less_doubt_the_more_of_them_were_seen() -> None:
    ratios = [
        float(
            score_variances(
                np.array([0.5]), np.array([0.05]), np.array([float(queries)]), np.array([0])
            )[0]
            / 0.25
        )
        for queries in (5, 50, 5000)
    ]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > 0.5
    assert ratios[2] == pytest.approx(0.01, rel=0.3)
