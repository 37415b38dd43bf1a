"""Metrics of what surrounds requests: windows of budgets, upstreams, recorder, audit log, store.

Each collector reads its source when Prometheus asks, so that requests pay nothing for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.tenants.virtual_keys import KeyProblem
from runtime.upstreams import BreakerState, UpstreamState


class _Sink(Protocol):
    """What a recorder and an audit log have in common."""

    @property
    def written(self) -> int: ...

    @property
    def lost(self) -> int: ...

    @property
    def waiting(self) -> int: ...


class StoreCollector(Collector):
    """Whether the shared store of the budgets answers.

    Args:
        answers: Whether it answered last.
    """

    def __init__(self, answers: Callable[[], bool]) -> None:
        self._answers = answers

    def collect(self) -> Iterator[Metric]:
        """The family."""
        yield GaugeMetricFamily(
            "inferbudget_store_up",
            "1 where the shared budget store answered the last exchange.",
            value=float(self._answers()),
        )


class UpstreamCollector(Collector):
    """How the upstreams fare.

    Args:
        states: Tells it.
    """

    def __init__(self, states: Callable[[], Sequence[UpstreamState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """All families."""
        breaker = GaugeMetricFamily(
            "inferbudget_upstream_breaker",
            "1 for the state that the circuit breaker is in.",
            labels=["upstream", "state"],
        )
        in_flight = GaugeMetricFamily(
            "inferbudget_upstream_in_flight", "Calls that have not ended.", labels=["upstream"]
        )
        calls = CounterMetricFamily(
            "inferbudget_upstream_calls", "Calls that began.", labels=["upstream"]
        )
        failures = CounterMetricFamily(
            "inferbudget_upstream_failures", "Calls that failed.", labels=["upstream", "kind"]
        )
        probe = GaugeMetricFamily(
            "inferbudget_upstream_probe_good",
            "1 where the last probe was answered as one that lives does.",
            labels=["upstream"],
        )
        for state in self._states():
            for kind in BreakerState:
                breaker.add_metric([state.name, kind.value], float(state.breaker is kind))
            in_flight.add_metric([state.name], state.in_flight)
            calls.add_metric([state.name], state.calls)
            for failure, count in state.failures.items():
                failures.add_metric([state.name, failure.value], count)
            if state.probed is not None:
                probe.add_metric([state.name], float(state.probed.good))
        yield from (breaker, in_flight, calls, failures, probe)


class SinkCollector(Collector):
    """What is written beside the answers, and what of it is lost.

    Args:
        recorder: None where nothing is recorded.
        audit: None where there is no audit log.
        log_lines_lost: Lines of the log that nobody took in time.
    """

    def __init__(
        self,
        recorder: _Sink | None = None,
        audit: _Sink | None = None,
        log_lines_lost: Callable[[], int] | None = None,
    ) -> None:
        self._recorder = recorder
        self._audit = audit
        self._log_lines_lost = log_lines_lost

    def collect(self) -> Iterator[Metric]:
        """The families of what there is."""
        if self._recorder is not None:
            yield from _sink("recorder", "Records of requests", self._recorder)
        if self._audit is not None:
            yield from _sink("audit", "Entries of the audit log", self._audit)
        if self._log_lines_lost is not None:
            yield CounterMetricFamily(
                "inferbudget_log_lines_lost",
                "Lines of the log that its reader did not take in time.",
                value=self._log_lines_lost(),
            )


class ConnectionCollector(Collector):
    """What came over connections and was no request.

    Args:
        refused: By HTTP status.
    """

    def __init__(self, refused: Counter[HTTPStatus]) -> None:
        self._refused = refused

    def collect(self) -> Iterator[Metric]:
        """The family."""
        found = CounterMetricFamily(
            "inferbudget_refused_connections",
            "What was refused before it was a request: no HTTP, too long, too slow.",
            labels=["status"],
        )
        for status, count in self._refused.items():
            found.add_metric([str(status.value)], count)
        yield found


class KeyCollector(Collector):
    """Virtual keys that opened nothing.

    Args:
        refused: By `runtime.tenants.KeyProblem`.
    """

    def __init__(self, refused: Counter[str]) -> None:
        self._refused = refused

    def collect(self) -> Iterator[Metric]:
        """The family, with every reason."""
        found = CounterMetricFamily(
            "inferbudget_refused_keys",
            "Requests whose virtual key did not open, by reason.",
            labels=["reason"],
        )
        for reason in KeyProblem:
            found.add_metric([reason.value], self._refused[reason])
        yield found


def _sink(name: str, what: str, sink: _Sink) -> Iterator[Metric]:
    yield CounterMetricFamily(
        f"inferbudget_{name}_written", f"{what} that are on disk.", value=sink.written
    )
    yield CounterMetricFamily(f"inferbudget_{name}_lost", f"{what} that are lost.", value=sink.lost)
    yield GaugeMetricFamily(
        f"inferbudget_{name}_waiting", f"{what} that wait for the disk.", value=sink.waiting
    )
