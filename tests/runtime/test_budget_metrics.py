"""What Prometheus reads of budgets is what is, and nobody waits while it is written."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from planner.spec import Window
from profiles.errors import BudgetRefusedError
from runtime.ledger import Ledger, Scope
from runtime.ledger.scopes import Unit
from runtime.metrics import Metrics
from runtime.strategies import Tools

HOUR = Scope("hour", 2_500_000_000, Window.HOUR)
NOW_S = 7_200.0


def metrics(ledger: Ledger) -> Metrics:
    return Metrics(ledger, Tools({}), digest="d", provider="CPU")


def values(ledger: Ledger) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("inferbudget_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics(ledger).text().decode())
        for sample in family.samples
    }


def test_a_budget_says_its_limit_and_when_its_window_begins_and_ends() -> None:
    rolling = Scope("rolling", 10**9, Window.HOUR, rolling=True)
    counted = Scope("counted")
    ledger = Ledger([HOUR, rolling, counted], lambda: NOW_S + 5)
    ledger.hold("r", 100).close()
    found = values(ledger)
    limits = {key[1]: value for key, value in found.items() if key[0] == "budget_limit_usd"}
    assert limits == {"hour": 2.5, "rolling": 1.0}
    assert found["budget_window_start_timestamp_seconds", "hour"] == 7_200
    assert found["budget_window_end_timestamp_seconds", "hour"] == 10_800
    assert not [key for key in found if "window" in key[0] and key[1] != "hour"]


def test_dollars_are_told_as_dollars() -> None:
    ledger = Ledger([HOUR, Scope("counted")], lambda: NOW_S)
    ledger.hold("open", 500_000_000)
    hold = ledger.hold("r", 1_000_000_000)
    hold.call(1_000_000_000).settle(250_000_001)
    hold.close()
    found = values(ledger)
    assert found["spend_usd_total", "hour"] == 0.250000001
    assert found["held_usd", "hour"] == 0.5
    assert found["budget_remaining_usd", "hour"] == 1.749999999
    assert found["spend_usd_total", "counted"] == 0.250000001
    assert ("budget_remaining_usd", "counted") not in found


def test_other_units_than_dollars_are_told_in_their_own() -> None:
    scopes = [
        HOUR,
        Scope("t", 1_000, Window.HOUR, Unit.TOKENS),
        Scope("g", 5_000_000_000, Window.HOUR, Unit.NANO_GPU_S),
        Scope("n", 10, Window.HOUR, Unit.REQUESTS),
        Scope("f", 3, unit=Unit.IN_FLIGHT),
    ]
    ledger = Ledger(scopes, lambda: NOW_S)
    hold = ledger.hold("r", 100, tokens=300, nano_gpu_s=2_000_000_000)
    call = hold.call(100, tokens=300, nano_gpu_s=2_000_000_000)
    during = values(ledger)
    assert during["units_held", "t", "tokens"] == 300
    assert during["units_remaining", "f", "in_flight"] == 2
    assert during["open_holds",] == 1
    call.settle(50, tokens=120, nano_gpu_s=500_000_000)
    hold.close()
    after = values(ledger)
    assert after["units_spent_total", "t", "tokens"] == 120
    assert after["units_spent_total", "g", "gpu_s"] == 0.5
    assert after["units_remaining", "g", "gpu_s"] == 4.5
    assert after["units_remaining", "n", "requests"] == 9
    assert after["units_held", "f", "in_flight"] == 0
    assert not [key for key in after if key[0].startswith("units") and key[1] == "hour"]
    assert not [key for key in after if "usd" in key[0] and key[1:] not in {(), ("hour",)}]


@pytest.mark.parametrize("unit", list(Unit))
def test_what_a_budget_of_any_unit_refused_is_told(unit: Unit) -> None:
    ledger = Ledger([Scope("a", 0, Window.HOUR, unit)], lambda: NOW_S)
    for number in range(3):
        with pytest.raises(BudgetRefusedError):
            ledger.hold(f"r{number}", 1, tokens=1, nano_gpu_s=1)
    assert values(ledger)["refused_holds_total", "a"] == 3


def test_dollars_that_no_hold_covered_are_told() -> None:
    ledger = Ledger([HOUR], lambda: NOW_S)
    hold = ledger.hold("r", 100)
    hold.call(100).settle(1_500_000_100)
    hold.close()
    found = values(ledger)
    assert found["overrun_usd_total",] == 1.5
    assert found["bound_exceeded_total",] == 1


def test_no_name_breaks_a_line() -> None:
    name = 'a "quoted" \\ name\nof two lines'
    assert values(Ledger([Scope(name, 10**9)], lambda: NOW_S))["budget_limit_usd", name] == 1


@pytest.mark.asyncio
async def test_others_get_their_turn_while_many_budgets_are_written() -> None:
    ledger = Ledger([Scope(f"s{n}", 10**9, Window.HOUR) for n in range(5_000)], lambda: NOW_S)
    found = metrics(ledger)
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(another())
    page = await found.page()
    task.cancel()
    assert turns > 50
    assert page == found.text()
