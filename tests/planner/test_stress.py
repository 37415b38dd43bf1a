"""The stress table against sums done by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from group_worlds import COLUMN, grouped
from worlds import make_profile, make_spec

from planner.planner import Answer, Planner
from planner.trials.stress import (
    ACCURACIES,
    COSTS,
    LATENCIES,
    POINTS,
    TRAFFIC,
    Stress,
    Stressed,
    has_sums,
    stress,
)

ACCURACY = [[0.9, 0.95], [0.4, 0.8]]
COST = [[0.001, 0.010], [0.002, 0.020]]
SLOW = [
    [[0.5, 0.9], [0.6, 1.0]],  # beyond 1 s
    [[0.0, 0.2], [0.1, 0.3]],  # beyond 2 s
    [[0.0, 0.0], [0.0, 0.0]],  # beyond 4 s
]
GRID = (1.0, 2.0, 4.0)
HARDER = "share of class c1 x 1.5"


def table(limits: dict[str, Any], *, slow: Any = SLOW, **keys: Any) -> tuple[Planner, Stress]:
    """The easy class has 60 % of requests and goes to the cheap one, the hard one to the dear."""
    grid = GRID if slow is not None else ()
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4], slow=slow, grid_s=grid)
    planner = Planner(profile, make_spec(limits=limits, **{"confidence": "none", **keys}))
    return planner, stress(planner, Answer(np.array([1.0, 0.0, 0.0, 1.0]), 0.0, {}))


def test_what_is_not_proven_in_time_anew_is_not_called_infeasible() -> None:
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4], slow=SLOW, grid_s=GRID)
    spec = make_spec(limits={"accuracy": {"overall": 0.8}})
    answer = Answer(np.array([1.0, 0.0, 0.0, 1.0]), 0.0, {})
    hurried = stress(Planner(profile, spec, time_limit_s=1e-9), answer)
    in_time = stress(Planner(profile, spec), answer)
    assert {(one.planned_anew, one.unproven) for one in hurried.rows} == {(None, True)}
    assert not any(one.unproven for one in in_time.rows)
    assert [one.expected for one in hurried.rows] == [one.expected for one in in_time.rows]


def row(found: Stress, drift: str) -> Stressed:
    return next(one for one in found.rows if one.drift == drift)


def test_the_plans_own_shares_are_worth_what_the_sums_say() -> None:
    planner, found = table({"accuracy": {"overall": 0.85}, "spend": {"usd_per_request": 0.009}})
    assert [one.drift for one in found.rows] == [
        "as planned", COSTS, HARDER, ACCURACIES, POINTS, LATENCIES,
    ]  # fmt: skip
    assert found.left_out == ()
    planned = found.rows[0]
    assert planned.expected.accuracy == pytest.approx(0.6 * 0.9 + 0.4 * 0.8)
    assert planned.expected.cost_usd_per_request == pytest.approx(0.6 * 0.001 + 0.4 * 0.020)
    assert planned.expected.latency_p95_s == 4.0  # 12 % beyond 2 s
    assert planned.breaks == ()

    dearer = row(found, COSTS)
    assert dearer.expected.cost_usd_per_request == pytest.approx(1.5 * 0.0086)
    assert dearer.expected.accuracy == pytest.approx(0.86)
    assert dearer.breaks == ("spend.usd_per_request",)

    harder = row(found, HARDER)
    assert harder.expected.accuracy == pytest.approx(0.4 * 0.9 + 0.6 * 0.8)
    assert harder.expected.cost_usd_per_request == pytest.approx(0.4 * 0.001 + 0.6 * 0.020)
    assert harder.breaks == ("accuracy.overall", "spend.usd_per_request")

    lower = row(found, ACCURACIES)
    errors = planner.estimates.accuracy_sd
    means = np.array(ACCURACY).ravel()
    assert errors == pytest.approx(np.sqrt(means * (1 - means) / 1000), rel=0.01)
    assert lower.expected.accuracy == pytest.approx(0.86 - 0.6 * errors[0] - 0.4 * errors[3])
    assert lower.breaks == ("accuracy.overall",)
    assert row(found, POINTS).expected.accuracy == pytest.approx(0.84)
    assert row(found, POINTS).breaks == ("accuracy.overall",)
    assert row(found, LATENCIES).expected.latency_p95_s == 6.0


def test_half_as_many_requests_again_share_a_sum_of_dollars() -> None:
    """8.6 dollars a thousand requests; a limit per request is no sum."""
    spend = {"spend": {"usd": 10.0, "per": "day"}}
    traffic = {"requests": 1000, "per": "day"}
    _, found = table(spend, traffic=traffic, objective="maximize accuracy")
    more = row(found, TRAFFIC)
    assert more.expected == found.rows[0].expected
    assert (found.rows[0].breaks, more.breaks) == ((), ("spend.usd_per_request",))
    assert more.planned_anew is not None
    assert more.planned_anew.cost_usd_per_request == pytest.approx(10 / 1500)
    _, found = table({"spend": {"usd_per_request": 0.01}}, traffic=traffic)
    assert TRAFFIC not in [one.drift for one in found.rows]
    pool = {"gpu": {"a": {"gpus": 1.0}}}
    planner = Planner(make_profile(ACCURACY, COST), make_spec(traffic=traffic))
    asked = make_spec(limits=pool, traffic=traffic)
    assert has_sums(asked)
    assert not has_sums(planner.spec)


def test_limits_that_have_no_figure_of_their_own_break_by_name_too() -> None:
    limits = {
        "latency": {"p99_s": 4.0},
        "shares": [{"name": "dear", "strategies": ["m01/single"], "at_most": 0.5}],
    }
    _, found = table(limits)
    assert found.rows[0].breaks == ()
    assert row(found, HARDER).breaks == ("shares.dear.at_most",)  # 60 % of requests are hard
    assert row(found, LATENCIES).breaks == ("latency.p99_s",)


def test_planning_anew_costs_what_the_cheapest_mix_costs() -> None:
    """Cheap everywhere has 70 %; more of the dear one goes to hard requests, 22.2 points a cent."""
    _, found = table({"accuracy": {"overall": 0.82}})
    planned, dearer, harder = found.rows[0], row(found, COSTS), row(found, HARDER)

    def cheapest(hard: float) -> float:
        lack = 0.82 - ((1 - hard) * 0.9 + hard * 0.4)
        return (1 - hard) * 0.001 + hard * 0.002 + lack / 0.4 * 0.018

    assert planned.planned_anew is not None
    assert dearer.planned_anew is not None
    assert harder.planned_anew is not None
    assert planned.planned_anew.cost_usd_per_request == pytest.approx(cheapest(0.4))
    assert dearer.planned_anew.cost_usd_per_request == pytest.approx(1.5 * cheapest(0.4))
    assert harder.planned_anew.cost_usd_per_request == pytest.approx(cheapest(0.6))


def test_where_no_plan_can_keep_the_limits_there_is_none() -> None:
    _, found = table({"accuracy": {"overall": 0.88}})
    assert row(found, COSTS).planned_anew is not None
    assert row(found, HARDER).planned_anew is None  # the best is 86 %
    assert row(found, HARDER).breaks == ("accuracy.overall",)


def test_floors_of_classes_and_latency_limits_break_by_name() -> None:
    _, found = table({"accuracy": {"by_class": {"c1": 0.795}}, "latency": {"p95_s": 4.0}})
    assert row(found, ACCURACIES).breaks == ("accuracy.by_class.c1",)
    slower = row(found, LATENCIES)  # 12 % take longer than 3 s; the next limit counted is 6 s
    assert (slower.expected.latency_p95_s, slower.breaks) == (6.0, ("latency.p95_s",))


def test_a_mix_in_the_spec_drifts_like_a_measured_one() -> None:
    _, found = table({}, traffic={"requests": 1000, "mix": {"c0": 0.2, "c1": 0.8}})
    expected = row(found, HARDER).expected
    assert expected.accuracy == pytest.approx(0.8)  # 1.5 x 80 % is everything


def test_drifts_that_cannot_be_shown_are_named() -> None:
    _, found = table({}, slow=None)
    assert found.left_out == (f"{LATENCIES}: no latencies are recorded",)
    _, found = table({"latency": {"p95_s": 1.2}})
    assert found.left_out == (f"{LATENCIES}: the profile counted no latencies at or below 0.8 s",)


def test_one_class_has_no_harder_mix_and_unknown_costs_do_not_grow() -> None:
    profile = make_profile([[0.5, 0.8]], [[0.001, np.nan]])
    spec = make_spec(objective="maximize accuracy", confidence="none")
    found = stress(Planner(profile, spec), Answer(np.array([0.0, 1.0]), 0.0, {}))
    assert found.rows[0].expected.cost_usd_per_request is None
    assert found.left_out == (
        f"{COSTS}: some costs are unknown",
        "share of the hardest class x 1.5: there is one class",
        f"{LATENCIES}: no latencies are recorded",
    )


def test_certified_plans_withstand_a_standard_error() -> None:
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    planner = Planner(profile, make_spec(limits={"accuracy": {"overall": 0.82}}))
    found = stress(planner, planner.explained(planner.limits))
    assert row(found, ACCURACIES).breaks == ()
    assert row(found, HARDER).breaks == ("accuracy.overall",)


def test_limits_on_groups_break_by_name_and_leave_no_row_for_lower_accuracies() -> None:
    """Half of every class is in either group; g1 does worse than the class by ten points."""
    profile = make_profile(ACCURACY, COST, weights=[0.6, 0.4])
    apart = np.array(ACCURACY) + np.array([0.04, -0.1])[:, None, None]
    profile = grouped(profile, np.full((2, 2), 500), apart)
    limits = {"accuracy": {"by_group": {COLUMN: {"g1": 0.76}}, "max_gap": {COLUMN: 0.2}}}
    planner = Planner(profile, make_spec(limits=limits, confidence="none"))
    found = stress(planner, Answer(np.array([1.0, 0.0, 0.0, 1.0]), 0.0, {}))
    floor = f"accuracy.by_group.{COLUMN}.g1"
    breaks = [one.breaks for one in found.rows]
    assert breaks == [(), (), (floor,), (floor,)]  # 0.6 x 0.8 + 0.4 x 0.7 = 0.76
    assert row(found, POINTS).expected.accuracy == pytest.approx(0.84)
    assert found.left_out[0] == f"{ACCURACIES}: limits on groups rest on cells of their own"
