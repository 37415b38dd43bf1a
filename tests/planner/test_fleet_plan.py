"""Whole GPUs by hour: against brute force, and as people expect of prices and demand."""

from __future__ import annotations

import itertools
import json
import math
from functools import cache

import pytest
from fleet_worlds import (
    CHEAP,
    DEAR,
    FIRST,
    MIXED,
    SECOND,
    STEADY,
    TAIL,
    day,
    fleet_question,
    wave,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.fleet.certified import CertifiedPlan
from planner.fleet.fleet import plan_fleet
from planner.fleet.question import FleetQuestion
from planner.fleet.queueing import usable_load
from profiles.errors import InfeasibleError, InputError, UnknownValueError, UnprovenError

PLANS = (CHEAP, MIXED, DEAR)
usable = cache(usable_load)


def service_and_load(plan: CertifiedPlan, server: dict, requests: float) -> tuple[float, float]:
    per_request = sum(
        share * server["gpu_s"][name] * server["slots"] / server["gpus"]
        for name, share in plan.allocation["c"].items()
    )
    return per_request, requests / 3600 * per_request


def cheapest_hour(
    question: FleetQuestion, servers: list[dict], plan: CertifiedPlan, requests: float,
    reserved: tuple[int, ...],
) -> float:  # fmt: skip
    """Dollars on demand beyond what is reserved, over every number of replicas."""
    if not requests:
        return 0.0
    best = math.inf
    for replicas in itertools.product(range(8), repeat=len(servers)):
        covered = 0.0
        for server, count in zip(servers, replicas, strict=True):
            service_s, load = service_and_load(plan, server, requests)
            covered += usable(count * server["slots"], service_s, question.headroom) / load
        if covered < 1 - 1e-12:
            continue
        usd = 0.0
        for (name, gpu), held in zip(question.gpus.items(), reserved, strict=True):
            needed = sum(
                count * server["gpus"]
                for server, count in zip(servers, replicas, strict=True)
                if server["gpu"] == name
            )
            if gpu.at_most is not None and needed > gpu.at_most:
                usd = math.inf
            usd += max(0, needed - held) * gpu.usd_per_hour
        best = min(best, usd)
    return best


def by_brute_force(question: FleetQuestion, servers: list[dict], plans: tuple) -> float:
    busy = [hour for hour in range(24) if question.requests[hour]]
    total = sum(question.requests)
    best = math.inf
    for reserved in itertools.product(range(4), repeat=len(question.gpus)):
        fixed = sum(
            24 * held * (gpu.reserved_usd_per_hour or math.inf if held else 0.0)
            for held, gpu in zip(reserved, question.gpus.values(), strict=True)
        )
        if fixed >= best:
            continue
        cost = {
            (hour, plan.name): cheapest_hour(
                question, servers, plan, question.requests[hour], reserved
            )
            for hour in busy
            for plan in plans
        }
        for chosen in itertools.product(plans, repeat=len(busy)):
            promised = [plan.promised_accuracy for plan in chosen]
            if question.accuracy and question.accuracy.over == "hour":
                accurate = min(promised) >= question.accuracy.promised
            elif question.accuracy:
                asked = [question.requests[hour] for hour in busy]
                mean = sum(n * p for n, p in zip(asked, promised, strict=True)) / total
                accurate = mean >= question.accuracy.promised
            else:
                accurate = all(plan is plans[0] for plan in chosen)
            if accurate:
                usd = fixed + sum(
                    cost[hour, plan.name] for hour, plan in zip(busy, chosen, strict=True)
                )
                best = min(best, usd)
    return best


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(0, 3000), min_size=3, max_size=3).filter(any),
    st.sampled_from([STEADY, TAIL, {"rule": "square root", "wait_s": 1.0}]),
    st.sampled_from([None, {"promised": 0.8, "over": "hour"}, {"promised": 0.8, "over": "period"}]),
    st.sampled_from([1, 2]),
    st.floats(0.05, 1.0),
)
def test_small_fleets_cost_what_brute_force_finds(
    asked: list[int], headroom: dict, accuracy: dict | None, shapes: int, discount: float
) -> None:
    servers = [FIRST, SECOND][:shapes]
    gpus = {
        "h200": {"usd_per_hour": 4.0, "reserved_usd_per_hour": 4.0 * discount},
        "h100": {"usd_per_hour": 2.6, "reserved_usd_per_hour": 2.6 * discount},
    }
    hours = day(h2=asked[0], h9=asked[1], h15=asked[2])
    question = fleet_question(
        hours, servers, headroom=headroom, accuracy=accuracy, gpus=dict(list(gpus.items())[:shapes])
    )
    plans = (CHEAP, DEAR)
    fleet = plan_fleet(question, plans)
    assert fleet.proven
    expected = by_brute_force(question, servers, plans)
    assert fleet.usd == pytest.approx(expected, rel=1e-6)
    assert fleet.fractional_usd <= fleet.usd + 1e-9
    if fleet.rounded_up_usd is not None:
        assert fleet.rounded_up_usd >= fleet.usd * (1 - 1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(2000, 30000), st.floats(1.0, 2.0))
