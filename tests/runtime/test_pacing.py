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


@given(ladders, money, counts)
def test_the_chosen_rung_is_the_dearest_that_the_money_carries(
    costs: list[float], remaining: int, left: float
) -> None:
    chosen = pacing.rung(costs, remaining_nano_usd=remaining, requests_left=left)
    slack = 1 + 1e-5
    assert costs[chosen] * left <= remaining * slack or chosen == len(costs) - 1
    assert all(cost * left > remaining for cost in costs[:chosen])


@given(ladders, money, money, counts)
def test_more_money_never_lowers_the_rung(
    costs: list[float], one: int, other: int, left: float
) -> None:
    poor, rich = sorted((one, other))
    with_rich = pacing.rung(costs, remaining_nano_usd=rich, requests_left=left)
    assert with_rich <= pacing.rung(costs, remaining_nano_usd=poor, requests_left=left)


@given(ladders, money, counts, counts)
def test_more_requests_to_come_never_raise_the_rung(
    costs: list[float], remaining: int, one: float, other: float
) -> None:
    few, many = sorted((one, other))
    with_few = pacing.rung(costs, remaining_nano_usd=remaining, requests_left=few)
    assert with_few <= pacing.rung(costs, remaining_nano_usd=remaining, requests_left=many)


@given(ladders, money, counts, money)
def test_a_reserve_is_money_that_is_not_there(
    costs: list[float], remaining: int, left: float, reserve: int
) -> None:
    kept = pacing.rung(
        costs, remaining_nano_usd=remaining, requests_left=left, reserve_nano_usd=reserve
    )
    less = pacing.rung(costs, remaining_nano_usd=remaining - reserve, requests_left=left)
    assert kept == less


def test_no_budget_and_no_forecast_mean_the_plan_as_asked() -> None:
    assert pacing.rung([3, 2, 1], remaining_nano_usd=None, requests_left=5) == 0
    assert pacing.rung([3, 2, 1], remaining_nano_usd=5, requests_left=None) == 0


def test_traffic_beyond_the_forecast_gets_the_cheapest_rung() -> None:
    assert pacing.rung([3, 2, 1], remaining_nano_usd=10**9, requests_left=0) == 2


def test_a_budget_that_the_plan_spends_exactly_stays_on_the_first_rung() -> None:
    cost = 0.1 * 3 * 1e3
    assert pacing.rung([cost, 1], remaining_nano_usd=300_000, requests_left=1000) == 0


def test_a_rung_of_unknown_cost_is_passed_over_where_a_budget_asks() -> None:
    assert pacing.rung([None, 2.0], remaining_nano_usd=100, requests_left=10) == 1


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
