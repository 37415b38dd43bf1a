"""One of several upstreams: its calls in flight, its breaker, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from profiles.errors import UpstreamError
from runtime.tracing import note_upstream
from runtime.upstream import ChatCall, Completion, Embeddings, UpstreamRejectedError
from runtime.upstreams.breaker import Breaker, BreakerState
from runtime.upstreams.failures import FailureKind, kind_of, lacks_model, says_broken
from runtime.upstreams.settings import HealthSettings, UpstreamSettings

_Reply = TypeVar("_Reply")
# The most that a busy server can name: a time of days is a quota of one key, which may be raised at
# any moment.
_MOST_BUSY_S = 300.0
_LACKING_S = 30.0


class Server(Protocol):
    """What `runtime.upstream.Upstream` does."""

    async def chat(self, call: ChatCall) -> Completion:
        """Send one call, once."""

    async def embeddings(self, model: str, body: bytes) -> Embeddings:
        """Pass a request for embeddings through, once."""

    async def probe(self, path: str, timeout_s: float) -> None:
        """Ask for a page."""

    async def close(self) -> None:
        """Close all connections."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The last probe.

    Attributes:
        good: It was answered as one that lives does.
        ago_s: Seconds since it ended.
        error: What was wrong; empty where nothing was.
    """

    good: bool
    ago_s: float
    error: str


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """What an operator sees of one upstream.

    Attributes:
        name: Of the settings.
        breaker: Its state.
        breaker_for_s: Seconds since it came into that state.
        in_flight: Calls that have not ended.
        calls: That began, all in all.
        failures: Of them, by kind; kinds that never happened are absent.
        resting_s: Models for which it was busy or did not know them, with the seconds left.
        probed: The last probe, None where there was none.
    """

    name: str
    breaker: BreakerState
    breaker_for_s: float
    in_flight: int
    calls: int
    failures: Mapping[FailureKind, int]
    resting_s: Mapping[str, float]
    probed: Probed | None


class Member:
    """One upstream.

    Args:
        settings: Of it.
        server: Where its calls go.
        clock: Seconds that never go back.
    """

    def __init__(
        self, settings: UpstreamSettings, server: Server, clock: Callable[[], float]
    ) -> None:
        self.name = settings.name
        self.weight = settings.weight
        self.answers_several = settings.several_answers
        self.server = server
        self.in_flight = 0
        address = urlsplit(settings.url)
        self._host, self._port = address.hostname, address.port
        self._max_in_flight = settings.max_in_flight
        self._clock = clock
        health = settings.health or HealthSettings()
        self.breaker = Breaker(
            settings.name, settings.breaker, clock, failed_probes=health.failures
        )
        self._calls = 0
        self._failures: dict[FailureKind, int] = {}
        self._rests: dict[str, float] = {}
        self._probed: tuple[float, UpstreamError | None] | None = None

    def free_in_s(self, model: str) -> float:
        """Seconds until a call for this model may begin; 0 for now, or for nobody knows when."""
        return max(self.breaker.opens_in_s, self._rests.get(model, 0.0) - self._clock(), 0.0)

    def admits(self, model: str) -> bool:
        """Whether a call for this model may begin now."""
        if self._max_in_flight is not None and self.in_flight >= self._max_in_flight:
            return False
        return not (self._rests and self._is_resting(model)) and self.breaker.admits()

    async def run(self, model: str, asked: Awaitable[_Reply]) -> _Reply:
        """Wait for a call to this server and remember how it ended.

        Raises:
            UpstreamError: As the call does.
        """
        era, good = self.breaker.begin(), None
        note_upstream(self.name, self._host, self._port)
        self.in_flight += 1
        self._calls += 1
        try:
            reply = await asked
            good = True
        except UpstreamError as error:
            good = self._failed(model, error)
            raise
        except asyncio.CancelledError:
            self._count(FailureKind.CANCELLED)
            raise
        finally:
            self.in_flight -= 1
            self.breaker.end(era, good=good)
        return reply

    async def probe(self, health: HealthSettings) -> None:
        """Ask for the server's page and remember whether it lives."""
        error = None
        try:
            await self.server.probe(health.path, health.timeout_s)
        except UpstreamError as found:
            error = found
        self._probed = self._clock(), error
        self.breaker.probed(good=error is None)

    def state(self) -> UpstreamState:
        """As of now."""
        now = self._clock()
        probed = None
        if self._probed is not None:
            at, error = self._probed
            probed = Probed(error is None, now - at, "" if error is None else str(error))
        return UpstreamState(
            self.name,
            self.breaker.state,
            self.breaker.for_s,
            self.in_flight,
            self._calls,
            dict(self._failures),
            {model: until - now for model, until in self._rests.items() if until > now},
            probed,
        )

    def _failed(self, model: str, error: UpstreamError) -> bool | None:
        kind = kind_of(error)
        self._count(kind)
        if isinstance(error, UpstreamRejectedError) and kind is FailureKind.BUSY:
            # Who names no time may have room for the next call: this one only asks elsewhere.
            self._rest(model, min(float(error.retry_after_s or 0), _MOST_BUSY_S))
        elif lacks_model(error):
            self._rest(model, _LACKING_S)
        return False if says_broken(error, kind) else None

    def _is_resting(self, model: str) -> bool:
        if self._rests.get(model, 0.0) > self._clock():
            return True
        self._rests.pop(model, None)
        return False

    def _rest(self, model: str, seconds: float) -> None:
        if seconds <= 0:
            return
        until = self._clock() + seconds
        self._rests[model] = max(until, self._rests.get(model, until))

    def _count(self, kind: FailureKind) -> None:
        self._failures[kind] = self._failures.get(kind, 0) + 1
