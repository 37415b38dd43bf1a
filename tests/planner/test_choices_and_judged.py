"""How many strategies compete, and how much the judged scores can vary, against brute force."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import beta
from worlds import Array, make_profile, make_spec, random_profile

from planner.estimating.choices import NEAR, choices_by_class, choices_of
from planner.estimating.estimates import Estimates, estimate, floor_alphas
from planner.estimating.judged import JudgedSpread
from planner.planner import Planner
from planner.programme.margin import z_of_chosen
from profiles.profile import Profile


def _estimates(profile: Profile, **keys: Any) -> Estimates:
    return estimate(profile, make_spec(**keys))


def _line(spacing: float, queries: int, strategies: int = 10) -> Estimates:
    """Strategies that are all worth their price: accuracy is linear in cost."""
    accuracy = 0.5 + spacing * np.arange(strategies)
    cost = np.tile(1e-4 * (accuracy - 0.4), (4, 1))
    return _estimates(make_profile(np.tile(accuracy, (4, 1)), cost, queries=queries))


def test_strategies_on_one_line_of_cost_and_accuracy_all_compete() -> None:
    assert choices_of(_line(0.03, 100)) == 9
    assert choices_of(_line(0.03, 10_000)) == 9


def test_equal_strategies_compete_at_any_cost_and_clearly_worse_ones_do_not() -> None:
    cost = np.tile(1e-5 * np.arange(1, 13), (3, 1))
    equal = make_profile(np.full((3, 12), 0.8), cost, queries=200)
    assert choices_of(_estimates(equal)) == 11
    falling = make_profile(np.tile(0.9 - 0.06 * np.arange(12), (3, 1)), cost, queries=2000)
    assert choices_of(_estimates(falling)) == 1


def test_two_strategies_leave_no_choice() -> None:
    accuracy, cost = [[0.6, 0.9], [0.5, 0.8]], [[1e-5, 1e-4]] * 2
    assert choices_of(_estimates(make_profile(accuracy, cost, queries=30))) == 1


def test_more_queries_leave_fewer_that_compete() -> None:
    accuracy = np.tile(1 - 0.5 * np.exp(-0.3 * np.arange(12)), (3, 1))
    cost = np.tile(1e-5 * 2.0 ** np.arange(12), (3, 1))
    found = [
        choices_of(_estimates(make_profile(accuracy, cost, queries=queries)))
        for queries in (20, 200, 2000, 200_000)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


def test_a_strategy_with_an_unknown_cost_or_class_competes() -> None:
    accuracy = np.tile(0.9 - 0.06 * np.arange(6), (3, 1))
    cost = np.tile(1e-5 * np.arange(1.0, 7.0), (3, 1))
    known = choices_of(_estimates(make_profile(accuracy, cost, queries=2000)))
    cost[0, 5] = np.nan
    assert choices_of(_estimates(make_profile(accuracy, cost, queries=2000))) == known + 1
    cost[:] = np.nan
    assert choices_of(_estimates(make_profile(accuracy, cost, queries=2000))) == 6


def _near_where_two_are_best(e: Estimates, d: int) -> int:
    """The most that lie near the best value, at every price at which some two are the best."""
    at = e.class_of == d
    accuracy, cost, sd = e.accuracy[at], e.cost_usd[at], e.accuracy_sd[at]
    prices = [0.0]
    for i, j in combinations(range(len(cost)), 2):
        price = (accuracy[i] - accuracy[j]) / (cost[i] - cost[j])
        value = accuracy - price * cost
        if price > 0 and value[i] >= value.max() - 1e-12:
            prices.append(price)
    values = accuracy - np.array(prices)[:, None] * cost
    near = values.max(axis=1)[:, None] - values <= NEAR * np.sqrt(2) * sd
    return int(near.sum(axis=1).max())


@pytest.mark.parametrize("queries", [50, 300, 2000])
@pytest.mark.parametrize("seed", range(4))
def test_within_a_class_those_near_the_best_value_compete(seed: int, queries: int) -> None:
    e = _estimates(random_profile(np.random.default_rng(seed), 4, 9, queries=queries))
    e = replace(e, accuracy_sd=np.full(e.columns, e.accuracy_sd.mean()))  # no matter which is best
    brute = [max(_near_where_two_are_best(e, d) - 1, 1) for d in range(4)]
    assert choices_by_class(e).tolist() == brute


def test_each_class_counts_its_own_strategies() -> None:
    close, apart = np.full(12, 0.8), 0.9 - 0.06 * np.arange(12)
    cost = np.tile(1e-5 * np.arange(1.0, 13.0), (2, 1))
    e = _estimates(make_profile(np.stack([close, apart]), cost, queries=3000))
    assert choices_by_class(e).tolist() == [11, 1]
    cost[1, 11] = np.nan
    e = _estimates(make_profile(np.stack([close, apart]), cost, queries=3000))
    assert choices_by_class(e).tolist() == [11, 2]
    cost[:] = np.nan
    e = _estimates(make_profile(np.stack([close, apart]), cost, queries=3000))
    assert choices_by_class(e).tolist() == [12, 12]


def test_a_class_floor_starts_from_clopper_pearson_at_its_share_of_the_error() -> None:
    profile = random_profile(np.random.default_rng(0), 3, 8, queries=200)
    spec = make_spec(limits={"accuracy": {"by_class": {"c0": 0.5, "c2": 0.3}}})
    e = estimate(profile, spec)
    alphas = floor_alphas(e, spec)
    assert alphas == pytest.approx(0.05 / (2 * choices_by_class(e)))
    for cell, bound, d in zip(e.cells, e.accuracy_floor, e.class_of, strict=True):
        good = cell.accuracy * 200
        assert bound == pytest.approx(beta.ppf(alphas[d], good, 200 - good + 1), rel=1e-6)
    points = make_spec(confidence="none")
    assert floor_alphas(estimate(profile, points), points).tolist() == [1.0] * 3
    assert estimate(profile, points).accuracy_floor == pytest.approx(
        [cell.accuracy for cell in e.cells]
    )


@pytest.mark.parametrize(
    "more",
    [
        {"allocation": {"one_strategy_per_class": True}},
        {"allocation": {"at_most_strategies": 2}},
        {"caps": {"usd": 1.0}},
        {"limits": {"latency": {"p95_s": 100.0}}},
        {"limits": {"per_request": {"calls": 5.0}}},
        {
            "fixed_costs": [{"name": "rent", "pays_for": ["m00"], "usd": 5, "per": "month"}],
            "traffic": {"requests": 1000, "per": "month"},
        },
        {"limits": {"shares": [{"name": "n", "strategies": ["m0/single"], "at_most": 0.9}]}},
    ],
)
def test_where_money_alone_does_not_decide_every_strategy_counts(
    more: dict[str, Any],
) -> None:
    """What looks best may be out of reach, or not be mixed: then the others are all choices."""
    profile = random_profile(np.random.default_rng(3), 3, 12)
    floors = {"accuracy": {"by_class": dict.fromkeys(profile.classes[:2], 0.5)}}
    few = floor_alphas(estimate(profile, plain := make_spec(limits=floors)), plain)
    keys = {**more, "limits": {**floors, **more.get("limits", {})}}
    spec = make_spec(**keys)
    e = estimate(profile, spec)
    choices = 12 if "allocation" in more else 11  # two that are mixed leave no choice
    assert floor_alphas(e, spec) == pytest.approx(0.05 / (2 * choices))
    assert (few > 0.05 / (2 * choices)).all()
    assert e.accuracy_z == pytest.approx(z_of_chosen(0.95, choices))


def test_a_strategy_too_slow_to_take_does_not_hide_how_many_choices_are_left() -> None:
    """Floors above what any plan reaches: 20 equal strategies, and a far better one beyond p95."""
    rng, worlds, queries = np.random.default_rng(5), 150, 400
    truth = np.full((4, 21), 0.8)
    truth[:, 20] = 0.97
    slow = np.zeros((1, 4, 21))
    slow[..., 20] = 1.0
    reached = 0.95 * 0.8 + 0.05 * 0.97
    floor = reached + 0.25 * np.sqrt(0.16 / (4 * queries))
    spec = make_spec(limits={"accuracy": {"overall": floor}, "latency": {"p95_s": 1.0}})
    promised = 0
    for _ in range(worlds):
        profile = make_profile(
            rng.binomial(queries, truth) / queries,
            np.tile(1e-5 * np.linspace(1, 1.05, 21), (4, 1)),
            queries=queries,
            slow=slow,
            grid_s=(1.0,),
        )
        planner = Planner(profile, spec)
        promised += planner.feasible(planner.limits)
    assert promised / worlds <= 0.05  # 1.3 +- 0.9 %; 10.0 +- 2.4 % where only the best counts


def _graded(seed: int) -> Estimates:
    """Cells with spreads of their own, none above that of scores of 0 or 1."""
    rng = np.random.default_rng(seed)
    e = _estimates(random_profile(rng, 3, 4), confidence=0.95)
    binary = e.accuracy * (1 - e.accuracy)
    return replace(e, score_variance=binary * rng.uniform(0.05, 1, e.columns))


def _variance(e: Estimates, x: Array) -> float:
    mean = float(e.traffic_share * x @ e.accuracy)
    return float(e.traffic_share * x @ (e.score_variance + e.accuracy**2)) - mean**2


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_no_plan_above_a_floor_varies_more_than_the_bound(seed: int, place: float) -> None:
    e = _graded(seed)
    rng = np.random.default_rng(seed + 1)
    for sharpness in (0.1, 1.0, 10.0):
        x = rng.gamma(sharpness, size=e.columns) + 1e-12
        x = x / np.bincount(e.class_of, x)[e.class_of]
        floor = place * float(e.traffic_share * x @ e.accuracy)
        assert _variance(e, x) <= JudgedSpread.of(e).variance(floor) + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_what_scipy_finds(seed: int) -> None:
    e = _graded(seed)
    share, loss = e.traffic_share, e.score_variance + (1 - e.accuracy) ** 2
    best = float(e.weights @ np.array([e.accuracy[e.class_of == d].max() for d in range(3)]))
    one = np.equal.outer(np.arange(3), e.class_of).astype(float)
    for floor in np.linspace(0.3, best - 1e-6, 7):
        most = 0.0
        for mean in np.linspace(floor, best - 1e-9, 60):
            solved = linprog(
                -share * loss,
                A_ub=-(share * e.accuracy)[None],
                b_ub=[-mean],
                A_eq=one,
                b_eq=np.ones(3),
            )
            most = max(most, -solved.fun - (1 - mean) ** 2)
        bound = max(floor, 0.5) * (1 - max(floor, 0.5))
        assert JudgedSpread.of(e).variance(floor) == pytest.approx(min(most, bound), abs=5e-4)


@given(st.integers(0, 10_000), st.floats(0.5, 0.95))
def test_scores_of_0_or_1_vary_as_their_mean_says(seed: int, floor: float) -> None:
    e = _estimates(random_profile(np.random.default_rng(seed), 3, 4, queries=10**9))
    spread = JudgedSpread.of(e)
    least = max(floor, 1 - float(spread.lost.means[-1]))  # no plan is worse than the worst
    assert spread.variance(floor) == pytest.approx(least * (1 - least), rel=1e-6)
