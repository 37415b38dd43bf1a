"""Clients of the never-over experiment: in a closed loop, impatient, forgetful.

Each client asks, waits for the whole reply, and asks again; now and then it leaves in the middle,
sends the same request twice at once, or goes to another gateway. A gateway that does not answer is
left for another one. Every request is a record of the log file: who asked what when, and what came.

    python -m benchmarks.never_over.clients CONFIG.json

The configuration names ports, phases (clients, requests, seconds), shares of odd behaviour and the
seed. A line of JSON on stdout says how far it is, about twice a second.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.never_over.line import Answer, Line, request_bytes
from benchmarks.never_over.records import ASKED, LEAVES, PLAIN, STREAM, TWICE
from benchmarks.never_over.world import USERS_OF_A_TEAM

_PAUSES = {402: 1, 429: 1, 503: 10}
"""How long clients wait before they ask again, by status: where the store is lost, longer."""


@dataclass(frozen=True, slots=True)
class Phase:
    """So many clients at once.

    Attributes:
        clients: At once.
        requests: That they send together.
        seconds: After which no further one is sent.
        per_s: Requests a second that they send together at most; 0 for any number.
    """

    clients: int
    requests: int
    seconds: float
    per_s: float = 0.0


@dataclass(slots=True)
class Plan:
    """What the clients do.

    Attributes:
        ports: Of the gateways.
        phases: One after the other.
        log: Where records go.
        seed: Of everything drawn.
        first: Number of the first request.
        streams: Share of requests that ask for a stream.
        leaves: Share of requests whose client leaves.
        twice: Share of requests that are sent twice.
        hard: Share of the hard class.
        patience_s: Until a client goes elsewhere.
        pause_s: Most that a client waits where it was turned down.
        skew: Whether some keys ask more than others.
    """

    ports: list[int]
    phases: list[Phase]
    log: str
    seed: int
    first: int = 0
    streams: float = 0.25
    leaves: float = 0.0
    twice: float = 0.0
    hard: float = 0.3
    patience_s: float = 4.0
    pause_s: float = 0.02
    skew: bool = True


@dataclass(slots=True)
class Crowd:
    """All clients of a run.

    Attributes:
        plan: What they do.
        sent: Requests so far.
        answered: With status 200.
        refused: By a budget.
        broken: Without a whole reply.
    """

    plan: Plan
    sent: int = 0
    answered: int = 0
    refused: int = 0
    broken: int = 0
    phase: int = 0
    _left: int = 0
    _until_s: float = 0.0
    _next_s: float = 0.0
    _avoid: dict[int, float] = field(default_factory=dict)
    _log: list[tuple[Any, ...]] = field(default_factory=list)

    async def run(self) -> None:
        """All phases."""
        with Path(self.plan.log).open("ab") as log:
            telling = asyncio.create_task(self._tell(log))
            for number, phase in enumerate(self.plan.phases):
                self.phase, self._left = number, phase.requests
                self._until_s = time.monotonic() + phase.seconds
                self._next_s = time.monotonic()
                clients = [self._client(number, index, phase) for index in range(phase.clients)]
                await asyncio.gather(*clients)
            telling.cancel()
            self._write(log)
        self._say()

    async def _tell(self, log: Any) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._say()
            self._write(log)

    def _say(self) -> None:
        said = {
            "phase": self.phase,
            "sent": self.sent,
            "answered": self.answered,
            "refused": self.refused,
            "broken": self.broken,
        }
        print(json.dumps(said), flush=True)

    def _write(self, log: Any) -> None:
        rows, self._log = self._log, []
        log.write(np.array(rows, ASKED).tobytes() if rows else b"")
        log.flush()

    async def _client(self, phase_number: int, index: int, phase: Phase) -> None:
        chance = random.Random(f"{self.plan.seed} {phase_number} {index}")
        slot, line = self._slot(chance), None
        while self._left > 0 and time.monotonic() < self._until_s:
            self._left -= 1
            await self._pace(phase)
            if line is not None and chance.random() < 0.02:
                line.leave()
            if line is None or line.broken:
                slot = self._slot(chance)
                line = await self._connected(slot)
                if line is None:
                    self._left += 1
                    await asyncio.sleep(0.02)
                    continue
            refused = await self._one(chance, slot, line)
            await asyncio.sleep(refused * chance.random() * self.plan.pause_s)
        if line is not None and not line.broken:
            line.leave()

    async def _pace(self, phase: Phase) -> None:
        if phase.per_s:
            self._next_s = max(self._next_s + 1 / phase.per_s, time.monotonic() - 1.0)
            await asyncio.sleep(max(self._next_s - time.monotonic(), 0))

    def _slot(self, chance: random.Random) -> int:
        now_s = time.monotonic()
        slots = range(len(self.plan.ports))
        good = [slot for slot in slots if self._avoid.get(slot, 0.0) < now_s]
        return chance.choice(good or list(slots))

    async def _connected(self, slot: int) -> Line | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.plan.patience_s):
                _, line = await loop.create_connection(Line, "127.0.0.1", self.plan.ports[slot])
        except (OSError, TimeoutError):
            self._avoid[slot] = time.monotonic() + 0.3
            return None
        return line

    async def _one(self, chance: random.Random, slot: int, line: Line) -> int:
        """One request; how many times the usual its client waits then."""
        plan = self.plan
        self.sent += 1
        number = plan.first + self.sent
        key = min(int(chance.random() ** 1.3 * 8), 7) if plan.skew else chance.randrange(8)
        user, hard = chance.randrange(USERS_OF_A_TEAM), int(chance.random() < plan.hard)
        stream, odd = chance.random() < plan.streams, chance.random()
        kind = STREAM if stream else PLAIN
        if odd < plan.leaves:
            kind = LEAVES
        elif odd < plan.leaves + plan.twice:
            kind = TWICE
        content = request_bytes(number, key, user, hard, stream=stream)
        who = (key, user, hard, kind)
        if kind == LEAVES:
            await self._left_in_the_middle(chance, slot, line, content, (number, who))
            return 0
        asking = [self._sent(slot, line, content, number, who)]
        if kind == TWICE:
            asking.append(self._again(chance, content, number, who))
        return max(await asyncio.gather(*asking))

    async def _again(
        self, chance: random.Random, content: bytes, number: int, who: tuple[int, ...]
    ) -> int:
        await asyncio.sleep(chance.choice((0, 0, 0.01)))
        slot = self._slot(chance)
        line = await self._connected(slot)
        if line is None:
            return 0
        self.sent += 1
        refused = await self._sent(slot, line, content, number, who)
        if not line.broken:
            line.leave()
        return refused

    async def _sent(
        self, slot: int, line: Line, content: bytes, number: int, who: tuple[int, ...]
    ) -> int:
        began = time.time_ns() // 1000
        reply = line.ask(content)
        try:
            async with asyncio.timeout(self.plan.patience_s):
                answer = await reply
        except TimeoutError:
            self._avoid[slot] = time.monotonic() + 1.0
            answer = (0, line.leave(), 0)
        if answer[0] == 503:
            self._avoid[slot] = time.monotonic() + 0.3
            line.leave()
        self._note(number, began, slot, who, answer)
        return _PAUSES.get(answer[0], 0)

    async def _left_in_the_middle(
        self,
        chance: random.Random,
        slot: int,
        line: Line,
        content: bytes,
        what: tuple[int, tuple[int, ...]],
    ) -> None:
        began = time.time_ns() // 1000
        reply = line.ask(content)
        done, _ = await asyncio.wait({reply}, timeout=chance.random() * 0.03)
        answer = reply.result() if done else (0, line.leave(), 0)
        self._note(what[0], began, slot, what[1], answer)

    def _note(
        self, number: int, began: int, slot: int, who: tuple[int, ...], answer: Answer
    ) -> None:
        status, request_id, budget = answer
        self.answered += status == 200
        self.refused += budget
        self.broken += status == 0
        done = time.time_ns() // 1000
        row = (number, began, done, status, self.phase, slot, *who, budget, request_id)
        self._log.append(row)


def main() -> None:
    """Run the plan of a file."""
    said = json.loads(Path(sys.argv[1]).read_text())
    said["phases"] = [Phase(**phase) for phase in said["phases"]]
    gc.freeze()
    uvloop.run(Crowd(Plan(**said)).run())


if __name__ == "__main__":
    main()
