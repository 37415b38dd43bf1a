"""Probes in the background: whether a server lives before the next call finds out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import NoReturn

from runtime.upstreams.member import Member
from runtime.upstreams.settings import HealthSettings


class Probing:
    """One task for each upstream that has a page to ask for.

    Args:
        probed: Upstreams with their page.
        draws: Where the random parts of the waits come from: replicas shall not probe in step.
    """

    def __init__(
        self, probed: Sequence[tuple[Member, HealthSettings]], draws: random.Random
    ) -> None:
        self._probed = probed
        self._draws = draws
        self._tasks: tuple[asyncio.Task[NoReturn], ...] = ()

    def start(self) -> None:
        """Begin, in the running event loop; no-op where it has begun."""
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = tuple(
                loop.create_task(self._watch(*each), name=f"probing {each[0].name}")
                for each in self._probed
            )

    async def stop(self) -> None:
        """End all probes."""
        tasks, self._tasks = self._tasks, ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, member: Member, health: HealthSettings) -> NoReturn:
        while True:
            await member.probe(health)
            await asyncio.sleep(health.every_s * self._draws.uniform(0.9, 1.1))
