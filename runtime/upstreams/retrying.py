"""Asking again, while it costs nothing: elsewhere at once, and everywhere after a wait."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from profiles.errors import UpstreamError
from runtime.upstreams.failures import FailureKind, NoUpstreamError, kind_of, may_ask_again
from runtime.upstreams.member import Member, Server
from runtime.upstreams.route import Route
from runtime.upstreams.settings import RetrySettings

_Reply = TypeVar("_Reply")


class Retrying:
    """The tries that follow a first one that cost nothing.

    Args:
        settings: How many, and how soon.
        clock: Seconds that never go back.
        draws: Where the waits' random parts come from.
    """

    def __init__(
        self, settings: RetrySettings, clock: Callable[[], float], draws: random.Random
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._draws = draws

    async def ask(
        self,
        route: Route,
        answers: int,
        ask: Callable[[Server], Awaitable[_Reply]],
        first: tuple[Member, UpstreamError] | None,
    ) -> _Reply:
        """The reply of the first upstream that gives one.

        Args:
            route: The upstreams to choose from.
            answers: That the call wants.
            ask: Sends the call to a server.
            first: Who was asked already and how it failed; None where nobody could be.

        Raises:
            UpstreamError: Of the last try; a `NoUpstreamError` where there was none.
            asyncio.CancelledError: In a wait, or of a try.
        """
        if not route.answers(answers):
            raise NoUpstreamError(f"no upstream gives {answers} answers of {route.model!r} at once")
        began_s, waits = self._clock(), 0
        tried = {first[0]} if first else set()
        failed = first[1] if first else None
        for _ in range(self._settings.tries - (1 if first else 0)):
            member = route.choose(answers, tried)
            while (
                member is None and _may_change(failed) and await self._waited(route, waits, began_s)
            ):
                waits += 1
                tried.clear()
                member = route.choose(answers)
            if member is None:
                break
            try:
                return await member.run(route.model, ask(member.server))
            except UpstreamError as error:
                if not may_ask_again(error):
                    raise
                failed = error
                tried.add(member)
        raise failed or NoUpstreamError(
            f"no upstream of {route.model!r} can be asked now",
            retry_after_s=route.free_in_s() or None,
        )

    async def _waited(self, route: Route, waits: int, began_s: float) -> bool:
        """Whether somebody may be asked after a wait that was not too long."""
        settings = self._settings
        backoff_s = min(settings.backoff_s * 2.0 ** min(waits, 60), settings.most_backoff_s)
        # Whoever waits for the same moment shall not come back in the same moment.
        wait_s = route.free_in_s() + backoff_s * self._draws.uniform(0.5, 1.0)
        if self._clock() + wait_s > began_s + settings.within_s:
            return False
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError as error:
            raise error from UpstreamError("nobody waits for an upstream any more", sent=False)
        return True


def _may_change(failed: UpstreamError | None) -> bool:
    """Whether the same upstream may answer otherwise after a wait: a wrong key stays wrong."""
    return failed is None or kind_of(failed) is not FailureKind.REFUSED
