"""The model of record, the warm session and independent solvers must agree."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.contrib.appsi.solvers import Highs
from scipy.optimize import linprog
from worlds import make_profile, make_spec, random_profile, shares, table

from planner.estimating.estimates import TAIL
from planner.limit_names import LATENCY, OVERALL, SPEND
from planner.limits import LimitSet
from planner.planner import Planner
from planner.programme.margin import Margin
from planner.programme.model import build_model, compile_model, cost_unit
from planner.programme.question import Question
from planner.programme.rows import Rows
from planner.programme.session import Session
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Profile

LATENCY_ROW = 4


def _linprog(profile: Profile, floor: float, budget: float) -> Any:
    w, a, c = np.array(profile.weights), table(profile, "accuracy"), table(profile, "cost_usd")
    slow = (
        np.array(
            [
                [profile.cell(d, s).exceeded[LATENCY_ROW] for s in profile.strategies]
                for d in profile.classes
            ]
        )
        / 1000
    )  # type: ignore[index]
    rows = np.array(
        [-(w[:, None] * a).ravel(), (w[:, None] * slow).ravel(), (w[:, None] * c).ravel() * 1e4]
    )
    return linprog(
        (w[:, None] * c).ravel() * 1e4,
        A_ub=rows,
        b_ub=[-floor, TAIL, budget * 1e4],
        A_eq=np.kron(np.eye(len(w)), np.ones(a.shape[1])),
        b_eq=np.ones(len(w)),
        method="highs-ipm",
    )


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 4),
    strategies=st.integers(1, 6),
    floor=st.floats(0.4, 0.9),
    budget=st.floats(5e-5, 1e-3),
)
def test_pyomo_and_session_and_scipy_agree(
    seed: int, classes: int, strategies: int, floor: float, budget: float
) -> None:
    profile = random_profile(np.random.default_rng(seed), classes, strategies)
    planner = Planner(profile, make_spec(confidence="none"))
    numbers = planner.estimates
    rows = planner.rows(LimitSet({LATENCY: profile.latency_grid_s[LATENCY_ROW]}))
    model = build_model(numbers, rows)
    unit = cost_unit(numbers)
    session = Session(compile_model(model, rows), {}, numbers.columns)
    limits = {OVERALL: floor, LATENCY: TAIL, SPEND: budget / unit}
    theirs = _linprog(profile, floor, budget)

    for number, row in enumerate(rows):
        if row.name not in limits:
            model.limit[number].deactivate()
        elif row.is_floor:
            model.limit[number].set_value(model.limit[number].body >= limits[row.name])
        else:
            model.limit[number].set_value(model.limit[number].body <= limits[row.name])
    model.accuracy.deactivate()
    pyomo_solver = Highs()
    pyomo_solver.config.load_solution = False
    by_pyomo = pyomo_solver.solve(model)

    if theirs.status == 2:
        with pytest.raises(InfeasibleError):
            session.solve(Question("cost", limits, {}))
        assert by_pyomo.best_feasible_objective is None
        return
    ours = session.solve(Question("cost", limits, {}))
    assert ours.value * unit / 100 == pytest.approx(theirs.fun / 1e4, rel=1e-7)
    assert by_pyomo.best_feasible_objective == pytest.approx(ours.value, rel=1e-7)


def test_small_instances_match_brute_force_on_a_grid() -> None:
    for seed in range(5):
        profile = random_profile(np.random.default_rng(seed), 2, 3)
        w, a, c = np.array(profile.weights), table(profile, "accuracy"), table(profile, "cost_usd")
        floor = 0.5 * float(w @ a.max(axis=1)) + 0.5 * float(w @ a.min(axis=1))
        steps = [p for p in itertools.product(np.linspace(0, 1, 41), repeat=2) if sum(p) <= 1]
        mixes = np.array([(p, q, 1 - p - q) for p, q in steps])
        accuracy = w[0] * (mixes @ a[0])[:, None] + w[1] * (mixes @ a[1])[None, :]
        cost = w[0] * (mixes @ c[0])[:, None] + w[1] * (mixes @ c[1])[None, :]
        best = cost[accuracy >= floor].min()
        spec = make_spec(confidence="none", limits={"accuracy": {"overall": floor}})
        ours = Planner(profile, spec).solve().expected.cost_usd_per_request
        assert ours is not None
        assert ours <= best * (1 + 1e-9)
        assert ours >= best * 0.97


def test_a_solver_out_of_time_is_unproven_not_infeasible() -> None:
    profile = random_profile(np.random.default_rng(1), 5, 20)
    planner = Planner(profile, make_spec())
    numbers, programme = planner.estimates, planner.programme(LimitSet())
    session = Session(programme, {}, numbers.columns)
    with pytest.raises(UnprovenError, match="Time limit"):
        session.solve(Question("cost", {OVERALL: 0.7}, {}, until_s=time.monotonic()))


def test_a_moved_limit_gives_the_same_answer_warm_and_cold() -> None:
    profile = random_profile(np.random.default_rng(2), 5, 20)
    spec = make_spec(limits={"accuracy": {"overall": 0.6}})
    warm = Planner(profile, spec)
    for floor in (0.6, 0.7, 0.65, 0.5):
        cold = Planner(profile, spec).solve(accuracy=floor).expected.cost_usd_per_request
        again = warm.solve(accuracy=floor).expected.cost_usd_per_request
        assert again == pytest.approx(cold, rel=1e-5)


def test_equally_dear_plans_are_decided_by_accuracy() -> None:
    profile = make_profile([[0.6, 0.9, 0.7]], [[1e-4, 1e-4, 1e-4]])
    rung = Planner(profile, make_spec(confidence="none")).solve()
    assert rung.allocation == {"c0": {"m01/single": 1.0}}


def test_equally_accurate_plans_are_decided_by_cost() -> None:
    profile = make_profile([[0.9, 0.9, 0.7]], [[3e-4, 2e-4, 1e-4]])
    spec = make_spec(confidence="none", objective="maximize accuracy")
    assert Planner(profile, spec).solve().allocation == {"c0": {"m01/single": 1.0}}


def test_shadow_prices_match_finite_differences() -> None:
    profile = random_profile(np.random.default_rng(3), 3, 8)
    spec = make_spec(limits={"accuracy": {"overall": 0.67}})
    planner = Planner(profile, spec)

    def usd(floor: float) -> float:
        cost = planner.solve(accuracy=floor).expected.cost_usd_per_request
        assert cost is not None
        return cost

    price = planner.solve().shadow_prices[OVERALL]
    assert price == pytest.approx((usd(0.6702) - usd(0.6698)) / 0.0004, rel=0.05)


def test_spend_shadow_prices_match_finite_differences() -> None:
    profile = random_profile(np.random.default_rng(3), 3, 8)
    spec = make_spec(
        confidence="none",
        objective="maximize accuracy",
        limits={"spend": {"usd_per_request": 3e-4}},
    )
    planner = Planner(profile, spec)
    more, less = (
        planner.solve(usd_per_request=usd).expected.accuracy for usd in (3.01e-4, 2.99e-4)
    )
    price = planner.solve().shadow_prices[SPEND]
    assert price == pytest.approx((more - less) / 2e-6, rel=0.05)


def test_a_margin_without_noise_adds_no_cut() -> None:
    profile = random_profile(np.random.default_rng(4), 2, 3)
    planner = Planner(profile, make_spec(confidence="none"))
    numbers, programme = planner.estimates, planner.programme(LimitSet())
    nothing = np.zeros(0, dtype=np.intp)
    still = Margin(1.645, Rows.of_entries((1, numbers.columns), nothing, nothing, np.zeros(0)))
    with_margin = Session(programme, {OVERALL: still}, numbers.columns)
    without = Session(programme, {}, numbers.columns)
    question = Question("cost", {OVERALL: 0.6}, {})
    assert with_margin.solve(question).value == without.solve(question).value


def test_shares_of_every_class_sum_to_one() -> None:
    profile = random_profile(np.random.default_rng(5), 5, 20)
    rung = Planner(profile, make_spec(limits={"accuracy": {"overall": 0.7}})).solve()
    assert shares(profile, rung.allocation).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-11)
    assert all(share >= 1e-6 for row in rung.allocation.values() for share in row.values())
