"""Exact frontiers of plans: the breakpoints are those of the solver's budgets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import make_profile, make_spec, random_profile

from planner.frontiers.frontier import frontier
from planner.planner import Planner
from planner.spec import Objective


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), classes=st.integers(1, 5), strategies=st.integers(2, 8))
def test_on_point_estimates_breakpoints_are_what_the_solver_finds_at_their_budgets(
    seed: int, classes: int, strategies: int
) -> None:
    profile = random_profile(np.random.default_rng(seed), classes, strategies)
    planner = Planner(profile, make_spec(confidence="none"))
    found = frontier(planner, points=1000)
    for point, after in itertools.pairwise(found):
        slope = (after.accuracy - point.accuracy) / (after.usd_per_request - point.usd_per_request)
        rounded = 1e-7 + 2e-8 * slope * after.usd_per_request  # a nearly vertical step is steep
        for share in (0.0, 0.5):  # between breakpoints the frontier is straight
            usd = point.usd_per_request + share * (after.usd_per_request - point.usd_per_request)
            accuracy = point.accuracy + share * (after.accuracy - point.accuracy)
            limits = planner.limits.moved("spend.usd_per_request", usd * (1 + 1e-8))
            solved = planner.answer(Objective.MAXIMIZE_ACCURACY, limits)
            assert solved.value == pytest.approx(accuracy, abs=rounded)
        assert point.accuracy_per_usd == pytest.approx(slope, rel=1e-3)
    assert found[-1].accuracy_per_usd is None


def test_with_a_margin_or_another_limit_points_are_solved_one_by_one() -> None:
    profile = random_profile(np.random.default_rng(4), 3, 6)
    exact = frontier(Planner(profile, make_spec(confidence="none")), points=5)
    loose = {"accuracy": {"by_class": {"c0": 0.0}}}
    solved = frontier(Planner(profile, make_spec(confidence="none", limits=loose)), points=5)
    assert (exact[0].usd_per_request, exact[-1].accuracy) == pytest.approx(
        (solved[0].usd_per_request, solved[-1].accuracy)
    )
    certified = frontier(Planner(profile, make_spec()), points=5)
    assert certified[0].promised_accuracy < certified[0].accuracy
    assert exact[0].promised_accuracy == pytest.approx(exact[0].accuracy)


def test_a_frontier_of_one_plan_has_one_point() -> None:
    profile = make_profile([[0.5, 0.4]], [[0.0045528589178729815, 0.01]])
    (point,) = frontier(Planner(profile, make_spec(confidence="none")))
    assert point.allocation == {"c0": {"m00/single": 1.0}}


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_promised_frontiers_may_start_at_nothing_and_may_be_one_plan(confidence: float) -> None:
    free = make_profile([[0.5, 0.9], [0.2, 0.8]], [[0.0, 1e-3], [0.0, 1e-3]])
    found = frontier(Planner(free, make_spec(confidence=confidence)), points=9)
    assert found[0].usd_per_request == 0.0
    assert found[-1].accuracy == pytest.approx(0.85, abs=0.01)
    alone = frontier(Planner(make_profile([[1.0]], [[0.01]], queries=1), make_spec()), points=9)
    assert [point.usd_per_request for point in alone] == [0.01]


def test_a_strategy_that_costs_nothing_starts_the_frontier() -> None:
    profile = make_profile([[0.5, 0.9], [0.2, 0.8]], [[0.0, 1e-3], [0.0, 1e-3]])
    found = frontier(Planner(profile, make_spec(confidence="none")), points=9)
    assert [point.usd_per_request for point in found] == [0.0, 0.0005, 0.001]
    assert [point.accuracy for point in found] == pytest.approx([0.35, 0.65, 0.85])
    assert found[0].accuracy_per_usd == pytest.approx(600)
