from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from planner.spec import Window
from runtime import pacing
from runtime.ledger import Ledger, Scope, ScopeState
from runtime.pacing.arrivals import Recent

DAY_S = 86_400
HOUR_S = 3_600
shapes = st.lists(st.floats(0, 100), min_size=2, max_size=30).filter(lambda parts: sum(parts) > 1)


def in_window(now_s: float, window: Window, admitted: int, *, rolling: bool = False) -> ScopeState:
    ledger = Ledger([Scope("a", 10**9, window, rolling=rolling)], lambda: now_s)
    for number in range(admitted):
        ledger.hold(f"r{number}", 1)
    return ledger.state("a")


def left(state: ScopeState, forecast: float, now_s: float) -> float:
    found = pacing.requests_left(forecast, state, now_s)
    assert found is not None
    return found


def test_a_total_counts_what_was_admitted() -> None:
    total = in_window(60_000.0, Window.TOTAL, 3)
    assert left(total, 10, 60_000.0) == 7
    assert left(total, 2, 60_000.0) == 0


def test_traffic_as_forecast_leaves_the_forecasts_share_of_the_time() -> None:
    minute = in_window(60_000.0, Window.MINUTE, 90)
    assert left(minute, 120, 60_045.0) == pytest.approx(30)
    assert left(minute, 120, 60_060.0) == 1


def test_what_came_corrects_the_forecast() -> None:
    # half a window, a forecast that is worth a tenth of one: (0.1 * 100 + n) / 0.6 in all
    for came, expected in ((200, 175.0), (0, 10 / 1.2)):
        assert left(in_window(60_000.0, Window.MINUTE, came), 100, 60_030.0) == pytest.approx(
            expected
        )


def test_a_forecast_that_nobody_made_stays_unknown() -> None:
    assert pacing.requests_left(None, in_window(60_000.0, Window.MINUTE, 1), 60_000.0) is None


def test_a_rolling_window_looks_a_sixteenth_of_itself_ahead() -> None:
    hour = in_window(60_000.0, Window.HOUR, 5, rolling=True)
    assert left(hour, 1_600, 60_000.0) == 100


