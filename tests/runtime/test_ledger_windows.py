from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.spec import Window
from profiles.errors import BudgetRefusedError, InputError
from runtime.ledger import Ledger, Scope, Unit
from runtime.ledger.accounts import BUCKETS
from runtime.ledger.windows import span

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",  # clocks changed at midnight until 2019
    "America/St_Johns",  # clocks went back one minute after midnight until 2011
    "Asia/Kathmandu",
    "Pacific/Apia",  # left out a whole day in 2011
    "Africa/Cairo",
)
MOMENTS = st.integers(int(datetime(2005, 1, 1, tzinfo=UTC).timestamp()), 1_900_000_000)
LONG = st.sampled_from([Window.DAY, Window.WEEK, Window.MONTH])


class Clock:
    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@given(now_s=MOMENTS, window=st.sampled_from(list(Window)), zone=st.sampled_from(ZONES))
def test_spans_hold_their_moment_and_follow_each_other_without_gap(
    now_s: int, window: Window, zone: str
) -> None:
    found = span(window, now_s, zone)
    assert found.holds(now_s)
    if found.end_s is not None:
        assert span(window, found.end_s, zone).start_s == found.end_s
        assert span(window, found.end_s - 1, zone) == found == span(window, found.start_s, zone)


@given(now_s=MOMENTS, window=LONG, zone=st.sampled_from(ZONES))
def test_long_windows_begin_where_the_date_of_the_time_zone_turns(
    now_s: int, window: Window, zone: str
) -> None:
    found = span(window, now_s, zone)
    first = datetime.fromtimestamp(found.start_s, ZoneInfo(zone))
    before = datetime.fromtimestamp(found.start_s - 1, ZoneInfo(zone))
    assert first.date() > before.date()
    assert window is not Window.WEEK or first.weekday() == 0 or zone == "Pacific/Apia"
    assert window is not Window.MONTH or first.day == 1


def test_a_day_has_23_or_25_hours_where_clocks_change() -> None:
    spring = datetime(2026, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    autumn = datetime(2026, 10, 25, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    lengths = []
    for noon in (spring, autumn):
        found = span(Window.DAY, noon, "Europe/Berlin")
        assert found.end_s is not None
        lengths.append((found.end_s - found.start_s) / 3600)
    assert lengths == [23, 25]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"timezone": "Europe/Atlantis"}, "unknown time zone"),
        ({"timezone": "../../etc/passwd"}, "unknown time zone"),
        ({"limit": -1}, "negative"),
        ({"carry_over": 5}, "no window before it"),
        ({"rolling": True}, "cannot roll"),
        ({"rolling": True, "window": Window.DAY, "carry_over": 1}, "cannot roll"),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scope("all", **{"limit": 5, **wrong})  # type: ignore[arg-type]


def test_a_window_inherits_what_the_one_before_left_up_to_a_cap() -> None:
    clock = Clock()
    ledger = Ledger([Scope("all", 100, Window.HOUR, carry_over=30)], clock)
    ledger.hold("first", 80).close()
    call = ledger.hold("second", 80)
    call.call(80).settle(90)
    call.close()
    clock.now_s += 3600
    assert ledger.state("all").limit == 110
    clock.now_s += 3600
    assert ledger.state("all").limit == 130
    clock.now_s += 3 * 3600
    assert ledger.state("all").limit == 100  # hours in which nothing was asked leave nothing


def test_what_is_still_held_when_a_window_ends_is_not_inherited() -> None:
    clock = Clock()
    ledger = Ledger([Scope("all", 100, Window.HOUR, carry_over=100)], clock)
    late = ledger.hold("late", 70)
    clock.now_s += 3600
    assert ledger.state("all").limit == 130
    late.close()
    assert ledger.state("all").limit == 130


def test_tokens_requests_and_requests_in_flight_are_limited_as_money_is() -> None:
    clock = Clock()
    scopes = [
        Scope("usd", 1_000),
        Scope("tokens", 100, unit=Unit.TOKENS),
        Scope("gpu", 50, unit=Unit.NANO_GPU_S),
        Scope("requests", 3, Window.MINUTE, Unit.REQUESTS),
        Scope("in flight", 1, unit=Unit.IN_FLIGHT),
    ]
    ledger = Ledger(scopes, clock)
    first = ledger.hold("first", 10, tokens=60, nano_gpu_s=20)
    with pytest.raises(BudgetRefusedError, match="in flight") as refusal:
        ledger.hold("second", 10, tokens=10, nano_gpu_s=1)
    assert refusal.value.retry_after_s == 1.0
    first.call(10, tokens=60, nano_gpu_s=20).settle(5, tokens=40, nano_gpu_s=15)
    first.close()
    assert [ledger.state(scope.name).spent for scope in scopes] == [5, 40, 15, 1, 0]
    assert [ledger.state(scope.name).held for scope in scopes] == [0, 0, 0, 0, 0]
    with pytest.raises(
        BudgetRefusedError, match="61 tokens: of 100 tokens per total 40 tokens are spent"
    ):
        ledger.hold("third", 10, tokens=61, nano_gpu_s=1)
    for name in ("fourth", "fifth"):
        ledger.hold(name, 0, tokens=0, nano_gpu_s=0).close()
    with pytest.raises(
        BudgetRefusedError, match="1 requests: of 3 requests per minute 3 requests are spent"
    ):
        ledger.hold("sixth", 0, tokens=0, nano_gpu_s=0)