def test_more_demand_never_cheapens(peak: int, growth: float) -> None:
    before = plan_fleet(fleet_question(wave(peak), headroom=TAIL), PLANS)
    after = plan_fleet(fleet_question(wave(peak), headroom=TAIL, growth_factor=growth), PLANS)
    assert after.usd >= before.usd * (1 - 1e-6)


def test_every_hour_has_what_its_load_needs() -> None:
    question = fleet_question(wave(40_000), [FIRST, SECOND], headroom=TAIL)
    fleet = plan_fleet(question, PLANS, max_gap=0.02)
    for hour in fleet.hours:
        assert sum(one.share for one in hour.sets) == pytest.approx(1.0)
        for one in hour.sets:
            assert one.late_share <= 0.01
        for name in question.gpus:
            held = sum(one.gpus for one in hour.sets if one.gpu == name)
            assert held <= hour.reserved[name] + hour.on_demand[name]


def test_reservations_are_taken_where_they_pay_and_only_there() -> None:
    gpus = {"h200": {"usd_per_hour": 4.0, "reserved_usd_per_hour": 1.0}}
    flat = plan_fleet(fleet_question([20_000.0] * 24, gpus=gpus), PLANS)
    assert flat.on_demand_usd == 0
    # 5 busy hours of 24 cost 20 USD a GPU on demand, a reservation costs 24
    five = day(h1=9e3, h2=9e3, h3=9e3, h4=9e3, h5=9e3)
    spike = plan_fleet(fleet_question(five, gpus=gpus), PLANS)
    assert spike.reserved_usd == 0
    seven = day(h1=9e3, h2=9e3, h3=9e3, h4=9e3, h5=9e3, h6=9e3, h7=9e3)
    assert plan_fleet(fleet_question(seven, gpus=gpus), PLANS).on_demand_usd == 0


def test_reservations_of_a_day_follow_each_day_of_a_week() -> None:
    hours = [20_000.0] * 120 + [2_000.0] * 48
    gpus = {"h200": {"usd_per_hour": 4.0, "reserved_usd_per_hour": 2.0}}
    weekly = plan_fleet(fleet_question(hours, gpus=gpus), PLANS)
    daily = plan_fleet(fleet_question(hours, gpus=gpus, reserved_hours=24), PLANS)
    assert daily.usd < weekly.usd
    assert daily.on_demand_usd == 0
    assert daily.hours[0].reserved["h200"] > daily.hours[167].reserved["h200"]


@pytest.mark.parametrize("reserved_hours", [24, 168])
def test_equal_hours_solved_together_cost_the_same(reserved_hours: int) -> None:
    workday = [hour * 10 for hour in wave(1500)]
    hours = workday * 5 + [hour / 2 for hour in workday] * 2
    question = fleet_question(hours, headroom=TAIL, reserved_hours=reserved_hours)
    together = plan_fleet(question, PLANS)
    alone = plan_fleet(question, PLANS, together=False)
    assert together.usd == pytest.approx(alone.usd, rel=1e-6)


def test_spare_hours_of_reserved_gpus_run_the_better_plan() -> None:
    question = fleet_question(wave(20_000), accuracy={"promised": 0.8, "over": "period"})
    fleet = plan_fleet(question, PLANS, max_gap=0.001)
    assert fleet.promised_accuracy >= 0.8 - 1e-9
    every_hour = plan_fleet(
        fleet_question(wave(20_000), accuracy={"promised": 0.8, "over": "hour"}), PLANS
    )
    assert fleet.usd < every_hour.usd
    assert {hour.plan for hour in fleet.hours} > {"cheap"}


def test_of_equally_cheap_fleets_the_better_promise_runs() -> None:
    same = {"small": 1.0, "large": 1.0}
    question = fleet_question(
        wave(9000), [FIRST | {"gpu_s": same}], accuracy={"promised": 0.5, "over": "hour"}
    )
    assert {hour.plan for hour in plan_fleet(question, PLANS).hours if hour.requests} == {"dear"}


