"""What Prometheus reads of what surrounds requests is what is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from runtime.operation_metrics import SinkCollector, StoreCollector, UpstreamCollector
from runtime.upstreams import BreakerState, FailureKind, Probed, UpstreamState


def values(collector: Collector) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        (sample.name.removeprefix("inferbudget_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_a_store_that_does_not_answer_is_told() -> None:
    assert values(StoreCollector(lambda: True)) == {("store_up",): 1}
    assert values(StoreCollector(lambda: False)) == {("store_up",): 0}


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
