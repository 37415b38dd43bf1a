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

from profiles.money import NANO_PER_USD as NANO
from profiles.money import to_usd
from runtime.ledger import ScopeState, Snapshot, Unit
from runtime.tenants.virtual_keys import KeyProblem
from runtime.upstreams import BreakerState, UpstreamState


class _Snapshots(Protocol):
    def snapshot(self) -> Snapshot:
        """All scopes at this moment."""


class _Sink(Protocol):
    """What a recorder and an audit log have in common."""

    @property
    def written(self) -> int: ...

    @property
    def lost(self) -> int: ...

    @property
    def waiting(self) -> int: ...


class BudgetCollector(Collector):
    """Limits and windows of budgets, and those that are not dollars.

    Args:
        ledger: Whose.
        store_answers: Whether the shared store answered last; None where there is none.
    """

    def __init__(self, ledger: _Snapshots, store_answers: Callable[[], bool] | None = None) -> None:
        self._ledger = ledger
        self._store_answers = store_answers

    def collect(self) -> Iterator[Metric]:
        """All families."""
        snapshot = self._ledger.snapshot()
        yield from _windows(snapshot.scopes)
        yield from _units(snapshot.scopes)
        yield GaugeMetricFamily(
            "inferbudget_open_holds", "Requests that hold money now.", value=snapshot.open_holds
        )
        yield CounterMetricFamily(
            "inferbudget_overrun_usd",
            "Dollars charged that no hold covered: the upstream ignored its cap.",
            value=to_usd(snapshot.overrun_nano_usd),
        )
        if self._store_answers is not None:
            yield GaugeMetricFamily(
                "inferbudget_store_up",
                "1 where the shared budget store answered the last exchange.",
                value=float(self._store_answers()),
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


def _windows(scopes: Sequence[ScopeState]) -> Iterator[Metric]:
    limit = GaugeMetricFamily(
        "inferbudget_budget_limit_usd",
        "Dollars of this window, with what it inherited.",
        labels=["scope"],
    )
    start = GaugeMetricFamily(
        "inferbudget_budget_window_start_timestamp_seconds",
        "When this window began, Unix seconds.",
        labels=["scope"],
    )
    end = GaugeMetricFamily(
        "inferbudget_budget_window_end_timestamp_seconds",
        "When this window ends, Unix seconds.",
        labels=["scope"],
    )
    for state in scopes:
        if state.unit is Unit.NANO_USD and state.limit is not None:
            limit.add_metric([state.name], to_usd(state.limit))
        if state.unit is Unit.NANO_USD and state.epoch_end_s is not None:
            start.add_metric([state.name], state.epoch_start_s)
            end.add_metric([state.name], state.epoch_end_s)
    yield from (limit, start, end)


def _units(scopes: Sequence[ScopeState]) -> Iterator[Metric]:
    labels = ["scope", "unit"]
    spent = CounterMetricFamily(
        "inferbudget_units_spent",
        "Charged beside dollars, all windows: tokens, requests, gpu_s.",
        labels=labels,
    )
    held = GaugeMetricFamily(
        "inferbudget_units_held", "Held beside dollars by requests in flight.", labels=labels
    )
    left = GaugeMetricFamily(
        "inferbudget_units_remaining",
        "Of this window neither spent nor held, beside dollars.",
        labels=labels,
    )
    for state in scopes:
        if state.unit is Unit.NANO_USD:
            continue
        place = [state.name, state.unit.value.removeprefix("nano_")]
        whole = NANO if state.unit is Unit.NANO_GPU_S else 1
        spent.add_metric(place, state.spent_ever / whole)
        held.add_metric(place, state.held / whole)
        if state.remaining is not None:
            left.add_metric(place, state.remaining / whole)
    yield from (spent, held, left)


def _sink(name: str, what: str, sink: _Sink) -> Iterator[Metric]:
    yield CounterMetricFamily(
        f"inferbudget_{name}_written", f"{what} that are on disk.", value=sink.written
    )
    yield CounterMetricFamily(f"inferbudget_{name}_lost", f"{what} that are lost.", value=sink.lost)
    yield GaugeMetricFamily(
        f"inferbudget_{name}_waiting", f"{what} that wait for the disk.", value=sink.waiting
    )
