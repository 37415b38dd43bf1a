"""What happens to the processes of the never-over experiment, drawn from a seed.

Replicas are killed, stopped for longer than their leases live, drained, and get jumping clocks; the
server is restarted, killed, killed with the last second of its file lost (a power cut), stopped;
the clock of everything is set forward and back.
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field

from benchmarks.never_over.processes import Clock, Gateways, Server
from benchmarks.never_over.watch import Watch

REPLICA_FAULTS = ("kill", "stop", "drain")
REDIS_FAULTS = ("redis-restart", "redis-kill", "redis-cut", "redis-stop")
CLOCK_FAULTS = ("replica-clock", "host-clock")
ALL = REPLICA_FAULTS + REDIS_FAULTS + CLOCK_FAULTS
_OFTEN = 5
"""A server fails so many times less often than a gateway: each time all grants pause for a lease's
life."""


@dataclass(slots=True)
class Harm:
    """Does what is asked for, again and again.

    Attributes:
        gateways: That it is done to.
        server: The store's, None where it is a file or none.
        watch: Of the store; is told when a server hears its replicas.
        kinds: What may happen.
        ttl_s: How long leases live.
        chance: Draws.
        every_s: Mean time between two faults.
        host_clock: Of everything.
        borders: Moments that it is set to before others.
        done: How often each happened.
        events: When what happened, seconds from the start.
    """

    gateways: Gateways
    server: Server | None
    watch: Watch | None
    kinds: tuple[str, ...]
    ttl_s: float
    chance: random.Random
    every_s: float
    host_clock: Clock | None = None
    borders: list[float] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    events: list[tuple[float, str]] = field(default_factory=list)
    _began_s: float = field(default_factory=time.monotonic)
    _busy: set[int] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server_busy: bool = False
    _apart_until_s: float = 0.0
    offset_s: float = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        noting = asyncio.create_task(self._note_sizes())
        try:
            while self.kinds:
                await asyncio.sleep(self.chance.expovariate(1 / self.every_s))
                weights = [_OFTEN if kind in REPLICA_FAULTS else 1 for kind in self.kinds]
                self._begin(self.chance.choices(self.kinds, weights)[0])
        finally:
            noting.cancel()

    async def mend(self) -> None:
        """Wait until everything that was harmed is whole again."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, kind: str) -> None:
        doing: Awaitable[None]
        if kind.startswith("redis"):
            if self.server is None or self._server_busy:
                return
            doing = self._to_server(kind, self.server)
        elif kind == "host-clock":
            doing = self._host_clock()
        else:
            if time.monotonic() < self._apart_until_s:
                return
            free = [slot for slot in range(len(self.gateways.ports)) if slot not in self._busy]
            # One is left alone, so that somebody answers.
            if len(free) <= (len(self.gateways.ports) > 1):
                return
            slot = self.chance.choice(free)
            doing = self._to_replica(kind, slot)
        task = asyncio.create_task(_whole(doing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note(self, kind: str, more: str = "") -> None:
        self.done[kind] += 1
        self.events.append((round(time.monotonic() - self._began_s, 2), f"{kind} {more}".strip()))

    async def _note_sizes(self) -> None:
        while True:
            if self.server is not None:
                self.server.note_size()
            await asyncio.sleep(0.1)

    async def _to_replica(self, kind: str, slot: int) -> None:
        gateways = self.gateways
        self._busy.add(slot)
        try:
            self._note(kind, f"slot {slot}")
            if kind == "kill":
                await gateways.end(slot, signal.SIGKILL)
                await asyncio.sleep(self.chance.random() * 1.5)
                gateways.start(slot)
                await gateways.await_up(slot)
            elif kind == "drain":
                await gateways.end(slot, signal.SIGTERM)
                gateways.start(slot)
                await gateways.await_up(slot)
            elif kind == "stop":
                gateways.send(slot, signal.SIGSTOP)
                # Sometimes a moment, sometimes until it has been swept and others spend its part.
                longer = self.chance.random() < 0.7
                more_s = self.chance.uniform(0.5, 2.5)
                await asyncio.sleep(self.ttl_s + more_s if longer else more_s / 2)
                gateways.send(slot, signal.SIGCONT)
            elif kind == "replica-clock":
                clock = gateways.clocks[slot]
                if clock is not None:
                    clock.set(self.chance.choice((-3600, -61, -2, 0, 1.5, 59, 86_400)))
        finally:
            self._busy.discard(slot)

    async def _to_server(self, kind: str, server: Server) -> None:
        self._server_busy = True
        try:
            if kind == "redis-cut":
                await self._apart()
            self._note(kind)
            if kind == "redis-stop":
                server.send(signal.SIGSTOP)
                await asyncio.sleep(self.chance.uniform(0.5, 4.0))
                server.send(signal.SIGCONT)
                return
            self._hears_until(math.inf)
            number = signal.SIGTERM if kind == "redis-restart" else signal.SIGKILL
            await asyncio.to_thread(server.end, number)
            if kind == "redis-cut":
                lost = server.lose(self.chance.uniform(0.3, 1.0))
                self.events.append((round(time.monotonic() - self._began_s, 2), f"lost {lost} B"))
            await asyncio.sleep(self.chance.random())
            await asyncio.to_thread(server.start)
            self._hears_until(time.monotonic() + self.ttl_s)
        finally:
            self._server_busy = False
            self._apart_until_s = time.monotonic() + self.ttl_s

    def _hears_until(self, until_s: float) -> None:
        if self.watch is not None:
            self.watch.hears_until_s = until_s

    async def _apart(self) -> None:
        """Until all gateways live, and have lived for longer than a power cut takes back.

        What a gateway was granted in the second that is lost it tells again, if it lives: a power
        cut and a gateway's end at once are two faults, and lose a charge.
        """
        self._apart_until_s = math.inf
        while self._busy:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)

    async def _host_clock(self) -> None:
        """Forward to just before the next border that was asked for, or a little to and fro."""
        if self.host_clock is None:
            return
        if self.borders and self.chance.random() < 0.5:
            self.offset_s = self.borders.pop(0) - time.time()
        else:
            self.offset_s += self.chance.choice((-5.0, -1.0, 1.0, 30.0))
        self.host_clock.set(self.offset_s)
        self._note("host-clock", f"{self.offset_s:+.1f}")


async def _whole(doing: Awaitable[None]) -> None:
    await doing
