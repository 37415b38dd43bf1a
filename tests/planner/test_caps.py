"""Hard caps: plans count on nothing that a cap would have cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from worlds import make_profile, make_spec

from planner.estimating.capped import beyond
from planner.plan import Plan, TokenLine
from planner.planner import Planner
from planner.solve import solve
from planner.spec import Caps
from profiles.cells.caps import CapLine
from profiles.errors import InfeasibleError
from profiles.money import PriceCard
from profiles.profile import Cell, Profile

ACCURACY = [[0.70, 0.95], [0.40, 0.90]]
COST = [[1e-5, 1e-3], [2e-5, 2e-3]]
GRID_S = (1.0, 5.0, 30.0)
SLOW = [[[0.5, 0.5]] * 2, [[0.0, 0.1]] * 2, [[0.0, 0.0]] * 2]


def world(**changes: Any) -> Profile:
    """Two classes, a cheap and a dear strategy; every request took one or two calls."""
    profile = make_profile(ACCURACY, COST, slow=SLOW, grid_s=GRID_S)
    known = {"tokens_out_max": 400, "calls": 1.0, **changes}
    return replace(profile, cells={k: replace(c, **known) for k, c in profile.cells.items()})


def planned(profile: Profile, **keys: Any) -> Plan:
    limits = {"accuracy": {"overall": 0.5}}
    spec = make_spec(**{"limits": limits, **keys})
    return solve(profile, spec, prices=PriceCard(), estimator=None)


def test_without_caps_a_plan_and_a_spec_read_as_before_there_were_any() -> None:
    plan = planned(world())
    assert plan.caps is None
    assert "caps" not in plan.model_dump(mode="json")
    assert "caps" not in make_spec().model_dump(mode="json")


def test_a_plan_names_its_caps_and_only_those_given() -> None:
    plan = planned(world(), caps={"usd": 0.01, "wall_s": 30})
    assert plan.model_dump(mode="json")["caps"] == {"wall_s": 30.0, "usd": 0.01}
    assert Plan.model_validate_json(plan.to_json()) == plan
    assert plan.digest != planned(world()).digest


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ({"usd": 0.003}, "m01/single is left out: in class c1 it cost up to 0.004 USD"),
        ({"wall_s": 5}, "m01/single is left out: in class c0 it took longer in 100 of 1000"),
    ],
)
def test_what_a_cap_would_cut_is_left_out_with_a_warning(caps: dict[str, float], said: str) -> None:
    (warning,) = [text for text in planned(world(), caps=caps).warnings if "left out" in text]
    assert warning.startswith(said)
    assert "measure under the cap" in warning


def test_a_strategy_is_left_out_only_of_the_classes_where_it_went_beyond() -> None:
    plan = planned(world(), caps={"usd": 0.003}, limits={}, objective="maximize accuracy")
    assert plan.rungs[0].allocation["c0"] == {"m01/single": 1.0}
    assert plan.rungs[0].allocation["c1"] == {"m00/single": 1.0}
    assert set(plan.cells["c1"]) == {"m00/single"}  # so no request of c1 falls back to m01 either


def test_caps_that_everything_keeps_change_no_figure() -> None:
    capped = planned(world(), caps={"tokens": 400, "calls": 1, "wall_s": 30, "usd": 0.004})
    assert capped.rungs == planned(world()).rungs
    assert not [text for text in capped.warnings if "left out" in text]


def test_caps_that_leave_a_class_without_a_strategy_are_refused() -> None:
    with pytest.raises(
        InfeasibleError, match=r"caps: no strategy in class c0 .* caps\.tokens is 9"
    ):
        planned(world(), caps={"tokens": 9})


def test_a_cap_that_cuts_everything_but_one_still_counts_all_that_competed() -> None:
    profile, spec = world(), make_spec(caps={"usd": 0.001})
    one = Planner(profile, spec).estimates
    both = Planner(profile, make_spec()).estimates
    assert len(set(one.strategy_of)) == 1
    assert one.accuracy_z == both.accuracy_z


def cell(**changes: Any) -> Cell:
    return replace(world().cells["c0", "m00/single"], **changes)


@pytest.mark.parametrize(
    ("changes", "caps", "kept"),
    [
        ({}, {"tokens": 400}, True),
        ({}, {"tokens": 399}, False),
        ({"tokens_out_max": None}, {"tokens": 399}, False),
        ({"strategy": "m/single(max_tokens=64)", "tokens_out_max": None}, {"tokens": 64}, True),
        ({"strategy": "m/single(max_tokens=512)"}, {"tokens": 400}, True),
        ({"calls": 2.5}, {"calls": 2}, False),
        ({"calls": 2.5}, {"calls": 3}, True),
        ({"calls": None}, {"calls": 3}, False),
        ({}, {"wall_s": 5}, True),
        ({}, {"wall_s": 7}, True),  # between two limits: judged at the lower one
        ({}, {"wall_s": 2}, False),
        ({}, {"wall_s": 0.5}, False),
        ({"exceeded": None}, {"wall_s": 30}, False),
        ({}, {"usd": 2e-5}, True),
        ({"cost_max_usd": None}, {"usd": 1}, False),
    ],
)
def test_only_a_measured_use_within_the_cap_keeps_it(
    *, changes: dict[str, Any], caps: dict[str, float], kept: bool
) -> None:
    reason = beyond(cell(**changes), Caps.model_validate(caps), GRID_S)
    assert (reason is None) is kept


def test_calls_that_differ_by_request_leave_a_warning() -> None:
    (warning,) = [
        text for text in planned(world(calls=1.5), caps={"calls": 3}).warnings if "cut" in text
    ]
    assert "1.5 by m00/single" in warning
    assert not planned(world(calls=2.0), caps={"calls": 3}).warnings


def test_plans_carry_lines_by_prompt_length_only_where_the_spec_asks() -> None:
    profile = world(cap_line=CapLine(intercept=12.5, slope=0.75, rows=5000))
    asked = planned(profile, caps={"by_prompt_length": True})
    assert {cell.cap_line for own in asked.cells.values() for cell in own.values()} == {
        TokenLine(base=12.5, per_prompt_token=0.75)
    }
    (warning,) = [text for text in asked.warnings if "by_prompt_length" in text]
    assert "about 1 % of answers" in warning
    assert Plan.model_validate_json(asked.to_json()) == asked
    assert planned(profile).to_json() == planned(world()).to_json()


@pytest.mark.parametrize("changes", [{}, {"calls": 2.0}])
def test_without_enough_requests_of_one_call_there_is_no_line(changes: dict[str, Any]) -> None:
    line = {"cap_line": CapLine(12.5, 0.75, 5000)} if changes else {}
    plan = planned(world(**changes, **line), caps={"by_prompt_length": True})
    assert {cell.cap_line for own in plan.cells.values() for cell in own.values()} == {None}
    (warning,) = [text for text in plan.warnings if "by_prompt_length" in text]
    assert "whatever the prompt" in warning
    assert "m00/single" in warning


def test_the_profile_counts_tails_at_the_cap_on_time() -> None:
    spec = make_spec(caps={"wall_s": 20}, limits={"latency": {"p95_s": 8}})
    assert spec.latency_limits_s == (8.0, 20.0)


@pytest.mark.parametrize(
    ("caps", "message"),
    [
        ({}, "caps names no cap"),
        ({"usd": 0}, "greater than 0"),
        ({"tokens": 1.5}, "integer"),
        ({"calls": True}, "a number is needed"),
        ({"wall_s": float("inf")}, "finite"),
        ({"seconds": 3}, "Extra inputs"),
    ],
)
def test_caps_that_mean_nothing_are_refused(caps: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(caps=caps)
