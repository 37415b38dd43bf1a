"""A programme solved over few columns has the optimum of all, and is infeasible only with all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog
from worlds import make_spec, random_profile

from planner.estimating.allocation import Accounts
from planner.estimating.estimates import TAIL, Estimates
from planner.estimating.spending import Spending
from planner.limit_names import LATENCY, OVERALL, SPEND
from planner.limits import LimitSet
from planner.planner import Planner
from planner.programme.model import Programme, cost_unit
from planner.programme.question import Question
from planner.programme.session import Session
from planner.programme.sifting import GONE, WHOLE, Sifted
from profiles.errors import InfeasibleError
from profiles.profile import Profile

Array = NDArray[np.float64]
LATENCY_ROW = 4


def _programme(seed: int, classes: int, strategies: int) -> tuple[Estimates, Programme]:
    profile = random_profile(np.random.default_rng(seed), classes, strategies)
    planner = Planner(profile, make_spec(confidence="none"))
    return planner.estimates, planner.programme(_timed(profile))


def _timed(profile: Profile) -> LimitSet:
    return LimitSet({LATENCY: profile.latency_grid_s[LATENCY_ROW]})


def _bounded(lp: Sifted, programme: Programme, floor: float, spend: float) -> None:
    lp.bound_row(programme.row_of[OVERALL], low=floor)
    lp.bound_row(programme.row_of[SPEND], high=spend)
    lp.bound_row(programme.row_of[LATENCY], high=TAIL)


def _all_columns(
    programme: Programme, shares: int, cut: Array, floor: float, spend: float, costs: Array
) -> Any:
    matrix = programme.matrix.toarray()[:, :shares]
    rows = [programme.row_of[name] for name in (OVERALL, SPEND, LATENCY)]
    equal = programme.lower == programme.upper
    found = [
        linprog(
            costs[:shares],
            A_ub=np.vstack([-matrix[rows[0]], matrix[rows[1:]], -cut[:shares]]),
            b_ub=[-floor, spend, TAIL, -0.1],
            A_eq=matrix[equal],
            b_eq=np.ones(equal.sum()),
            method=method,
        )
        for method in ("highs-ipm", "highs-ds")
    ]
    return next(one for one in found if one.status in {0, 2})  # either may end in no verdict


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 5),
    strategies=st.integers(2, 30),
    objective=st.sampled_from(["cost", "accuracy"]),
    asked=st.lists(st.tuples(st.floats(0.3, 0.95), st.floats(0.1, 20.0)), min_size=1, max_size=4),
)
def test_few_columns_give_the_optimum_of_all_or_prove_that_there_is_none(
    seed: int,
    classes: int,
    strategies: int,
    objective: str,
    asked: list[tuple[float, float]],
) -> None:
    numbers, programme = _programme(seed, classes, strategies)
    shares, costs = numbers.columns, programme.objectives[objective]
    lp = Sifted(programme, shares, whole=0)
    cut = np.zeros(programme.matrix.shape[1] + 1)
    cut[:shares] = np.random.default_rng(seed).uniform(0, 1 / classes, shares)
    row = lp.add_row(cut)
    lp.bound_row(row, low=0.1)
    lp.set_costs(costs)
    for floor, spend in asked:
        _bounded(lp, programme, floor, spend)
        theirs = _all_columns(programme, shares, cut, floor, spend, costs)
        if theirs.status == 2:
            with pytest.raises(InfeasibleError):
                lp.run(60.0)
            continue
        x = lp.run(60.0)
        assert lp.objective == pytest.approx(theirs.fun, rel=1e-7)
        assert costs @ x[:-1] == pytest.approx(theirs.fun, rel=1e-7)
        assert programme.row_of[OVERALL] < len(lp.duals) == lp.rows
    _bounded(lp, programme, 0.0, 1e6)
    lp.bound_row(row, low=-1.0)
    lp.run(60.0)
    before, idle = lp.objective, lp.idle_rows()
    others = np.arange(lp.rows) != row
    numbers = lp.forget(idle & ~others)
    assert (lp.rows, numbers[row]) == (row, GONE)
    assert (numbers[others] == np.arange(row)).all()
    lp.run(60.0)
    assert lp.objective == pytest.approx(before, rel=1e-9)


def test_few_of_many_columns_are_held() -> None:
    numbers, programme = _programme(0, 12, 200)
    assert numbers.columns > WHOLE
    lp = Sifted(programme, numbers.columns)
    lp.set_costs(programme.objectives["cost"])
    _bounded(lp, programme, 0.7, 20.0)
    lp.run(60.0)
    assert lp.columns_held < numbers.columns / 4
    assert Sifted(programme, numbers.columns, whole=2400).columns_held > numbers.columns


@pytest.mark.parametrize("seed", range(6))
def test_margins_settle_at_the_same_value_whether_columns_are_sifted_or_not(seed: int) -> None:
    profile = random_profile(np.random.default_rng(seed), 6, 40, queries=300)
    planner = Planner(profile, make_spec())
    numbers = planner.estimates
    accounts, unit = Accounts(numbers, 800), cost_unit(numbers)
    programme = planner.programme(_timed(profile))
    spending = Spending(accounts.bill, unit)
    margins = {
        OVERALL: accounts.accuracy_margin,
        LATENCY: accounts.latency_margin(LATENCY_ROW),
        SPEND: spending.margin,
        "doubt": accounts.accuracy_margin,
    }
    whole, sifted = (
        Session(programme, margins, numbers.columns, whole=most) for most in (10_000, 0)
    )
    offsets = {OVERALL: accounts.judged_offset(0.6)}
    for question in (
        Question("cost", {OVERALL: 0.6}, offsets, then="accuracy"),
        Question("cost", {OVERALL: 0.55, LATENCY: TAIL}, offsets, then="accuracy"),
        Question("accuracy", {SPEND: 3e-4 / unit}, {}, doubt="doubt", then="cost"),
        Question("accuracy", {OVERALL: 0.9, LATENCY: TAIL}, offsets, free=OVERALL),
    ):
        ours, theirs = (spending.solve(session, question) for session in (sifted, whole))
        assert ours.value == pytest.approx(theirs.value, rel=1e-5, abs=1e-6)
        assert ours.duals == pytest.approx(theirs.duals, rel=0.02, abs=1e-3)
    with pytest.raises(InfeasibleError):
        sifted.solve(Question("cost", {OVERALL: 0.999}, offsets))
