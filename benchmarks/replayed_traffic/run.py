"""One arm: a Redis server, gateways as processes of their own, a model server, and the clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import yaml

from benchmarks.never_over.processes import Gateways, Server, free_port
from benchmarks.replayed_traffic.clients import Clients
from benchmarks.replayed_traffic.planned import PROGRAM, model_server
from benchmarks.replayed_traffic.traffic import Arm, Floats
from demo.stages import SCORING
from demo.tasks import Problem
from policies.file import read_policy
from profiles.money import NANO_PER_USD
from runtime.ledger.store import open_store

PERSISTENCE = ("--appendonly", "yes", "--appendfsync", "everysec")
LATE_S = 0.25
"""Most that 99 % of the requests may be sent after their time."""


@dataclass(frozen=True, slots=True)
class Second:
    """How everything stood once a second.

    Attributes:
        at_s: From the begin.
        spent_nano_usd: By the ledger that one gateway shows.
        held_nano_usd: Likewise.
        bill_nano_usd: By the model server.
        in_flight: By gateway, as the clients count.
        rss_mb: By gateway.
    """

    at_s: float
    spent_nano_usd: int
    held_nano_usd: int
    bill_nano_usd: int
    in_flight: tuple[int, ...]
    rss_mb: tuple[float, ...]


class Replicas(Gateways):
    """Gateways with the demo's verifier."""

    def start(self, slot: int) -> None:
        """Start one; it is not waited for."""
        command = [PROGRAM, "serve", str(self.folder / "policy.yaml"), "--drain", "10"]
        command += ["--config", str(self.folder / "gateway.yaml"), *SCORING[2:]]
        command += ["--port", str(self.ports[slot])]
        with (self.folder / f"gateway{slot}.log").open("ab") as log:
            self.processes[slot] = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603

    def cpu_s(self) -> list[float]:
        """Processor seconds so far, by gateway."""
        return [_cpu_s(one.pid) for one in self.processes if one is not None]

    def rss_mb(self) -> tuple[float, ...]:
        """Resident memory, by gateway."""
        return tuple(_rss_mb(one.pid) for one in self.processes if one is not None)


def _cpu_s(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:13])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 2**20, 2)


async def _watch(clients: Clients, gateways: Replicas, upstream: str, into: list[Second]) -> None:
    """Once a second until cancelled."""
    async with aiohttp.ClientSession() as client:
        while True:
            at_s = time.time() - clients.start_s
            (scope,) = (await _page(client, f"{clients.urls[0]}/ledger"))["scopes"].values()
            bill = await _page(client, f"{upstream}/bill")
            into.append(
                Second(
                    round(at_s, 2),
                    scope["spent"],
                    scope["held"],
                    bill["total_nano_usd"],
                    tuple(clients.in_flight),
                    gateways.rss_mb(),
                )
            )
            await asyncio.sleep(1 - (time.time() - clients.start_s) % 1)


async def _page(client: aiohttp.ClientSession, url: str) -> Any:
    async with client.get(url) as reply:
        return await reply.json()


async def _spent(store: str) -> int:
    """What the store says was spent on the policy's budget."""
    opened = open_store(store)
    try:
        records = await opened.accounts()
    finally:
        await opened.close()
    return sum(record.spent for record in records)


@contextmanager
def _store(folder: Path) -> Iterator[str]:
    """The address of a Redis server of the arm's own."""
    redis = Server(folder, PERSISTENCE)
    redis.start()
    try:
        yield f"redis://127.0.0.1:{redis.port}/0?namespace=replay"
    finally:
        redis.end(signal.SIGTERM)


@asynccontextmanager
async def _gateways(
    folder: Path, replicas: int, upstream: str, store: str
) -> AsyncIterator[Replicas]:
    """All of them, once they take connections."""
    settings = {
        "format_version": "1.0",
        "upstreams": [{"name": "recorded", "url": f"{upstream}/v1"}],
        "ledger": {"store": store},
    }
    (folder / "gateway.yaml").write_text(yaml.safe_dump(settings))
    found = Replicas(folder, [free_port() for _ in range(replicas)], [None] * replicas)
    try:
        for slot in range(replicas):
            found.start(slot)
        for slot in range(replicas):
            await found.await_up(slot)
        yield found
    finally:
        await asyncio.gather(*(found.end(slot, signal.SIGTERM) for slot in range(replicas)))


async def run(
    arm: Arm,
    folder: Path,
    *,
    start_s: int,
    answers: Path,
    arrivals: Floats,
    problems: Sequence[Problem],
) -> None:
    """Run one arm and write what was seen to `seen.json` in its folder.

    Nothing is written where the machine was so busy that the clients could not keep the times.

    Args:
        arm: Which one.
        folder: With its policy.
        start_s: Unix time of the begin.
        answers: Recorded answers.
        arrivals: Seconds from the begin.
        problems: That may be asked.

    Raises:
        RuntimeError: Not all gateways were up at the begin.
    """
    with model_server(answers) as upstream, _store(folder / "redis") as store:
        async with _gateways(folder, arm.replicas, upstream, store) as gateways:
            print(f"{arm.name}: up {start_s - time.time():.0f} s before the begin", flush=True)
            if time.time() > start_s - 2:
                raise RuntimeError("not up at the begin; ask for a longer --lead")
            await asyncio.sleep(start_s - 2 - time.time())
            clients = Clients([f"http://127.0.0.1:{port}" for port in gateways.ports], start_s)
            seconds: list[Second] = []
            watching = asyncio.create_task(_watch(clients, gateways, upstream, seconds))
            before_s = sum(gateways.cpu_s())
            await clients.drive(arrivals, arm.problems(len(arrivals), len(problems)), problems)
            await asyncio.sleep(2)
            took_s = sum(gateways.cpu_s()) - before_s
            if not watching.cancel():
                watching.result()
            bill = await _bill(upstream)
        spent = await _spent(store)
    late_s = float(np.quantile([one.late_s for one in clients.seen], 0.99))
    if late_s > LATE_S:
        print(f"{arm.name}: not kept, requests were sent {late_s:.2f} s late: too busy a machine")
        return
    (budget,) = read_policy(folder / "policy.yaml").budgets
    seen = {
        "start_s": start_s,
        "budget_nano_usd": round((budget.limit_usd or 0) * NANO_PER_USD),
        "forecast_requests": budget.requests,
        "bill_nano_usd": bill,
        "ledger_nano_usd": spent,
        "gateways_ended_with": dict(gateways.ends),
        "gateways_cpu_s": round(took_s, 2),
        "seconds": [asdict(one) for one in seconds],
        "requests": [asdict(one) for one in clients.seen],
    }
    (folder / "seen.json").write_text(json.dumps(seen))


async def _bill(upstream: str) -> int:
    async with aiohttp.ClientSession() as client:
        return int((await _page(client, f"{upstream}/bill"))["total_nano_usd"])
