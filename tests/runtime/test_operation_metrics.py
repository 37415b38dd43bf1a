"""What Prometheus reads of what surrounds requests is what is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from planner.spec import Window
from runtime.ledger import Ledger, Scope
from runtime.ledger.scopes import Unit
from runtime.operation_metrics import BudgetCollector, SinkCollector, UpstreamCollector
from runtime.upstreams import BreakerState, FailureKind, Probed, UpstreamState

HOUR = Scope("hour", 2_500_000_000, Window.HOUR)
NOW_S = 7_200.0


def values(collector: Collector) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        (sample.name.removeprefix("inferbudget_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_a_budget_says_its_limit_and_when_its_window_begins_and_ends() -> None:
    rolling = Scope("rolling", 10**9, Window.HOUR, rolling=True)
    counted = Scope("counted")
    ledger = Ledger([HOUR, rolling, counted], lambda: NOW_S + 5)
    ledger.hold("r", 100).close()
    found = values(BudgetCollector(ledger))
    limits = {key[1]: value for key, value in found.items() if key[0] == "budget_limit_usd"}
    assert limits == {"hour": 2.5, "rolling": 1.0}
    assert found["budget_window_start_timestamp_seconds", "hour"] == 7_200
    assert found["budget_window_end_timestamp_seconds", "hour"] == 10_800
    assert not [key for key in found if "window" in key[0] and key[1] != "hour"]
    assert not [key for key in found if key[0] == "store_up"]


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
    during = values(BudgetCollector(ledger))
    assert during["units_held", "t", "tokens"] == 300
    assert during["units_remaining", "f", "in_flight"] == 2
    assert during["open_holds",] == 1
    call.settle(50, tokens=120, nano_gpu_s=500_000_000)
    hold.close()
    after = values(BudgetCollector(ledger))
    assert after["units_spent_total", "t", "tokens"] == 120
    assert after["units_spent_total", "g", "gpu_s"] == 0.5
    assert after["units_remaining", "g", "gpu_s"] == 4.5
    assert after["units_remaining", "n", "requests"] == 9
    assert after["units_held", "f", "in_flight"] == 0
    assert not [key for key in after if key[0].startswith("units") and key[1] == "hour"]


def test_dollars_that_no_hold_covered_are_told() -> None:
    ledger = Ledger([HOUR], lambda: NOW_S)
    hold = ledger.hold("r", 100)
    hold.call(100).settle(1_500_000_100)
    hold.close()
    assert values(BudgetCollector(ledger))["overrun_usd_total",] == 1.5


def test_a_store_that_does_not_answer_is_told() -> None:
    ledger = Ledger([HOUR], lambda: NOW_S)
    for answers in (True, False):
        assert values(BudgetCollector(ledger, lambda: answers))["store_up",] == answers  # noqa: B023


def test_an_upstream_is_in_one_state_of_its_breaker() -> None:
    failures = {FailureKind.TIMEOUT: 2}
    probed = Probed(good=False, ago_s=1.0, error="x")
    states = [
        UpstreamState("a", BreakerState.OPEN, 1.0, 3, 7, failures, {}, probed),
        UpstreamState("b", BreakerState.CLOSED, 1.0, 0, 1, {}, {}, None),
    ]
    found = values(UpstreamCollector(lambda: states))
    breakers = {key[1:]: value for key, value in found.items() if key[0] == "upstream_breaker"}
    assert {key for key, value in breakers.items() if value} == {("open", "a"), ("closed", "b")}
    assert len(breakers) == 6
    assert (found["upstream_in_flight", "a"], found["upstream_calls_total", "a"]) == (3, 7)
    assert found["upstream_failures_total", "timeout", "a"] == 2
    assert found["upstream_probe_good", "a"] == 0
    assert ("upstream_probe_good", "b") not in found


def test_what_is_written_and_lost_is_told_of_what_there_is() -> None:
    sink: Any = SimpleNamespace(written=5, lost=2, waiting=1)
    found = values(SinkCollector(sink, None, lambda: 4))
    assert found == {
        ("recorder_written_total",): 5,
        ("recorder_lost_total",): 2,
        ("recorder_waiting",): 1,
        ("log_lines_lost_total",): 4,
    }
