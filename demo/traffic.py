"""Open-loop traffic: requests arrive when they arrive, whether or not earlier ones are done."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from demo.tasks import Problem, score


@dataclass(frozen=True)
class Served:
    """One request as its client saw it.

    Attributes:
        correct: Score in 0..1, None when the request was refused or failed.
        latency_s: Seconds from sending to the complete answer.
        status: HTTP status, 0 when the connection broke.
        class_name: Class that the gateway sorted it into.
        strategy: Strategy that answered.
        rung: Rung of the policy's ladder.
    """

    problem: Problem
    correct: float | None
    latency_s: float
    status: int
    class_name: str
    strategy: str
    rung: int


@dataclass(frozen=True)
class Traffic:
    """All requests of a run, and the bills on both sides."""

    served: tuple[Served, ...]
    ledger_nano_usd: int = 0
    budget_nano_usd: int = 0
    upstream_nano_usd: int = 0
    provider: str = ""

    def billed(self, *, ledger: dict[str, Any], upstream_nano_usd: int, provider: str) -> Traffic:
        """The same traffic with what it cost."""
        scope = ledger["scopes"]["global"]
        return replace(
            self,
            ledger_nano_usd=scope["spent"],
            budget_nano_usd=scope["limit"],
            upstream_nano_usd=upstream_nano_usd,
            provider=provider,
        )

    def answered(self) -> list[Served]:
        """Requests that got an answer."""
        return [one for one in self.served if one.correct is not None]


async def drive(url: str, problems: list[Problem], *, per_s: float, seed: int) -> Traffic:
    """Send every problem at Poisson times, `per_s` on average."""
    rng = random.Random(seed)
    arrival, tasks = 0.0, []
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        started = time.monotonic()
        for problem in problems:
            arrival += rng.expovariate(per_s)
            await asyncio.sleep(max(0.0, started + arrival - time.monotonic()))
            tasks.append(asyncio.create_task(_send(client, url, problem)))
        return Traffic(tuple(await asyncio.gather(*tasks)))


async def _send(client: aiohttp.ClientSession, url: str, problem: Problem) -> Served:
    started = time.monotonic()
    body = {"model": "inferbudget", "messages": [{"role": "user", "content": problem.prompt}]}
    correct, status, headers = None, 0, {}
    try:
        async with client.post(f"{url}/v1/chat/completions", json=body) as reply:
            status, headers = reply.status, dict(reply.headers)
            content = await reply.json()
            if status == 200:
                correct = score(problem.prompt, content["choices"][0]["message"]["content"])
    except (aiohttp.ClientError, TimeoutError) as error:
        print(f"request {problem.query_id} failed: {error}")
    return Served(
        problem=problem,
        correct=correct,
        latency_s=time.monotonic() - started,
        status=status,
        class_name=headers.get("x-inferbudget-class", ""),
        strategy=headers.get("x-inferbudget-strategy", ""),
        rung=int(headers.get("x-inferbudget-rung", -1)),
    )
