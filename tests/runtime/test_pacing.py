from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planner.spec import Window
from policies.policy import Budget
from runtime import pacing
from runtime.ledger import Ledger, Scope

ladders = st.lists(st.floats(1, 1e6), min_size=1, max_size=6, unique=True).map(
    lambda costs: sorted(costs, reverse=True)
)
money = st.integers(0, 10**9)
counts = st.floats(0.5, 1e6)


uniforms = st.floats(0, 1, exclude_max=True)


@given(ladders, money, counts)
def test_the_drawn_rungs_spend_what_the_money_carries_on_average(
    costs: list[float], remaining: int, left: float
) -> None:
    draws = 4096
    drawn = [
        pacing.rung(
            costs, remaining_nano_usd=remaining, requests_left=left, uniform=(n + 0.5) / draws
        )
        for n in range(draws)
    ]
    mean = sum(costs[index] for index in drawn) / draws
    pace = remaining / left
    step = (costs[0] - costs[-1]) / draws
    within = min(max(pace, costs[-1]), costs[0])
    assert abs(mean - within) <= step + 1e-5 * within
    assert max(drawn) - min(drawn) <= 1


@given(ladders, money, money, counts, uniforms)
def test_more_money_never_lowers_the_rung(
    costs: list[float], one: int, other: int, left: float, uniform: float
) -> None:
    poor, rich = sorted((one, other))
    with_rich = pacing.rung(costs, remaining_nano_usd=rich, requests_left=left, uniform=uniform)
    assert with_rich <= pacing.rung(
        costs, remaining_nano_usd=poor, requests_left=left, uniform=uniform
    )


@given(ladders, money, counts, counts, uniforms)
def test_more_requests_to_come_never_raise_the_rung(
    costs: list[float], remaining: int, one: float, other: float, uniform: float
) -> None:
    few, many = sorted((one, other))
    with_few = pacing.rung(costs, remaining_nano_usd=remaining, requests_left=few, uniform=uniform)
    assert with_few <= pacing.rung(
        costs, remaining_nano_usd=remaining, requests_left=many, uniform=uniform
    )


@given(ladders, money, counts, money, uniforms)
def test_a_reserve_is_money_that_is_not_there(
    costs: list[float], remaining: int, left: float, reserve: int, uniform: float
) -> None:
    kept = pacing.rung(
        costs,
        remaining_nano_usd=remaining,
        requests_left=left,
        uniform=uniform,
        reserve_nano_usd=reserve,
    )
    less = pacing.rung(
        costs, remaining_nano_usd=remaining - reserve, requests_left=left, uniform=uniform
    )
    assert kept == less


def test_no_budget_and_no_forecast_mean_the_plan_as_asked() -> None:
    assert pacing.rung([3, 2, 1], remaining_nano_usd=None, requests_left=5, uniform=0.9) == 0
    assert pacing.rung([3, 2, 1], remaining_nano_usd=5, requests_left=None, uniform=0.9) == 0


def test_traffic_beyond_the_forecast_gets_the_cheapest_rung() -> None:
    assert pacing.rung([3, 2, 1], remaining_nano_usd=10**9, requests_left=0, uniform=0.0) == 2


def test_a_budget_that_the_plan_spends_exactly_stays_on_the_first_rung() -> None:
    cost = 0.1 * 3 * 1e3
    chosen = pacing.rung(
        [cost, 1], remaining_nano_usd=300_000, requests_left=1000, uniform=1 - 2**-24
    )
    assert chosen == 0


def test_a_rung_of_unknown_cost_is_passed_over_where_a_budget_asks() -> None:
    assert pacing.rung([None, 2.0], remaining_nano_usd=100, requests_left=10, uniform=0.0) == 1


def test_requests_left_follow_the_count_in_a_total_and_the_clock_in_a_calendar_window() -> None:
    now = 60_000.0
    ledger = Ledger([Scope("total", 10), Scope("minute", 10, Window.MINUTE)], lambda: now)
    for number in range(3):
        ledger.hold(f"r{number}", 1)
    total, minute = ledger.snapshot().scopes
    assert pacing.requests_left(10, total, now) == 7
    assert pacing.requests_left(2, total, now) == 0
    assert pacing.requests_left(120, minute, now + 45) == 30
    assert pacing.requests_left(120, minute, now + 60) == 1
    assert pacing.requests_left(None, minute, now) is None


def test_a_forecast_is_the_plans_or_what_the_mean_pays_for() -> None:
    assert pacing.forecast(Budget(limit_usd=10, usd_per_request=2, requests=7)) == 7
    assert pacing.forecast(Budget(limit_usd=10, usd_per_request=2)) == 5
    assert pacing.forecast(Budget(usd_per_request=2)) is None
