"""Several upstreams that answer as one."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

from policies.policy import Policy
from profiles.errors import InputError, UpstreamError
from profiles.methods.counting import ANSWERS_PER_CALL
from profiles.strategy import parse
from runtime.upstream import ChatCall, Completion, Embeddings
from runtime.upstreams.breaker import BreakerState
from runtime.upstreams.connecting import connected
from runtime.upstreams.failures import NoUpstreamError, may_ask_again
from runtime.upstreams.member import Member, Server, UpstreamState
from runtime.upstreams.probing import Probing
from runtime.upstreams.retrying import Retrying
from runtime.upstreams.route import Route
from runtime.upstreams.settings import RetrySettings, UpstreamSettings

_Reply = TypeVar("_Reply")
Connect = Callable[[UpstreamSettings, Mapping[str, str]], Server]


def models_of(policy: Policy) -> tuple[str, ...]:
    """Every model that a policy can call, judges included, in order of their names."""
    found = {model for entry in policy.strategies for model in parse(entry.text).models()}
    return tuple(sorted(found))


class Upstreams:
    """Sends each call to one of the upstreams that serve its model and can be asked.

    A call is sent a second time only where the first certainly cost nothing: it never had a
    connection, or was turned down before any work. Whatever may have been sent is never sent again
    here: it may have been paid for.

    Args:
        settings: Of every upstream.
        models: That the policy names; every one needs an upstream.
        retries: How often a call that cost nothing is asked again.
        environ: Where the keys are.
        connect: Makes an upstream's client.
        clock: Seconds that never go back.
        draws: Where random numbers come from.

    Raises:
        InputError: A model that no upstream serves, a key that is not there, or an address, key or
            header that cannot be used.
    """

    def __init__(
        self,
        settings: Iterable[UpstreamSettings],
        models: Iterable[str],
        *,
        retries: RetrySettings | None = None,
        environ: Mapping[str, str] = os.environ,
        connect: Connect = connected,
        clock: Callable[[], float] = time.monotonic,
        draws: random.Random | None = None,
    ) -> None:
        listed = tuple(settings)
        wanted = tuple(models)
        _refuse_unserved(listed, wanted)
        self._draws = draws or random.Random()
        self._members = tuple(Member(each, connect(each, environ), clock) for each in listed)
        self._listed = tuple(zip(listed, self._members, strict=True))
        self._models: tuple[str, ...] = ()
        self._routes: dict[str, Route] = {}
        self.require(wanted)
        self._retrying = Retrying(retries or RetrySettings(), clock, self._draws)
        probed = tuple((member, each.health) for each, member in self._listed if each.health)
        self._probing = Probing(probed, self._draws)

    @property
    def answers_per_call(self) -> int:
        """Most answers that one call may ask for, of whichever upstream."""
        return ANSWERS_PER_CALL if all(each.answers_several for each in self._members) else 1

    async def __aenter__(self) -> Upstreams:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to probe, in the running event loop."""
        self._probing.start()

    async def close(self) -> None:
        """End the probes and close all connections."""
        await self._probing.stop()
        for member in self._members:
            await member.server.close()

    def require(self, models: Iterable[str]) -> None:
        """Serve a policy that names these models, and those of earlier ones to the end.

        Raises:
            InputError: A model that no upstream serves; nothing has changed.
        """
        wanted = tuple(dict.fromkeys(models))
        _refuse_unserved([each for each, _ in self._listed], wanted)
        for model in wanted:
            if model not in self._routes:
                self._routes[model] = self._route(model)
        self._models = wanted

    async def chat(self, call: ChatCall) -> Completion:
        """Send one call to one upstream; to another only while that costs no further money.

        Raises:
            NoUpstreamError: None can be asked; nothing was sent.
            UpstreamError: As of `runtime.upstream.Upstream.chat`, of the last try; the others cost
                nothing.
            asyncio.CancelledError: Likewise.
        """
        return await self._asked(call.model, call.n, lambda server: server.chat(call))

    async def embeddings(self, model: str, body: bytes) -> Embeddings:
        """Pass a request for embeddings through, likewise.

        Raises:
            InputError: The body is no JSON object; nothing was sent.
            NoUpstreamError: As of `chat`, and likewise the others.
        """
        return await self._asked(model, 1, lambda server: server.embeddings(model, body))

    def snapshot(self) -> tuple[UpstreamState, ...]:
        """What is known of every upstream."""
        return tuple(member.state() for member in self._members)

    def unready(self) -> tuple[str, ...]:
        """Models of the policy of which every upstream is broken; ready is who has none."""
        return tuple(
            model
            for model in self._models
            if all(
                member.breaker.state is BreakerState.OPEN for member in self._routes[model].members
            )
        )

    def _route(self, model: str) -> Route:
        serving = ((each.priority, member) for each, member in self._listed if each.serves(model))
        return Route(model, serving, self._draws)

    async def _asked(
        self, model: str, answers: int, ask: Callable[[Server], Awaitable[_Reply]]
    ) -> _Reply:
        route = self._routes.get(model)
        if route is None:
            raise NoUpstreamError(f"no upstream serves the model {model!r}")
        member = route.choose(answers)
        if member is None:
            return await self._retrying.ask(route, answers, ask, None)
        try:
            return await member.run(model, ask(member.server))
        except UpstreamError as error:
            if not may_ask_again(error):
                raise
            failed = error
        return await self._retrying.ask(route, answers, ask, (member, failed))


def _refuse_unserved(listed: Sequence[UpstreamSettings], models: Sequence[str]) -> None:
    missing = [model for model in models if not any(each.serves(model) for each in listed)]
    if missing:
        raise InputError(
            f"no upstream serves {', '.join(map(repr, missing))}, which the policy calls",
            where="upstreams",
            expected="an upstream for every model of the policy",
            got=", ".join(f"{each.name} ({_served(each)})" for each in listed),
            next_step="add the model to the `models` of an upstream that serves it",
        )


def _served(settings: UpstreamSettings) -> str:
    return settings.models if isinstance(settings.models, str) else ", ".join(settings.models)