def test_a_budget_of_tokens_asks_how_many_a_request_may_use() -> None:
    ledger = Ledger([Scope("tokens", 100, unit=Unit.TOKENS)])
    with pytest.raises(InputError, match="nobody said how much of tokens"):
        ledger.hold("first", 10)
    assert ledger.snapshot().open_holds == 0


def test_a_scope_can_come_later_and_keeps_what_it_has_spent() -> None:
    ledger = Ledger([Scope("global", 1_000)])
    ledger.add(Scope("user:ann", 50))
    hold = ledger.hold("first", 30, ["global", "user:ann"])
    ledger.add(Scope("user:ann", 50))
    with pytest.raises(BudgetRefusedError, match="user:ann"):
        ledger.hold("second", 30, ["global", "user:ann"])
    hold.close()
    assert ledger.hold("third", 50, ["global", "user:ann"])


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(0, 30), st.floats(0, 1)),
        max_size=60,
    )
)
def test_every_true_rolling_window_holds_at_most_its_limit(
    steps: list[tuple[int, int, int, float]],
) -> None:
    """Whenever between hold and settlement the bill was made."""
    clock = Clock()
    ledger = Ledger([Scope("all", 60, Window.MINUTE, rolling=True)], clock)
    bills: list[tuple[float, int]] = []
    for number, (amount, before_s, after_s, when) in enumerate(steps):
        clock.now_s += before_s
        try:
            hold = ledger.hold(str(number), amount)
        except BudgetRefusedError:
            continue
        bills.append((clock.now_s + when * after_s, amount))
        call = hold.call(amount)
        clock.now_s += after_s
        call.settle(amount)
        hold.close()
    for end, _ in bills:
        assert sum(amount for moment, amount in bills if end - 60 < moment <= end) <= 60


def test_a_rolling_window_says_when_enough_has_left_it() -> None:
    clock = Clock(64_000.0)
    ledger = Ledger([Scope("all", 10, Window.MINUTE, rolling=True)], clock)
    for number, amount in enumerate((6, 4)):
        ledger.hold(str(number), amount).call(amount).settle(amount)
        clock.now_s += 20
    with pytest.raises(BudgetRefusedError) as refusal:
        ledger.hold("third", 5)
    wait_s = refusal.value.retry_after_s
    assert wait_s is not None
    assert 20 < wait_s <= 20 + 2 * 60 / BUCKETS
    clock.now_s += wait_s
    assert ledger.hold("third", 5)


def test_a_clock_that_steps_back_opens_no_window_twice() -> None:
    clock = Clock(3_600.0 * 100)
    ledger = Ledger([Scope("all", 10, Window.HOUR)], clock)
    ledger.hold("first", 10).call(10).settle(10)
    clock.now_s -= timedelta(hours=2).total_seconds()
    with pytest.raises(BudgetRefusedError):
        ledger.hold("second", 1)


def test_a_scope_takes_another_limit_and_keeps_what_it_has_spent() -> None:
    clock = Clock()
    ledger = Ledger([Scope("all", 100, Window.HOUR, carry_over=50)], clock)
    ledger.hold("first", 60).call(60).settle(60)
    clock.now_s += 3600
    assert ledger.state("all").limit == 140
    ledger.hold("second", 70).call(70).settle(70)
    ledger.redefine([Scope("all", 50, Window.HOUR, carry_over=50)])
    assert (ledger.state("all").limit, ledger.state("all").spent) == (90, 130 - 60)
    with pytest.raises(BudgetRefusedError):
        ledger.hold("third", 21)
    ledger.redefine([Scope("all", None, Window.HOUR, carry_over=50)])
    assert ledger.hold("third", 10**12)
    with pytest.raises(InputError, match="over which window"):
        ledger.redefine([Scope("all", 50, Window.DAY)])
    ledger.redefine([Scope("new", 5)])
    assert ledger.state("new").limit == 5


def test_a_lasting_scope_that_was_forgotten_lasts_no_more() -> None:
    ledger = Ledger([Scope("ann", 100), Scope("joe", 100)], Clock())
    ledger.remove("ann")
    ledger.add(Scope("ann", 5))
    assert [state.name for state in ledger.snapshot().scopes] == ["joe"]
    assert [state.name for state in ledger.snapshot(passing=True).scopes] == ["joe", "ann"]


def test_a_scope_that_counts_something_is_not_forgotten() -> None:
    clock = Clock()
    ledger = Ledger([], clock)
    ledger.add(Scope("user:ann", 100, Window.HOUR))
    hold = ledger.hold("first", 10)
    with pytest.raises(InputError, match="in use"):
        ledger.remove("user:ann")
    hold.call(10).settle(10)
    hold.close()
    with pytest.raises(InputError, match="in use"):
        ledger.remove("user:ann")
    clock.now_s += 3600
    ledger.remove("user:ann")
    ledger.remove("user:ann")
    assert ledger.snapshot(passing=True).scopes == ()
