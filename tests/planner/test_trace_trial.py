"""A plan's ladder under recorded traffic: worlds with known truth, the pace of money, the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome_worlds import Sorted, easy_and_hard, sorted_into
from trust_worlds import slow_world, with_answers
from worlds import make_spec

from planner.plan import Plan
from planner.solve import solve
from planner.sorting.cells_of_outcomes import Outcomes, profile_of
from planner.spec import Spec
from planner.trials.resplit import OWN_ACCURACY, OWN_BILL
from planner.trials.trace import TraceTrial, follow
from profiles.errors import InputError
from profiles.money import PriceCard


def planned(outcomes: Outcomes, sorted_by: Sorted, spec: Spec) -> Plan:
    rows = np.arange(len(outcomes.scores))
    profile = profile_of(outcomes, sorted_by.classes, sorted_by.names, rows)
    return solve(profile, spec, prices=PriceCard(), estimator=None)


def followed(
    outcomes: Outcomes, sorted_by: Sorted, spec: Spec, arrivals_s: Any, seed: int = 0
) -> TraceTrial:
    plan = planned(outcomes, sorted_by, spec)
    weights = dict(zip(plan.classes.names, plan.classes.weights, strict=True))
    return follow(plan.rungs, spec, weights, outcomes, sorted_by, arrivals_s=arrivals_s, seed=seed)


def steady(windows: int, requests: int, length_s: float = 60.0) -> Any:
    """Evenly spaced, with one more request that begins a window of its own."""
    return np.arange(windows * requests + 1) * length_s / requests


def kept(found: TraceTrial, name: str) -> tuple[int, int]:
    one = next(one for one in found.promises if one.promise == name)
    return one.kept, one.judged


def small(seed: int = 1, count: int = 600) -> tuple[Outcomes, Sorted]:
    hard, outcomes = easy_and_hard(np.random.default_rng(seed), count)
    seconds = np.random.default_rng(seed + 1).exponential(0.5, outcomes.scores.shape)
    return with_answers(outcomes, seconds), sorted_into(hard)


def test_windows_keep_what_certified_plans_promise_and_naive_ones_do_not() -> None:
    """The table is the truth of the draws, so its own noise makes plans only more careful."""
    totals = {0.95: np.zeros(2), "none": np.zeros(2)}
    for seed in range(5):
        world = slow_world(seed)
        limits = {"latency": {"p95_s": world.p95_s}}
        for confidence in totals:
            spec = make_spec(
                objective="maximize accuracy",
                limits=limits,
                traffic={"requests": 600, "per": "minute"},
                confidence=confidence,
            )
            found = followed(world.outcomes, world.sorted_by, spec, steady(20, 600), seed)
            totals[confidence] += kept(found, "latency.p95_s")
    (certified, windows), (naive, _) = totals[0.95], totals["none"]
    assert windows == 100
    assert certified / 100 >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 100)  # 0.02 each
    assert naive / 100 < 0.8


def test_many_requests_get_on_average_what_the_plan_expects_on_point_estimates() -> None:
    outcomes, sorted_by = small()
    spec = make_spec(
        limits={"accuracy": {"overall": 0.8}},
        traffic={"requests": 20_000, "per": "minute"},
        confidence="none",
    )
    found = followed(outcomes, sorted_by, spec, steady(1, 20_000))
    expected = planned(outcomes, sorted_by, spec).rungs[0].expected
    (window,) = found.windows
    assert window.accuracy is not None
    assert window.usd is not None
    assert expected.cost_usd_per_request is not None
    assert window.accuracy == pytest.approx(expected.accuracy, abs=3 * 0.4 / 20_000**0.5)
    assert window.usd / 20_000 == pytest.approx(expected.cost_usd_per_request, rel=0.03)


def test_the_same_seed_gives_the_same_windows_and_another_does_not() -> None:
    outcomes, sorted_by = small()
    spec = make_spec(
        limits={"accuracy": {"overall": 0.8}}, traffic={"requests": 100, "per": "minute"}
    )
    first, again, other = (
        followed(outcomes, sorted_by, spec, steady(3, 100), seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert first.windows != other.windows
    assert [window.requests for window in first.windows] == [100, 100, 100]
    assert first.unfinished == 1


@given(factor=st.floats(0.2, 4.0), seed=st.integers(0, 5))
def test_no_window_ever_spends_more_than_its_budget(factor: float, seed: int) -> None:
    outcomes, sorted_by = small()
    budget = 0.6
    spec = make_spec(
        objective="maximize accuracy",
        limits={"spend": {"usd": budget, "per": "minute"}},
        traffic={"requests": 100, "per": "minute"},
        confidence="none",
    )
    found = followed(outcomes, sorted_by, spec, steady(2, round(100 * factor)), seed)
    for window in found.windows:
        assert window.usd is not None
        assert window.usd <= budget
    assert kept(found, "spend.usd_per_request") == (2, 2)


def test_more_requests_than_planned_fall_to_lower_rungs_before_any_is_refused() -> None:
    outcomes, sorted_by = small()
    spec = make_spec(
        objective="maximize accuracy",
        limits={"spend": {"usd": 0.6, "per": "minute"}},
        traffic={"requests": 100, "per": "minute"},
        confidence="none",
    )
    (calm,) = followed(outcomes, sorted_by, spec, steady(1, 60)).windows
    (rush,) = followed(outcomes, sorted_by, spec, steady(1, 200)).windows
    assert (calm.on_lower_rungs, calm.refused) == (0, 0)
    assert rush.on_lower_rungs > 50
    assert rush.refused < 10
    assert calm.accuracy is not None
    assert rush.accuracy is not None
    assert rush.accuracy < calm.accuracy


def test_without_a_sum_of_dollars_the_first_rung_answers_everything() -> None:
    outcomes, sorted_by = small()
    spec = make_spec(
        objective="maximize accuracy",
        limits={"spend": {"usd_per_request": 0.006}},
        traffic={"requests": 10, "per": "minute"},
    )
    found = followed(outcomes, sorted_by, spec, steady(2, 200))
    assert found.budget_usd is None
    assert all(window.on_lower_rungs == window.refused == 0 for window in found.windows)
    assert kept(found, OWN_BILL)[1] == 2


def test_a_trace_shorter_than_a_window_is_judged_as_far_as_it_goes() -> None:
    outcomes, sorted_by = small()
    spec = make_spec(limits={"accuracy": {"overall": 0.8}}, traffic={"requests": 100, "per": "day"})
    found = followed(outcomes, sorted_by, spec, steady(1, 50))
    assert [window.requests for window in found.windows] == [51]
    assert found.unfinished == 51
    batch = make_spec(
        limits={"accuracy": {"overall": 0.8}}, traffic={"requests": 100, "per": "total"}
    )
    found = followed(outcomes, sorted_by, batch, steady(1, 50))
    assert (len(found.windows), found.unfinished) == (1, 0)


def test_floors_of_classes_are_judged_by_their_requests_and_shares_are_not_judged() -> None:
    outcomes, sorted_by = small()
    spec = make_spec(
        limits={
            "accuracy": {"by_class": {"c1": 0.7}},
            "shares": [{"name": "good", "strategies": ["good/single"], "at_most": 0.9}],
        },
        traffic={"requests": 4000, "per": "minute"},
    )
    found = followed(outcomes, sorted_by, spec, steady(4, 4000))
    assert kept(found, "accuracy.by_class.c1") == (4, 4)
    assert kept(found, OWN_ACCURACY)[1] == 4
    assert found.not_judged == ("shares.good.at_most",)


def test_a_trace_needs_traffic_in_the_spec() -> None:
    outcomes, sorted_by = small()
    with pytest.raises(InputError, match="a trace needs windows"):
        followed(outcomes, sorted_by, make_spec(), steady(1, 10))


def test_outcomes_without_an_answer_that_a_rung_may_need_are_refused() -> None:
    outcomes, sorted_by = small()
    spec = make_spec(
        limits={"accuracy": {"overall": 0.8}}, traffic={"requests": 100, "per": "minute"}
    )
    plan = planned(outcomes, sorted_by, spec)
    easy = np.flatnonzero(sorted_by.classes == 0)
    part = Sorted("", sorted_by.classes[easy], sorted_by.names)
    with pytest.raises(InputError, match="no answer is stored"):
        follow(
            plan.rungs, spec, {"c0": 0.5, "c1": 0.5}, outcomes.part(easy), part,
            arrivals_s=steady(1, 50),
        )  # fmt: skip