@given(
    st.floats(0, 1e9),
    st.integers(0, 10**9),
    st.floats(-1e6, 1e12),
    st.sampled_from([window for window in Window if window is not Window.TOTAL]),
    st.none() | shapes,
)
def test_at_any_moment_a_finite_number_of_at_least_one_is_left(
    forecast: float, came: int, now_s: float, window: Window, parts: list[float] | None
) -> None:
    found = in_window(1_700_000_000.0, window, 0)
    shape = None if parts is None else pacing.Shape(parts)
    recent: dict[str, Recent] = {}
    for requests, moment in ((came // 2, 1_700_000_000.0), (came, now_s)):
        state = replace(found, requests=requests)
        number = pacing.requests_left(forecast, state, moment, shape=shape, recent=recent)
        assert number is not None
        assert math.isfinite(number)
        assert number >= 1


# ------------------------------------------------------------------- shape


def by_minutes(parts: list[float], start_s: int, end_s: int, now_s: int, period_s: int) -> float:
    """The share of a shape's load, minute by minute; parts are whole minutes."""

    def load(until_s: int) -> float:
        total = 0.0
        for moment in range(start_s, until_s, 60):
            place = (moment - (4 * DAY_S if period_s > DAY_S else 0)) % period_s
            total += parts[place * len(parts) // period_s]
        return total

    return load(now_s) / load(end_s)


@given(
    st.lists(st.integers(1, 9), min_size=24, max_size=24)
    | st.lists(st.integers(0, 9), min_size=7, max_size=7).filter(any),
    st.integers(0, 60 * 24 * 7),
    st.integers(1, 60 * 24),
    st.data(),
)
def test_a_shape_counts_load_as_minute_by_minute(
    parts: list[float], start: int, length: int, data: st.DataObject
) -> None:
    start_s, end_s = start * 60, (start + length) * 60
    now_s = data.draw(st.integers(start, start + length)) * 60
    period_s = DAY_S * (7 if len(parts) % 7 == 0 else 1)
    try:
        expected = by_minutes(parts, start_s, end_s, now_s, period_s)
    except ZeroDivisionError:
        expected = (now_s - start_s) / (end_s - start_s)
    found = pacing.Shape(parts).share_gone(start_s, end_s, now_s)
    assert found == pytest.approx(expected, abs=1e-9)


@given(shapes, st.floats(0, 2e9), st.floats(1, 1e7), st.floats(-1, 2), st.floats(-1, 2))
@example(parts=[1.0, 0.0], start_s=50_000.0, length_s=30_000.0, one=0.1, other=0.9)
def test_the_share_gone_rises_from_none_to_all(
    parts: list[float], start_s: float, length_s: float, one: float, other: float
) -> None:
    shape, end_s = pacing.Shape(parts), start_s + length_s
    early, late = sorted((start_s + one * length_s, start_s + other * length_s))
    gone = [shape.share_gone(start_s, end_s, moment) for moment in (early, late)]
    assert 0 <= gone[0] <= gone[1] + 1e-9
    assert gone[1] <= 1
    assert shape.share_gone(start_s, end_s, end_s) == 1


def test_a_week_begins_on_monday() -> None:
    monday_s = 1_704_067_200  # 1 January 2024
    weekdays = pacing.Shape([1, 1, 1, 1, 1, 0, 0])
    gone = weekdays.share_gone(monday_s, monday_s + 7 * DAY_S, monday_s + 5 * DAY_S)
    assert gone == pytest.approx(1)


# ------------------------------------------------------------------- recent rates


def test_a_steady_rate_is_learnt_and_outlives_its_window() -> None:
    recent = Recent(100.0, 0.05, 0, 0.0, 0)
    for step in range(1, 101):
        recent.rate_at(0, step / 100, 10 * step)
    assert recent.rate == pytest.approx(1_000, rel=1e-6)
    recent.rate_at(HOUR_S, 0.02, 20)
    assert recent.rate == pytest.approx(1_000, rel=1e-6)
    for step in range(3, 101):
        recent.rate_at(HOUR_S, step / 100, 20 * step)
    assert recent.rate == pytest.approx(2_000, rel=1e-6)


@given(st.lists(st.tuples(st.floats(0, 0.1), st.integers(0, 100)), min_size=1, max_size=20))
def test_a_rate_does_not_depend_on_how_often_it_is_read(
    steps: list[tuple[float, int]],
) -> None:
    """One replica that looks at every request and one that looks ten times as often agree."""
    seldom, often = Recent(50.0, 0.05, 0, 0.0, 0), Recent(50.0, 0.05, 0, 0.0, 0)
    at, came = 0.0, 0
    for passed, more in steps:
        for part in range(1, 11):
            if more % 10 == 0:
                often.rate_at(0, at + passed * part / 10, came + more * part // 10)
        at, came = at + passed, came + more
        seldom.rate_at(0, at, came)
        often.rate_at(0, at, came)
        if more % 10:
            often.rate = seldom.rate
    assert often.rate == pytest.approx(seldom.rate, rel=1e-6)


def test_a_clock_that_steps_back_changes_no_rate() -> None:
    recent = Recent(100.0, 0.05, HOUR_S, 0.5, 40)
    assert recent.rate_at(HOUR_S, 0.3, 60) == 100.0
    assert recent.rate_at(0, 0.9, 60) == 100.0
    assert (recent.at, recent.came) == (0.5, 40)


def test_a_crowd_counts_at_once_and_quiet_does_not() -> None:
    ledger_now = [float(HOUR_S)]
    recent: dict[str, Recent] = {}
    begun = in_window(ledger_now[0], Window.HOUR, 0)
    pacing.requests_left(1_000, begun, HOUR_S, recent=recent)
    crowd = in_window(float(HOUR_S), Window.HOUR, 300)
    with_recent = pacing.requests_left(1_000, crowd, 1.05 * HOUR_S, recent=recent)
    without = pacing.requests_left(1_000, crowd, 1.05 * HOUR_S)
    assert with_recent is not None
    assert without is not None
    assert with_recent > 1.3 * without
    later = pacing.requests_left(1_000, crowd, 1.5 * HOUR_S, recent=recent)
    assert later == pacing.requests_left(1_000, crowd, 1.5 * HOUR_S)


def test_one_of_few_requests_is_no_crowd() -> None:
    recent: dict[str, Recent] = {}
    for came in (0, 1):
        found = in_window(float(HOUR_S), Window.HOUR, came)
        expected = pacing.requests_left(5, found, 1.01 * HOUR_S, recent=recent)
    assert expected is not None
    assert expected < 7


def test_a_rolling_window_goes_by_how_requests_came_lately() -> None:
    recent: dict[str, Recent] = {}
    for minute in range(61):
        now_s = 60_000.0 + 60 * minute
        found = in_window(now_s, Window.HOUR, 2 * minute, rolling=True)
        expected = pacing.requests_left(1_600, found, now_s, recent=recent)
    assert expected == pytest.approx(120 / 16, rel=1e-3)
