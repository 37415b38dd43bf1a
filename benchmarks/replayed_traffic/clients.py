"""The clients: every request when the trace has it, and what each of them saw."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.replayed_traffic.traffic import SEED, Floats, Indices
from demo.tasks import Problem, score
from profiles.money import NANO_PER_USD

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as its client saw it; strategy and class are empty where it was refused.

    Attributes:
        at_s: When it was sent, from the begin.
        late_s: How much later than the trace has it.
        latency_s: Until its whole answer.
        problem: Which one it asked.
        replica: Which gateway it asked.
        status: Of HTTP, 0 where the connection broke.
        class_name: That the gateway sorted it into.
        strategy: That answered.
        rung: That decided.
        outcome: In a word.
        nano_usd: That it was charged.
        score: Of its answer, against the truth.
    """

    at_s: float
    late_s: float
    latency_s: float
    problem: int
    replica: int
    status: int
    class_name: str = ""
    strategy: str = ""
    rung: int = -1
    outcome: str = ""
    nano_usd: int = 0
    score: float = 0.0


@dataclass(slots=True)
class Clients:
    """Sends every request when the trace has it, whether or not earlier ones are answered.

    Attributes:
        urls: Of the gateways; one is drawn for each request, as a load balancer would.
        start_s: Unix time of the begin.
        seen: All requests that ended.
        in_flight: By gateway.
    """

    urls: Sequence[str]
    start_s: float
    seen: list[Seen] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.in_flight = [0] * len(self.urls)

    async def drive(self, arrivals: Floats, asked: Indices, problems: Sequence[Problem]) -> None:
        """All requests, to their ends."""
        chance, tasks = random.Random(SEED), []
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as client:
            for at_s, number in zip(arrivals.tolist(), asked.tolist(), strict=True):
                await asyncio.sleep(max(self.start_s + at_s - time.time(), 0.0))
                replica = chance.randrange(len(self.urls))
                sent = self._one(client, at_s, replica, number, problems[number])
                tasks.append(asyncio.create_task(sent))
            await asyncio.gather(*tasks)

    async def _one(
        self,
        client: aiohttp.ClientSession,
        due_s: float,
        replica: int,
        number: int,
        problem: Problem,
    ) -> None:
        body = {"model": "inferbudget", "messages": [{"role": "user", "content": problem.prompt}]}
        at_s, began_s = time.time() - self.start_s, time.perf_counter()
        status, found = 0, {}
        self.in_flight[replica] += 1
        try:
            url = f"{self.urls[replica]}/v1/chat/completions"
            async with client.post(url, json=body) as reply:
                content = await reply.json()
                status = reply.status
                found = _answered(reply.headers, content, problem) if status == 200 else {}
        except (aiohttp.ClientError, TimeoutError) as error:
            print(f"{self.urls[replica]}: {error!r}", flush=True)
        self.in_flight[replica] -= 1
        latency_s = time.perf_counter() - began_s
        times = round(at_s, 4), round(at_s - due_s, 4), round(latency_s, 4)
        self.seen.append(Seen(*times, number, replica, status, **found))


def _answered(headers: Any, content: Any, problem: Problem) -> dict[str, Any]:
    said = content["choices"][0]["message"]["content"]
    return {
        "class_name": headers["x-inferbudget-class"],
        "strategy": headers["x-inferbudget-strategy"],
        "rung": int(headers["x-inferbudget-rung"]),
        "outcome": headers["x-inferbudget-outcome"],
        "nano_usd": round(float(headers["x-inferbudget-cost-usd"]) * NANO_PER_USD),
        "score": score(problem.prompt, said),
    }
