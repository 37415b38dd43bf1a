"""One arm of the never-over experiment: its processes, its faults, and its end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.never_over.arms import MEAN_NANO_USD, Arm
from benchmarks.never_over.clients import Phase
from benchmarks.never_over.faults import Harm
from benchmarks.never_over.policy import TYPICAL_NANO_USD
from benchmarks.never_over.processes import (
    Clock,
    Gateways,
    Ledgers,
    Server,
    compiled_clock,
    environ_by,
    free_port,
)
from benchmarks.never_over.records import ASKED
from benchmarks.never_over.watch import Watch
from benchmarks.never_over.world import Sizes, World

TTL_S = 3.0
PERSISTENCE = {
    "redis-everysec": ("--appendonly", "yes", "--appendfsync", "everysec"),
    "redis-always": ("--appendonly", "yes", "--appendfsync", "always"),
}
_HOST_START = 1_793_484_000.0 - 20.0  # 20 s before a midnight of Berlin that begins a month
_BORDERS = (
    1_793_491_200.0 - 8.0,  # a second before-and-after of midnight UTC, a month as well
    1_793_557_800.0 - 8.0,  # midnight of Kolkata
)


@contextmanager
def process(
    command: Sequence[str], clock: Clock | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """One of ours, ended at the end."""
    with (log or Path(os.devnull)).open("a") as noise:
        running = subprocess.Popen(  # noqa: S603 our own command
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            env=environ_by(clock),
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        if running.stdout:
            running.stdout.close()


@dataclass(slots=True)
class Run:
    """One arm as it runs.

    Attributes:
        arm: What is done.
        folder: Of its files.
        requests: That clients send.
        seed: Of everything.
    """

    arm: Arm
    folder: Path
    requests: int
    seed: int
    server: Server | None = None
    world: World = field(init=False)
    watch: Watch | None = None
    host_clock: Clock | None = None
    said: dict[str, Any] = field(default_factory=dict)
    harm: Harm | None = None
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        arm = self.arm
        total = round(self.requests * arm.budget * (MEAN_NANO_USD / TYPICAL_NANO_USD))
        per_s = arm.tight * self.requests / arm.seconds
        self.world = World(Sizes(per_s, max(total, 100), windows=arm.windows))

    async def run(self) -> None:
        """Start everything, harm it, and end it."""
        self.folder.mkdir(parents=True)
        if self.arm.host_clock:
            self.host_clock = Clock(self.folder / "host.clock", compiled_clock(self.folder))
            self.host_clock.set(_HOST_START - time.time())
        url = self._store()
        bill = str(self.folder / "bill")
        upstream = ["benchmarks.never_over.upstream", bill, "--seed", str(self.seed)]
        upstream += ["--faults", str(self.arm.bad)]
        began_s = time.monotonic()
        try:
            with process(upstream, self.host_clock, self.folder / "upstream.log") as model:
                port = int(model.stdout.readline()) if model.stdout else 0
                await self._live(port, url)
        finally:
            if self.server is not None:
                self.server.send(signal.SIGCONT)
                self.server.end(signal.SIGKILL)
        self.said["seconds"] = round(time.monotonic() - began_s, 1)
        sys.stderr.write("\n")

    def _store(self) -> str | None:
        arm = self.arm
        if arm.store == "memory":
            return None
        if arm.store == "sqlite":
            return f"sqlite:///{self.folder}/ledger.db?synchronous=normal"
        self.server = Server(self.folder / "redis", PERSISTENCE[arm.store], self.host_clock)
        self.server.start()
        durable = "yes" if arm.store == "redis-always" else "no"
        return f"redis://127.0.0.1:{self.server.port}/0?namespace=never&durable={durable}"

    def _gateway_yaml(self, upstream: int, url: str | None) -> dict[str, Any]:
        many = 1_000_000
        settings: dict[str, Any] = {
            "format_version": "1.0",
            "tenants": "tenants.yaml",
            "upstreams": [
                {
                    "name": "model",
                    "url": f"http://127.0.0.1:{upstream}/v1",
                    "timeout_s": 2.0,
                    "breaker": {"failures": many, "share": 1.0, "least_calls": many},
                }
            ],
            "audit": {"folder": "audit"},
            "reload_s": None,
            "retries": {"tries": 2, "backoff_s": 0.02},
        }
        if url is not None:
            settings["ledger"] = {"store": url, "ttl_s": TTL_S}
        return settings

    async def _live(self, upstream: int, url: str | None) -> None:
        arm = self.arm
        self.world.write(self.folder, self._gateway_yaml(upstream, url))
        slots = range(arm.replicas)
        if arm.bare and url is not None:
            await self._live_bare(url)
            return
        clocks: list[Clock | None] = [self.host_clock] * arm.replicas
        if "replica-clock" in arm.harm:
            library = compiled_clock(self.folder)
            for slot in slots:
                clock = Clock(self.folder / f"clock{slot}", library)
                clock.set(0)
                clocks[slot] = clock
        gateways = Gateways(self.folder, [free_port() for _ in slots], clocks)
        for slot in slots:
            gateways.start(slot)
        try:
            for slot in slots:
                await gateways.await_up(slot)
            await self._loaded(gateways, url)
        finally:
            for slot in slots:
                gateways.send(slot, signal.SIGCONT)
                gateways.send(slot, signal.SIGKILL)
        self.said["exits"] = {str(code): count for code, count in sorted(gateways.ends.items())}

    async def _live_bare(self, url: str) -> None:
        arm, sizes = self.arm, self.world.sizes
        plan = {
            "store": url,
            "ttl_s": TTL_S,
            "per_s": sizes.per_s,
            "total": sizes.total,
            "folder": str(self.folder),
            "clients": arm.phases[0][0],
            "seed": self.seed,
        }
        (self.folder / "ledgers.json").write_text(json.dumps(plan))
        nobody: list[Clock | None] = [None] * arm.replicas
        ledgers = Ledgers(self.folder, [0] * arm.replicas, nobody)
        for slot in range(arm.replicas):
            ledgers.start(slot)
        try:
            await self._loaded(ledgers, url)
        finally:
            for slot in range(arm.replicas):
                ledgers.send(slot, signal.SIGCONT)
                ledgers.send(slot, signal.SIGKILL)
        self.said["exits"] = {str(code): count for code, count in sorted(ledgers.ends.items())}

    async def _until_sent(self) -> None:
        """Bare ledgers are their own clients."""
        until_s = time.monotonic() + self.arm.seconds
        asked = self.folder / "asked"
        while time.monotonic() < until_s and self.said.get("sent", 0) < self.requests:
            await asyncio.sleep(0.5)
            sent = asked.stat().st_size // ASKED.itemsize if asked.exists() else 0
            self.said.update({"sent": sent, "answered": 0, "refused": 0, "broken": 0})
            self._show()

    async def _loaded(self, gateways: Gateways, url: str | None) -> None:
        arm = self.arm
        chance = random.Random(f"{self.seed} {arm.name}")
        if url is not None:
            self.watch = Watch(url)
        self.harm = Harm(
            gateways,
            self.server,
            self.watch,
            arm.harm,
            TTL_S,
            chance,
            arm.every_s,
            host_clock=self.host_clock,
            borders=list(_BORDERS),
            offset_s=_HOST_START - time.time(),
        )
        tasks = [asyncio.create_task(self.harm.run())]
        if self.watch is not None:
            tasks.append(asyncio.create_task(self.watch.run()))
        if arm.wiped:
            tasks.append(asyncio.create_task(self._wipe(gateways)))
        await (self._until_sent() if arm.bare else self._crowd(gateways))
        await _ended(tasks)
        await self.harm.mend()
        await asyncio.gather(*(gateways.end(slot, signal.SIGTERM) for slot in range(arm.replicas)))
        if self.watch is not None:
            await self.watch.settle(TTL_S)

    async def _wipe(self, gateways: Gateways) -> None:
        """Everything that the store knows is lost; later an operator starts the gateways anew."""
        await asyncio.sleep(self.arm.seconds / 3)
        if self.server is None:
            return
        import redis  # noqa: PLC0415 for this fault alone

        with redis.Redis(port=self.server.port) as client:
            client.flushall()
        self.events.append("emptied")
        await asyncio.sleep(self.arm.seconds / 3)
        self.said["sent_when_restarted"] = self.said.get("sent", 0)
        for slot in range(len(gateways.ports)):
            await gateways.end(slot, signal.SIGKILL)
            gateways.start(slot)

    async def _crowd(self, gateways: Gateways) -> None:
        arm = self.arm
        parts = sum(share for _, share in arm.phases)
        phases = [
            asdict(
                Phase(
                    clients,
                    max(round(self.requests * share / parts), clients),
                    arm.seconds * max(share / parts, 0.1),
                    self.requests / arm.seconds if arm.paced else 0.0,
                )
            )
            for clients, share in arm.phases
        ]
        config = {
            "ports": gateways.ports,
            "phases": phases,
            "log": str(self.folder / "asked"),
            "seed": self.seed,
            "leaves": arm.odd,
            "twice": arm.odd,
            "skew": arm.windows,
        }
        path = self.folder / "clients.json"
        path.write_text(json.dumps(config))
        command = ["benchmarks.never_over.clients", str(path)]
        with process(command, self.host_clock, self.folder / "clients.log") as crowd:
            while crowd.stdout and (line := await asyncio.to_thread(crowd.stdout.readline)):
                self.said.update(json.loads(line))
                self._show()
        if crowd.returncode not in (0, -9):
            raise RuntimeError((self.folder / "clients.log").read_text()[-2000:])

    def _show(self) -> None:
        said, width = self.said, 30
        done = min(said["sent"] / max(self.requests, 1), 1.0)
        bar = "#" * round(done * width)
        events = sum(self.harm.done.values()) if self.harm else 0
        broken = len(self.watch.broken) if self.watch else 0
        sys.stderr.write(
            f"\r{self.arm.name:35} [{bar:<{width}}] {said['sent']:>7} sent "
            f"{said['answered']:>7} answered {said['refused']:>7} refused "
            f"{said['broken']:>5} broken {events:>3} faults {broken} wrong "
        )
        sys.stderr.flush()


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    """End tasks; a client of Redis may take one cancellation for a broken connection."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1.0)
