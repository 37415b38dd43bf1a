"""What Prometheus reads. Labels are bounded: classes, strategies and scopes of one policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from profiles.money import to_usd
from runtime.budget_metrics import budget_text
from runtime.embedding import Embedder
from runtime.ledger import Ledger, Snapshot
from runtime.shadow import ShadowDecision
from runtime.strategies import Tools
from runtime.turns import in_turns, snapshot_in_turns

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_READING_BUCKETS_S = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0)
_REQUEST_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_DECISION_BUCKETS_S = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2)


class Metrics:
    """All metrics of one gateway, in a registry of their own."""

    def __init__(
        self,
        ledger: Ledger,
        tools: Tools,
        *,
        digest: str,
        provider: str,
        embedder: Callable[[], Embedder | None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._registry = CollectorRegistry()
        self._registry.register(_ToolCollector(tools))
        if embedder:
            self._registry.register(_EncoderCollector(embedder))
        self._requests = Counter(
            "inferbudget_requests",
            "Requests by class, strategy and outcome.",
            ("class", "strategy", "outcome"),
            registry=self._registry,
        )
        self._requests_of = cache(self._requests.labels)
        self.decision = Histogram(
            "inferbudget_decision_seconds",
            "Seconds from a parsed request to its held money, without the encoder's.",
            buckets=_DECISION_BUCKETS_S,
            registry=self._registry,
        )
        self.reading = Histogram(
            "inferbudget_encoder_seconds",
            "Seconds that requests waited for the encoder.",
            buckets=_READING_BUCKETS_S,
            registry=self._registry if embedder else None,
        )
        self._seconds = Histogram(
            "inferbudget_request_seconds",
            "Seconds from a request's arrival to its end, by outcome; of those that were begun.",
            ("outcome",),
            buckets=_REQUEST_BUCKETS_S,
            registry=self._registry,
        )
        self._seconds_of = cache(self._seconds.labels)
        self._shadow = Counter(
            "inferbudget_shadow_requests",
            "What the shadow policy would have done, and whether by the same strategy.",
            ("class", "outcome", "agrees"),
            registry=self._registry,
        )
        self._shadow_usd = Counter(
            "inferbudget_shadow_expected_usd",
            "Dollars that the shadow policy would have cost in the mean.",
            registry=self._registry,
        )
        self._reloads = Counter(
            "inferbudget_reloads",
            "Changed files that were read again.",
            ("outcome",),
            registry=self._registry,
        )
        self._policy = Gauge(
            "inferbudget_policy_info", "The policy in force.", ("digest",), registry=self._registry
        )
        self._graph = Gauge(
            "inferbudget_onnx_provider_info",
            "The execution provider that really runs the decision graph.",
            ("provider",),
            registry=self._registry,
        )
        self.policy(digest, provider)

    def collect(self, collector: Collector) -> None:
        """Ask another source, too."""
        self._registry.register(collector)

    def reloaded(self, outcome: str) -> None:
        """Count a look at changed files: ``replaced``, or ``refused``."""
        self._reloads.labels(outcome).inc()

    def policy(self, digest: str, provider: str) -> None:
        """Another policy is in force."""
        self._policy.clear()
        self._policy.labels(digest).set(1)
        self._graph.clear()
        self._graph.labels(provider).set(1)

    def request(self, class_name: str, strategy: str, outcome: str) -> None:
        """Count a request; class and strategy are empty where it ended before they were known.

        Outcomes: answered, downgraded, incomplete, rejected (by the upstream), failed, stopping,
        disconnected; refused (by the budget), invalid, unauthorised.
        """
        self._requests_of(class_name, strategy, outcome).inc()

    def took(self, outcome: str, seconds: float) -> None:
        """A request that was begun has ended."""
        self._seconds_of(outcome).observe(seconds)

    def shadowed(self, decision: ShadowDecision, *, agrees: bool) -> None:
        """Count what a shadow policy would have done."""
        outcome, same = decision.outcome, str(agrees).lower()
        self._shadow.labels(decision.class_name or "", outcome, same).inc()
        self._shadow_usd.inc(to_usd(decision.expected_nano_usd))

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return b"".join(self._parts(self._ledger.snapshot()))

    async def page(self) -> bytes:
        """The same; others get their turn between its parts, of which there can be many."""
        return await in_turns(self._parts(await snapshot_in_turns(self._ledger)))

    def _parts(self, snapshot: Snapshot) -> Iterator[bytes]:
        yield generate_latest(self._registry)
        for part in budget_text(snapshot):
            yield part.encode()


class _EncoderCollector(Collector):
    """What runs the encoder, and the prompts that it did not read; of the one in use."""

    def __init__(self, embedder: Callable[[], Embedder | None]) -> None:
        self._embedder = embedder

    def collect(self) -> Iterator[Metric]:
        embedder = self._embedder()
        if embedder is None:
            return
        provider = GaugeMetricFamily(
            "inferbudget_encoder_provider_info",
            "The execution provider that really runs the encoder.",
            labels=["provider"],
        )
        provider.add_metric([embedder.provider], 1)
        unread = CounterMetricFamily(
            "inferbudget_unread_prompts",
            "Prompts that the encoder did not read: they took the last class.",
            labels=["reason"],
        )
        for reason, count in embedder.unread.items():
            unread.add_metric([reason], count)
        yield from (provider, unread)


class _ToolCollector(Collector):
    """Reads the tools when asked, so that requests pay nothing for it."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def collect(self) -> Iterator[Metric]:
        failures = CounterMetricFamily(
            "inferbudget_verifier_failures",
            "Scores that a verifier could not give; each counted as 0.",
            labels=["verifier"],
        )
        for name, verifier in self._tools.verifiers.items():
            failures.add_metric([name], verifier.failures)
        yield failures
        yield CounterMetricFamily(
            "inferbudget_extractor_failures",
            "Answers that the extractor could not find; the whole text counted.",
            value=self._tools.extractor.failures,
        )
