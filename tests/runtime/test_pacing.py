from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planner.spec import Window
from policies.policy import Budget
from runtime import pacing
from runtime.ledger import ScopeState, Unit

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


def state(
    *,
    limit: int | None = 1_000,
    remaining: int | None = 1_000,
    requests: int = 0,
    window: Window = Window.HOUR,
    unit: Unit = Unit.NANO_USD,
    name: str = "a",
) -> ScopeState:
    """A budget; an hour that began at 3,600 s, unless the window never ends."""
    ends = None if window is Window.TOTAL else 7_200
    spent = 0 if limit is None or remaining is None else limit - remaining
    return ScopeState(
        name, unit, window, 3_600, ends, limit, spent, 0, remaining, requests, 0, spent
    )


def by_hand(
    costs: list[float], found: ScopeState, forecast: float, now_s: float, ratio: float
) -> float:
    """The pace of one hourly budget, written out."""
    assert found.remaining is not None
    gone = min(max((now_s - 3_600) / 3_600, 0), 1)
    worth = max(0.1, 10 / forecast)
    left = max((worth * forecast + found.requests) / (worth + gone) * (1 - gone), 1)
    pace = found.remaining / left / ratio * (1 + 1e-6)
    if pace >= costs[0]:
        return pace
    scarce = 1.0 if pace <= costs[-1] else (costs[0] - pace) / (costs[0] - costs[-1])
    return pace - 0.4 * costs[-1] * scarce


moments = st.floats(0, 10_000)
forecasts = st.floats(1, 2_000)
admitted = st.integers(0, 2_000)


@given(ladders, money, admitted, forecasts, moments, uniforms, st.floats(0.2, 5))
def test_one_budget_is_paced_as_written_out_by_hand(
    costs: list[float],
    remaining: int,
    requests: int,
    forecast: float,
    now_s: float,
    uniform: float,
    ratio: float,
) -> None:
    found = state(limit=10**9, remaining=remaining, requests=requests)
    pace = by_hand(costs, found, forecast, now_s, ratio)
    draws = [index for index in range(len(costs)) if costs[index] <= pace]
    if not draws:
        expected = {len(costs) - 1}
    elif draws[0] == 0:
        expected = {0}
    else:
        dear, cheap = costs[draws[0] - 1], costs[draws[0]]
        threshold = (pace - cheap) / (dear - cheap)
        near = abs(uniform - threshold) < 1e-9
        expected = {draws[0] - 1, draws[0]} if near else {draws[0] - (uniform < threshold)}
    assert (
        pacing.rung_of_all(
            costs,
            {"a": forecast},
            lambda _: found,
            now_s=now_s,
            uniform=uniform,
            cost_ratio=ratio,
        )
        in expected
    )


budgets = st.lists(
    st.tuples(
        money,
        admitted,
        st.none() | forecasts,
        st.sampled_from((Window.HOUR, Window.TOTAL)),
    ),
    max_size=3,
)


@given(ladders, budgets, moments, uniforms, st.data())
def test_more_money_in_any_budget_never_means_a_cheaper_rung(
    costs: list[float],
    drawn: list[tuple[int, int, float | None, Window]],
    now_s: float,
    uniform: float,
    data: st.DataObject,
) -> None:
    def chosen(more: list[int]) -> int:
        states = {
            str(place): state(
                limit=2 * 10**9, remaining=left + extra, requests=count, window=window
            )
            for place, ((left, count, _, window), extra) in enumerate(zip(drawn, more, strict=True))
        }
        said = {str(place): forecast for place, (_, _, forecast, _) in enumerate(drawn)}
        return pacing.rung_of_all(costs, said, states.__getitem__, now_s=now_s, uniform=uniform)

    poor = chosen([0] * len(drawn))
    rich = chosen([data.draw(money) for _ in drawn])
    assert 0 <= rich <= poor < len(costs)


@given(ladders, budgets, moments, uniforms)
def test_several_budgets_take_the_cheapest_rung_of_all(
    costs: list[float],
    drawn: list[tuple[int, int, float | None, Window]],
    now_s: float,
    uniform: float,
) -> None:
    states = {
        str(place): state(limit=10**9, remaining=left, requests=count, window=window)
        for place, (left, count, _, window) in enumerate(drawn)
    }
    said = {str(place): forecast for place, (_, _, forecast, _) in enumerate(drawn)}

    def chosen(names: list[str]) -> int:
        some = {name: said[name] for name in names}
        return pacing.rung_of_all(costs, some, states.__getitem__, now_s=now_s, uniform=uniform)

    assert chosen(list(said)) == max((chosen([name]) for name in said), default=0)


def test_money_for_the_first_rung_and_no_more_is_spent_on_it() -> None:
    found = state(limit=3_000, remaining=3_000)
    chosen = [
        pacing.rung_of_all([30, 10], {"a": 100.0}, lambda _: found, now_s=3_600, uniform=uniform)
        for uniform in (0.0, 1 - 2**-24)
    ]
    assert chosen == [0, 0]


def test_scarce_money_is_kept_for_more_requests_than_expected() -> None:
    # 14 a request carry the cheapest rung for 100 requests and for nearly 40 more
    for window, expected in ((Window.HOUR, 1), (Window.TOTAL, 0)):
        states = {"a": state(limit=1_400, remaining=1_400, window=window)}
        chosen = pacing.rung_of_all(
            [30, 10], {"a": 100.0}, states.__getitem__, now_s=3_600, uniform=0.1
        )
        assert chosen == expected


def test_a_budget_that_nobody_forecast_is_paced_by_the_clock() -> None:
    def chosen(requests: int, window: Window = Window.HOUR) -> int:
        # half the time is over, half the money is left, and it paid for 100 requests at first
        found = state(limit=3_000, remaining=1_500, requests=requests, window=window)
        return pacing.rung_of_all([30, 10], {"a": None}, lambda _: found, now_s=5_400, uniform=0.5)

    assert (chosen(50), chosen(150)) == (0, 1)
    assert chosen(150, Window.TOTAL) == 0


def test_a_reserve_is_kept_out_of_every_budget() -> None:
    found = state(limit=3_000, remaining=3_000)
    chosen = pacing.rung_of_all(
        [30, 10], {"a": 100.0}, lambda _: found, now_s=3_600, uniform=0.5, reserve_nano_usd=2_000
    )
    assert chosen == 1


def test_budgets_in_other_units_are_left_to_the_ledger() -> None:
    found = state(limit=10, remaining=0, unit=Unit.REQUESTS)
    assert (
        pacing.rung_of_all([30, 10], {"a": 100.0}, lambda _: found, now_s=5_000, uniform=0.5) == 0
    )


def test_ladders_without_any_known_cost_keep_a_rung_that_exists() -> None:
    found = state()
    for costs in ([None], [None, None], [0.0, 0.0]):
        step = pacing.rung_of_all(costs, {"a": 10.0}, lambda _: found, now_s=5_000, uniform=0.5)
        assert 0 <= step < len(costs)


def test_a_forecast_is_the_plans_or_what_the_mean_pays_for() -> None:
    assert pacing.forecast(Budget(limit_usd=10, usd_per_request=2, requests=7)) == 7
    assert pacing.forecast(Budget(limit_usd=10, usd_per_request=2)) == 5
    assert pacing.forecast(Budget(usd_per_request=2)) is None
