"""Upstreams in memory, a clock that only tests move, and settings in a word."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fake_upstream import reply

from profiles.errors import UpstreamError
from runtime.upstream import ChatCall, Completion, Embeddings, Message
from runtime.upstreams import Upstreams, UpstreamSettings

CALL = ChatCall("small", (Message("user", "two and two"),), max_tokens=16)
NOT_SENT = UpstreamError("cannot connect", sent=False)
Answer = Callable[[ChatCall], Awaitable[Completion]]


def settings(name: str, url: str = "http://host/v1", **more: Any) -> UpstreamSettings:
    return UpstreamSettings(name=name, url=url, **more)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Server:
    """Fails with the next of its errors while it has some; then answers."""

    def __init__(self, name: str = "", *failures: Exception, answer: Answer | None = None) -> None:
        self.name = name
        self.failures = list(failures)
        self.answer = answer
        self.calls: list[ChatCall] = []
        self.probe_error: UpstreamError | None = None
        self.probes: list[tuple[str, float]] = []
        self.closed = False

    async def chat(self, call: ChatCall) -> Completion:
        self.calls.append(call)
        if self.failures:
            raise self.failures.pop(0)
        return await self.answer(call) if self.answer else reply(self.name)

    async def embeddings(self, model: str, body: bytes) -> Embeddings:
        if self.failures:
            raise self.failures.pop(0)
        return Embeddings(f"{self.name} {model} ".encode() + body, 3, 0.0)

    async def probe(self, path: str, timeout_s: float) -> None:
        self.probes.append((path, timeout_s))
        await asyncio.sleep(0)
        if self.probe_error is not None:
            raise self.probe_error

    async def close(self) -> None:
        self.closed = True


class Together:
    """Upstreams over servers in memory, by name."""

    def __init__(
        self, *listed: UpstreamSettings, models: tuple[str, ...] = ("small",), seed: int = 7,
        **more: Any,
    ) -> None:  # fmt: skip
        self.servers = {each.name: Server(each.name) for each in listed}
        self.clock = Clock()
        self.upstreams = Upstreams(
            listed,
            models,
            connect=self._connect,
            clock=self.clock,
            draws=random.Random(seed),
            **more,
        )

    def _connect(self, each: UpstreamSettings, _: Mapping[str, str]) -> Server:
        return self.servers[each.name]

    async def shares(self, calls: int) -> Counter[str]:
        """Who answered how many calls, one after another."""
        found: Counter[str] = Counter()
        for _ in range(calls):
            found[(await self.upstreams.chat(CALL)).texts[0]] += 1
        return found

    async def pass_time(self, seconds: float) -> None:
        """In the place of `asyncio.sleep`: only the clock moves."""
        self.clock.now_s += seconds

    def asked(self) -> dict[str, int]:
        return {name: len(server.calls) for name, server in self.servers.items()}