def test_without_a_floor_the_first_plan_runs_always() -> None:
    fleet = plan_fleet(fleet_question(wave(9000)), (DEAR, CHEAP))
    assert {hour.plan for hour in fleet.hours} == {"dear"}


def test_too_few_gpus_are_infeasible_and_say_how_many_it_takes() -> None:
    gpus = {"h200": {"usd_per_hour": 4.0, "at_most": 2}}
    question = fleet_question(wave(30_000), gpus=gpus)
    with pytest.raises(InfeasibleError, match="at_most is 2, hour 14 would hold"):
        plan_fleet(question, PLANS)


def test_a_floor_that_no_plan_promises_is_infeasible() -> None:
    question = fleet_question(wave(9000), accuracy={"promised": 0.9})
    with pytest.raises(InfeasibleError, match="the best, dear, promises"):
        plan_fleet(question, PLANS)


def test_no_time_is_unproven() -> None:
    question = fleet_question(
        wave(50_000), [FIRST, SECOND], accuracy={"promised": 0.8, "over": "period"}
    )
    with pytest.raises(UnprovenError):
        plan_fleet(question, PLANS, time_limit_s=1e-6)


def test_whatever_time_there_is_an_answer_says_how_far_it_may_be_from_the_best() -> None:
    question = fleet_question(
        wave(50_000), [FIRST, SECOND], accuracy={"promised": 0.8, "over": "period"}
    )
    for time_limit_s in (0.05, 0.2, 1.0):
        try:
            fleet = plan_fleet(question, PLANS, time_limit_s=time_limit_s)
        except UnprovenError:
            continue
        assert fleet.bound_usd <= fleet.usd
        assert fleet.proven == (fleet.gap <= 1e-6)


def test_an_accepted_gap_says_how_much_cheaper_a_fleet_could_be() -> None:
    question = fleet_question(
        wave(50_000), [FIRST, SECOND], accuracy={"promised": 0.8, "over": "period"}
    )
    fleet = plan_fleet(question, PLANS, max_gap=0.2)
    assert fleet.bound_usd <= fleet.usd
    assert 0 <= fleet.gap <= 0.2


def test_what_is_bought_by_the_request_is_counted() -> None:
    bought = CertifiedPlan(
        "api", 0.9, {"c": 1.0}, {"c": {"api": 0.5, "small": 0.5}}, {"c": {"api": 0.01}}
    )
    fleet = plan_fleet(fleet_question(wave(9000), by_request=["api"]), (bought,))
    assert fleet.by_request_usd == pytest.approx(0.5 * 0.01 * sum(wave(9000)))


def test_a_strategy_without_a_pool_is_refused() -> None:
    stranger = CertifiedPlan("api", 0.9, {"c": 1.0}, {"c": {"api": 1.0}}, {"c": {"api": 0.01}})
    with pytest.raises(InputError, match="has no pool"):
        plan_fleet(fleet_question(wave(9000)), (stranger,))


def test_a_strategy_that_is_nearly_named_is_refused_with_the_name_that_is_near() -> None:
    stranger = CertifiedPlan("p", 0.9, {"c": 1.0}, {"c": {"smal": 1.0}}, {})
    with pytest.raises(InputError, match="the like of it: small"):
        plan_fleet(fleet_question(wave(9000)), (stranger,))


def test_an_unknown_price_of_a_bought_strategy_is_not_free() -> None:
    stranger = CertifiedPlan("api", 0.9, {"c": 1.0}, {"c": {"api": 1.0}}, {"c": {"api": None}})
    with pytest.raises(UnknownValueError, match="cost of this cell is unknown"):
        plan_fleet(fleet_question(wave(9000), by_request=["api"]), (stranger,))


def test_the_same_question_gives_the_same_bytes() -> None:
    question = fleet_question(wave(20_000), headroom=TAIL)
    first, second = (json.dumps(plan_fleet(question, PLANS).as_dict()) for _ in range(2))
    assert first == second


def test_peaks_within_the_hour_are_planned_for() -> None:
    steady = plan_fleet(fleet_question(wave(20_000), headroom=TAIL), PLANS)
    bursty = plan_fleet(fleet_question(wave(20_000), headroom=TAIL | {"peak_factor": 1.5}), PLANS)
    assert bursty.usd > steady.usd
