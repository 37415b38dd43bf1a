"""Shrinkage, bounds and cuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import beta, binom, norm
from worlds import Array, make_profile, make_spec, random_profile, shares

from planner.estimating.estimates import tail_of, timed_queries
from planner.planner import Planner
from planner.programme.margin import Margin, aggregate_matrix, lower_bounds, score_variances, shrink


def test_cuts_reach_the_optimum_of_the_true_cone() -> None:
    for seed in range(6):
        profile = random_profile(np.random.default_rng(seed), 2, 3, queries=150)
        planner = Planner(profile, make_spec(limits={"accuracy": {"overall": 0.6}}))
        e, accounts = planner.estimates, planner.accounts
        share, unit = e.traffic_share, float(np.median(e.cost_usd))
        ours = planner.solve()
        start = np.concatenate([[0, 0, 1.0], [0, 0, 1.0]])
        theirs = minimize(
            lambda x, share=share, e=e, unit=unit: share * x @ e.cost_usd / unit,
            start,
            method="SLSQP",
            bounds=[(0, 1)] * 6,
            constraints=[
                {"type": "eq", "fun": lambda x: [x[:3].sum() - 1, x[3:].sum() - 1]},
                {
                    "type": "ineq",
                    "fun": lambda x, share=share, e=e, accounts=accounts: (
                        share * x @ e.accuracy_careful - accounts.accuracy_margin.value(x) - 0.6
                    ),
                },
            ],
            options={"ftol": 1e-12, "maxiter": 500},
        )
        assert theirs.success
        assert ours.expected.cost_usd_per_request == pytest.approx(theirs.fun * unit, rel=1e-5)
        assert ours.promised.accuracy >= 0.6


def test_a_lucky_cell_is_pulled_towards_what_its_class_and_strategy_suggest() -> None:
    accuracy = np.full((3, 5), 0.7)
    accuracy[1, 2] = 0.95
    class_of, strategy_of = (i.ravel() for i in np.indices((3, 5)))
    few, _ = shrink(accuracy.ravel(), np.full(15, 0.02), class_of, strategy_of)
    many, _ = shrink(accuracy.ravel(), np.full(15, 1e-6), class_of, strategy_of)
    assert few.reshape(3, 5)[1, 2] < 0.9
    assert many.reshape(3, 5)[1, 2] == pytest.approx(0.95, abs=1e-3)


def test_two_strategies_are_too_few_to_learn_how_strategies_differ() -> None:
    means, variances = np.array([0.5, 0.9]), np.array([0.01, 0.01])
    shrunken, sds = shrink(means, variances, np.array([0, 0]), np.array([0, 1]))
    assert shrunken.tolist() == means.tolist()
    assert sds == pytest.approx(np.sqrt(variances))


def _promised(accuracy: Array, queries: int, requests: int = 10**9) -> float:
    """What one strategy for everything promises, its means measured exactly so."""
    profile = make_profile(accuracy, np.full_like(accuracy, 1e-5), queries=queries)
    accounts = Planner(profile, make_spec(traffic={"requests": requests})).accounts
    return accounts.promised(np.ones(len(accuracy))).accuracy


def test_sixty_classes_cost_a_promise_no_more_than_half_a_point() -> None:
    promised = {n: _promised(np.full((n, 1), 0.93), 900 // n) for n in (1, 5, 20, 60)}
    assert promised[1] == pytest.approx(0.915, abs=0.002)
    assert list(promised.values()) == sorted(promised.values(), reverse=True)
    assert promised[60] > promised[1] - 0.005


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.integers(2, 300),
    st.integers(1, 300),
    st.sampled_from([50, 10**9]),
)
def test_more_queries_of_the_same_mean_never_lower_the_promise(
    means: list[float], queries: int, more: int, requests: int
) -> None:
    accuracy = np.array(means)[:, None]
    few, many = (_promised(accuracy, n, requests) for n in (queries, queries + more))
    assert many >= few - 1e-9


def test_wilsons_centre_is_that_of_a_class_where_the_mix_leaves_no_other() -> None:
    profile = make_profile([[1.0], [1.0]], [[1e-5]] * 2, queries=50)
    centres = [
        Planner(
            profile, make_spec(traffic={"requests": 10, "mix": {"c0": c0, "c1": 1 - c0}})
        ).estimates.accuracy_careful[0]
        for c0 in (0.5, 1.0)
    ]
    z2 = norm.ppf(0.95) ** 2
    assert centres == pytest.approx([(n + z2 / 2) / (n + z2) for n in (100, 50)])


def test_a_cell_without_a_failure_keeps_doubt() -> None:
    variance = score_variances(np.array([1.0]), np.array([0.0]), np.array([50.0]), np.array([0]))
    assert variance[0] > 0.01


def test_lower_bounds_are_clopper_pearson_for_binary_scores() -> None:
    n, k = 80, 62
    mean = k / n
    sd = np.sqrt(mean * (1 - mean) * n / (n - 1))
    ours = lower_bounds(np.array([mean]), np.array([sd]), np.array([float(n)]), 0.01)
    assert ours[0] == pytest.approx(beta.ppf(0.01, k, n - k + 1), rel=1e-9)
    assert binom.sf(k - 1, n, ours[0]) == pytest.approx(0.01, rel=1e-6)


def test_graded_scores_are_bounded_more_tightly_than_binary_ones() -> None:
    queries = np.array([50.0, 50.0])
    bounds = lower_bounds(np.array([0.8, 0.8]), np.array([0.4, 0.2]), queries, 0.05)
    assert bounds[0] < bounds[1] < 0.8


def test_a_class_mix_that_was_counted_adds_its_own_noise() -> None:
    weights = np.array([0.5, 0.5])
    values, sds, class_of = np.array([1.0, 0.0]), np.zeros(2), np.array([0, 1])
    given = Margin(1.0, aggregate_matrix(values, sds, weights, class_of, None))
    counted = Margin(1.0, aggregate_matrix(values, sds, weights, class_of, 100))
    assert given.value(np.ones(2)) == 0
    assert counted.value(np.ones(2)) == pytest.approx(np.sqrt(0.25 / 100))


def test_judging_on_few_requests_widens_the_promise() -> None:
    profile = random_profile(np.random.default_rng(0), 3, 6)
    mix = dict(zip(profile.classes, profile.weights, strict=True))
    promised = [
        Planner(
            profile,
            make_spec(objective="maximize accuracy", traffic={"requests": requests, "mix": mix}),
        )
        .solve()
        .promised.accuracy
        for requests in (100, 10_000, 10**9)
    ]
    assert promised == sorted(promised)
    assert promised[0] < promised[2] - 0.01


@given(st.integers(1, 500), st.one_of(st.just(0.0), st.floats(0.01, 4)))
def test_careful_tails_never_fall_below_what_was_measured_nor_rise_with_fewer_slow(
    timed: int, z: float
) -> None:
    slow = np.arange(timed // 2 + 1, dtype=float)
    share, sds = tail_of(slow, np.full(len(slow), float(timed)), z)
    assert (share >= slow / timed - 1e-12).all()
    assert (np.diff(share + z * sds) > 0).all()


def test_no_slow_request_promises_a_tail_no_sooner_than_the_exact_bound() -> None:
    for z in (1.645, 2.807):
        timed = np.arange(1.0, 2000.0)
        share, sds = tail_of(np.zeros_like(timed), timed, z)
        first = timed[np.argmax(share + z * sds <= 0.05)]
        exact = np.log(norm.sf(z)) / np.log(0.95)
        assert exact <= first < exact + 1


def test_samples_of_one_query_are_no_more_evidence_about_its_tail() -> None:
    profile = make_profile([[0.9]], [[1e-4]], queries=20, slow=[[[0.1]]], grid_s=(1.0,))
    cell = profile.cell("c0", "m00/single")
    sampled = replace(cell, exceeded=(8,), latency_observations=80, latency_queries=20)
    once, four_times = (timed_queries([one], 1) for one in (cell, sampled))
    assert once == four_times == (np.array([[2.0]]), np.array([20.0]))


def test_a_spend_limit_holds_with_its_margin() -> None:
    profile = random_profile(np.random.default_rng(1), 4, 10, queries=100)
    spec = make_spec(objective="maximize accuracy", limits={"spend": {"usd_per_request": 3e-4}})
    rung = Planner(profile, spec).solve()
    assert rung.expected.cost_usd_per_request is not None
    assert rung.promised.cost_usd_per_request is not None
    assert rung.expected.cost_usd_per_request < rung.promised.cost_usd_per_request <= 3e-4


def test_traffic_leaves_the_best_single_strategy_only_on_evidence() -> None:
    slightly = make_profile(
        [[0.90, 0.905, 0.95], [0.80, 0.70, 0.85], [0.60, 0.40, 0.75]],
        [[5e-4, 3e-5, 1.5e-2]] * 3,
        queries=300,
    )
    clearly = make_profile(
        [[0.50, 0.905, 0.95], [0.80, 0.70, 0.85], [0.60, 0.40, 0.75]],
        [[5e-4, 3e-5, 1.5e-2]] * 3,
        queries=300,
    )
    spec = make_spec(objective="maximize accuracy", limits={"spend": {"usd_per_request": 6.6e-4}})
    naive = spec.model_copy(update={"confidence": "none"})
    assert shares(slightly, Planner(slightly, naive).solve().allocation)[0, 1] > 0.9
    assert shares(slightly, Planner(slightly, spec).solve().allocation)[0, 1] < 0.02
    assert shares(clearly, Planner(clearly, spec).solve().allocation)[0, 1] > 0.9
