"""Money that is owed whatever the requests are: in the spec, in the plan, in the limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from group_worlds import COLUMN, random_truth
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from worlds import make_profile, make_spec, random_profile

from planner.estimating.deployed import fees_of
from planner.estimating.estimates import estimate
from planner.fees.break_even import break_even
from planner.fees.fixed_costs import settled
from planner.plan import Plan, read_plan
from planner.solve import solve
from planner.spec import Spec, Window
from profiles.errors import InfeasibleError, InputError
from profiles.money import PriceCard
from profiles.profile import Profile

ACCURACY = [[0.70, 0.90, 0.92], [0.40, 0.70, 0.80]]
COST = [[1e-5, 1e-3, 1e-4], [2e-5, 2e-3, 2e-4]]
TRAFFIC = {"requests": 100_000, "per": "month"}


def tuning(**keys: Any) -> dict[str, Any]:
    return {"name": "tuning", "pays_for": ["m02"], "usd": 60.0, "per": "month", **keys}


def asked(*fees: dict[str, Any], **keys: Any) -> Spec:
    return make_spec(
        **{
            "traffic": TRAFFIC,
            "limits": {"accuracy": {"overall": 0.7}},
            "fixed_costs": list(fees),
            **keys,
        }
    )


def solved(profile: Profile, spec: Spec) -> Plan:
    return solve(profile, spec, prices=PriceCard(), estimator=None)


def test_a_spec_without_fixed_costs_is_digested_as_before_there_were_any() -> None:
    written = make_spec(traffic=TRAFFIC).model_dump(mode="json")
    assert not {"fixed_costs", "pay"} & set(written)
    assert '"fixed_costs"' not in solved(make_profile(ACCURACY, COST), make_spec()).to_json()


def test_a_plan_with_fixed_costs_is_read_back(tmp_path: Path) -> None:
    profile, spec = make_profile(ACCURACY, COST), asked(tuning())
    plan = solved(profile, spec)
    plan.write(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan
    assert plan.spec_digest == spec.content_digest(Path())
    assert plan.to_json() == solved(profile, spec).to_json()


def test_a_plan_pays_what_its_traffic_is_worth_and_states_the_totals() -> None:
    profile = make_profile(ACCURACY, COST)
    fees = [tuning(), {"name": "rent", "pays_for": ["m01"], "usd": 5.0, "per": "month"}]
    plan = solved(profile, asked(*fees))
    assert plan.fixed_costs is not None
    assert plan.fixed_costs.per is Window.MONTH
    assert (plan.fixed_costs.paid, plan.fixed_costs.not_paid) == ({"tuning": 60.0}, {"rent": 5.0})
    assert {s for shares in plan.rungs[0].allocation.values() for s in shares} <= {
        "m00/single", "m02/single",
    }  # fmt: skip
    for figures, total in (
        (plan.rungs[0].expected, plan.fixed_costs.expected_total_usd),
        (plan.rungs[0].promised, plan.fixed_costs.promised_total_usd),
    ):
        assert total == pytest.approx(60 + 100_000 * (figures.cost_usd_per_request or np.nan))
    few = solved(profile, asked(*fees, traffic={"requests": 1000, "per": "month"}))
    assert few.fixed_costs is not None
    assert few.fixed_costs.paid == {"rent": 5.0}


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_fees_of_zero_give_the_plain_plan(seed: int) -> None:
    profile = random_profile(np.random.default_rng(seed), 2, 4)
    limits = {"accuracy": {"overall": 0.4}}
    free = [
        {"name": f"fee {s}", "pays_for": [f"m{s:02d}"], "usd": 0, "per": "month"} for s in range(4)
    ]
    try:
        plain = solved(profile, make_spec(limits=limits, traffic=TRAFFIC))
    except InfeasibleError:
        return
    plan = solved(profile, asked(*free, limits=limits))
    assert plan.fixed_costs is not None
    assert set(plan.fixed_costs.paid) == {"fee 0", "fee 1", "fee 2", "fee 3"}
    assert plan.rungs == plain.rungs
    assert plan.best_single_strategy == plain.best_single_strategy


def test_a_sum_owed_once_is_shared_by_the_windows_it_serves() -> None:
    fee = tuning(usd=1200.0, per="total", windows=12)
    assert asked(fee).fees_usd == 100.0
    (own,) = asked(fee).fixed_costs
    assert own.usd_per(Window.MONTH) == 100.0


def test_a_limit_on_a_sum_of_dollars_covers_the_fees() -> None:
    profile = make_profile(ACCURACY, COST)

    def within(usd: float, **keys: Any) -> Plan:
        limits = {"accuracy": {"overall": 0.7}, "spend": {"usd": usd, "per": "month"}}
        return solved(profile, asked(tuning(), limits=limits, **keys))

    plan = within(80.0)
    assert plan.limits.spend is not None
    assert plan.limits.spend.usd == pytest.approx(20.0)
    assert plan.fixed_costs is not None
    assert plan.fixed_costs.promised_total_usd <= 80.0
    with pytest.raises(InfeasibleError, match=r"spend\.usd_per_request"):
        within(65.0)
    with pytest.raises(InfeasibleError, match=r"leave nothing of limits\.spend\.usd"):
        within(59.0, pay=["tuning"])


def test_where_no_set_keeps_the_limits_the_clash_is_that_of_the_largest_with_money_left() -> None:
    spend = {"usd": 300.0, "per": "month"}
    limits = {"accuracy": {"overall": 0.99}, "spend": spend}
    spec = asked(tuning(), tuning(name="rent", pays_for=["m01"], usd=3000.0), limits=limits)
    assert settled(make_profile(ACCURACY, COST), spec).pay == ("tuning",)
    with pytest.raises(InfeasibleError, match=r"accuracy\.overall 0\.99"):
        solved(make_profile(ACCURACY, COST), spec)


def test_the_spec_may_say_itself_what_is_paid() -> None:
    profile = make_profile(ACCURACY, COST)
    plan = solved(profile, asked(tuning(), pay=[]))
    assert plan.fixed_costs is not None
    assert plan.fixed_costs.not_paid == {"tuning": 60.0}
    assert settled(profile, asked(tuning(), pay=[])).pay == ()
    assert asked(tuning(), pay=[]).content_digest(Path()) != asked(tuning()).content_digest(Path())


def test_every_set_is_judged_by_the_same_numbers() -> None:
    profile = random_profile(np.random.default_rng(3), 3, 6)
    fee = {"name": "rent", "pays_for": ["m01", "m04"], "usd": 5.0, "per": "month"}
    whole = estimate(profile, asked(fee, pay=["rent"]))
    part = estimate(profile, asked(fee, pay=[]))
    kept = ~np.isin(whole.strategy_of, [1, 4])
    assert part.strategies == whole.strategies
    for name in ("accuracy", "accuracy_careful", "accuracy_floor", "cost_usd", "exceedance_sd"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[..., kept])
    assert [cell.strategy for cell in part.cells] == [
        cell.strategy for cell, own in zip(whole.cells, kept, strict=True) if own
    ]


def test_limits_on_groups_hold_over_what_is_paid_for() -> None:
    rng = np.random.default_rng(2)
    profile = random_truth(rng).measured(rng, 400, 0.4)
    dear = profile.strategies[-1]
    fee = {"name": "rent", "pays_for": [dear], "usd": 1e6, "per": "month"}
    limits = {"accuracy": {"by_group": {COLUMN: {"g0": 0.3}}, "max_gap": {COLUMN: 0.9}}}
    plan = solved(profile, asked(fee, limits=limits))
    assert plan.fixed_costs is not None
    assert plan.fixed_costs.paid == {}
    rung = plan.rungs[0]
    assert dear not in {name for shares in rung.allocation.values() for name in shares}
    assert (rung.by_group[COLUMN]["g0"].promised_accuracy or 0.0) >= 0.3 - 1e-6
    (change,) = break_even(profile, asked(fee, limits=limits), draws=20).unused.values()
    assert change.requests is None


@pytest.mark.parametrize(
    ("pays_for", "strategy", "needed"),
    [
        ("small", "small/best_of_n(n=4,verifier=v)", True),
        ("small", "small-tuned/single", False),
        ("org/small", "org/small/single", True),
        ("small", "cascade(accept=v,stages=[small/single,large/single])", True),
        ("small/single", "cascade(accept=v,stages=[small/single,large/single])", True),
        ("small/single", "small/best_of_n(n=4,verifier=v)", False),
        ("small/best_of_n(verifier=v, n=4)", "small/best_of_n(n=4,verifier=v)", True),
    ],
)
def test_a_strategy_needs_what_pays_for_its_models_and_stages(
    pays_for: str, strategy: str, *, needed: bool
) -> None:
    assert bool(fees_of(asked(tuning(pays_for=[pays_for])), strategy)) is needed


def test_a_strategy_needs_every_fixed_cost_that_names_it() -> None:
    both = asked(tuning(), {**tuning(), "name": "rent"})
    assert fees_of(both, "m02/single") == {"tuning", "rent"}
    profile = make_profile(ACCURACY, COST)
    plan = solved(profile, both)
    assert plan.fixed_costs is not None
    assert set(plan.fixed_costs.paid) in ({"tuning", "rent"}, set())


def test_an_unknown_model_is_named_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match="did you mean 'm02'") as caught:
        solved(make_profile(ACCURACY, COST), asked(tuning(pays_for=["m2"])))
    assert caught.value.where == "fixed_costs.0.pays_for"


def test_a_class_that_nothing_paid_for_answers_is_named() -> None:
    everything = tuning(pays_for=["m00", "m01", "m02"])
    with pytest.raises(InfeasibleError, match="answers class c0: without 'tuning'"):
        solved(make_profile(ACCURACY, COST), asked(everything, pay=[]))
    plan = solved(make_profile(ACCURACY, COST), asked(everything))
    assert plan.fixed_costs is not None
    assert plan.fixed_costs.paid == {"tuning": 60.0}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"objective": "maximize accuracy"}, "need the objective 'minimize cost'"),
        ({"traffic": None}, "need traffic"),
        ({"pay": ["tunning"]}, "no fixed cost is called 'tunning'; did you mean 'tuning'?"),
        ({"fixed_costs": [tuning(), tuning()]}, "two fixed costs are called 'tuning'"),
        ({"fixed_costs": [tuning(per="day")]}, "per month and 'tuning' is per day"),
        ({"fixed_costs": [tuning(per="total")]}, "say in windows how many months share it"),
        ({"fixed_costs": [tuning(windows=3)]}, "windows is for sums owed once"),
        ({"fixed_costs": [tuning(usd=-1)]}, "greater than or equal to 0"),
        ({"fixed_costs": [tuning(name=f"{i}") for i in range(11)]}, "at most 10 fixed costs"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        asked(tuning(), **keys)
