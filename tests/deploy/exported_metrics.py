"""Every metric that a gateway can export, with its labels, from the collectors themselves."""

from __future__ import annotations

from collections import Counter
from functools import cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from planner.spec import Window
from runtime.checkers import Verifier
from runtime.embedding import REASONS, Embedder
from runtime.ledger import Ledger, Scope
from runtime.ledger.scopes import Unit
from runtime.metrics import Metrics
from runtime.operation_metrics import (
    ConnectionCollector,
    KeyCollector,
    SinkCollector,
    StoreCollector,
    UpstreamCollector,
)
from runtime.shadow import ShadowDecision
from runtime.strategies import Tools
from runtime.upstreams import BreakerState, FailureKind, Probed, UpstreamState


@cache
def exported() -> dict[str, frozenset[str]]:
    """Sample name to the labels that its samples carry, of a gateway that has everything."""
    ledger = Ledger(
        [
            Scope("global", 10**9, Window.MONTH),
            Scope("org:acme", 1_000, Window.DAY, Unit.TOKENS),
        ]
    )
    embedder = SimpleNamespace(provider="CPU", unread=dict.fromkeys(REASONS, 1))
    metrics = Metrics(
        ledger,
        Tools({"checker": Verifier("checker", lambda *_: 1.0)}),
        digest="d",
        provider="CPU",
        embedder=lambda: cast("Embedder", embedder),
    )
    metrics.request("hard", "small/single", "answered")
    metrics.took("answered", 0.1)
    metrics.shadowed(ShadowDecision("answered", "hard", "small/single", 5), agrees=True)
    metrics.reloaded("replaced")
    sink: Any = SimpleNamespace(written=1, lost=0, waiting=0)
    metrics.collect(StoreCollector(lambda: True))
    metrics.collect(UpstreamCollector(lambda: [_upstream()]))
    metrics.collect(SinkCollector(sink, sink, lambda: 0))
    metrics.collect(KeyCollector(Counter()))
    metrics.collect(ConnectionCollector(Counter({HTTPStatus.BAD_REQUEST: 1})))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        assert family.samples, f"no example of {family.name} shows its labels"
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return {name: frozenset(labels) for name, labels in found.items()}


def _upstream() -> UpstreamState:
    failures = dict.fromkeys(FailureKind, 1)
    return UpstreamState(
        "main", BreakerState.CLOSED, 1.0, 0, 1, failures, {}, Probed(good=True, ago_s=1, error="")
    )
