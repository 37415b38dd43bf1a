"""Processes of the never-over experiment: gateways in slots, a Redis server, and their clocks."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import redis

START_S = 60.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock of some processes.

    Attributes:
        file: Of its offset.
        library: `clock.c`, compiled.
    """

    file: Path
    library: Path

    def set(self, offset_s: float) -> None:
        """Set it by so much, for all of them at once."""
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("<q", round(offset_s * 1e9)))

    @property
    def environ(self) -> dict[str, str]:
        """For a process that lives by it."""
        return {"LD_PRELOAD": str(self.library), "NEVER_OVER_CLOCK": str(self.file)}


def environ_by(clock: Clock | None) -> dict[str, str]:
    """Ours, with a clock."""
    return {**os.environ, **(clock.environ if clock else {})}


def compiled_clock(folder: Path) -> Path:
    """The library that sets clocks."""
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(  # noqa: S603
        ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)],  # noqa: S607
        check=True,
    )
    return library


@dataclass(slots=True)
class Server:
    """A Redis server; started again it finds what it kept in its folder.

    Attributes:
        folder: Of its files.
        settings: Its persistence.
        clock: By which it lives, None for the machine's.
        port: Where it listens.
    """

    folder: Path
    settings: tuple[str, ...]
    clock: Clock | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    sizes: list[tuple[float, int]] = field(default_factory=list)

    def start(self) -> None:
        """Start it, and wait until it has read its files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        binary = shutil.which("redis-server") or "valkey-server"
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.folder), *self.settings]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 our own command
                command, stdout=log, stderr=log, env=environ_by(self.clock)
            )
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            try:
                with redis.Redis(port=self.port, socket_timeout=1) as client:
                    client.ping()
            except redis.RedisError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError("the server did not start")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        """End it, and wait."""
        self.send(number)
        if self.process is not None:
            self.process.wait(START_S)

    def _log_of_writes(self) -> Path | None:
        found = sorted(self.folder.glob("appendonlydir/*.incr.aof"))
        return found[-1] if found else None

    def note_size(self) -> None:
        """Remember how long its file of writes is now."""
        file = self._log_of_writes()
        if file is not None:
            self.sizes.append((time.monotonic(), file.stat().st_size))
            del self.sizes[:-100]

    def lose(self, seconds: float) -> int:
        """Cut the last seconds' writes off its file, as a power cut may; how many bytes."""
        file = self._log_of_writes()
        before_s = time.monotonic() - seconds
        older = [size for at_s, size in self.sizes if at_s <= before_s]
        if file is None or not older:
            return 0
        lost = file.stat().st_size - older[-1]
        if lost <= 0:
            return 0
        os.truncate(file, older[-1])
        self.sizes.clear()
        return lost


@dataclass(slots=True)
class Gateways:
    """Gateways in slots.

    Attributes:
        folder: Of their files.
        ports: One a slot.
        clocks: One a slot; None for the machine's.
    """

    folder: Path
    ports: list[int]
    clocks: list[Clock | None]
    processes: list[subprocess.Popen[bytes] | None] = field(default_factory=list)
    ends: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.processes = [None] * len(self.ports)

    def start(self, slot: int) -> None:
        """Start one; it is not waited for."""
        program = str(Path(sys.executable).with_name("inferbudget"))
        command = [program, "serve", str(self.folder / "policy.yaml"), "--drain", "5"]
        command += ["--config", str(self.folder / "gateway.yaml")]
        command += ["--port", str(self.ports[slot])]
        environ = {**environ_by(self.clocks[slot]), "OMP_NUM_THREADS": "1"}
        with (self.folder / f"gateway{slot}.log").open("ab") as log:
            self.processes[slot] = subprocess.Popen(  # noqa: S603 our own command
                command, stdout=log, stderr=log, env=environ
            )

    def is_up(self, slot: int) -> bool:
        """Whether it takes connections."""
        process = self.processes[slot]
        if process is None or process.poll() is not None:
            return False
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.ports[slot])) == 0

    async def await_up(self, slot: int) -> None:
        """Until it takes connections; one that ends is started again, as a service manager does.

        Raises:
            RuntimeError: It never does.
        """
        until_s = time.monotonic() + START_S
        while not self.is_up(slot):
            process = self.processes[slot]
            if time.monotonic() > until_s:
                raise RuntimeError(f"process {slot} did not start")
            if process is None or process.poll() is not None:
                await asyncio.sleep(0.3)
                self.start(slot)
            await asyncio.sleep(0.05)

    def send(self, slot: int, number: signal.Signals) -> None:
        """Send a signal."""
        process = self.processes[slot]
        if process is not None and process.poll() is None:
            process.send_signal(number)

    async def end(self, slot: int, number: signal.Signals) -> int:
        """End one and wait; its exit status."""
        self.send(slot, number)
        process = self.processes[slot]
        if process is None:
            return 0
        until_s = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < until_s:
            await asyncio.sleep(0.02)
        if process.poll() is None:
            process.kill()
            process.wait()
        self.ends[process.returncode] += 1
        return process.returncode


@dataclass(slots=True)
class Ledgers(Gateways):
    """Processes with a ledger and nothing else (`ledgers`).

    Attributes:
        begun: How many there ever were.
    """

    begun: int = 0

    def start(self, slot: int) -> None:
        """Start one; it is not waited for."""
        self.begun += 1
        command = [sys.executable, "-m", "benchmarks.never_over.ledgers"]
        command += [str(self.folder / "ledgers.json"), str(self.begun)]
        with (self.folder / f"ledger{slot}.log").open("ab") as log:
            self.processes[slot] = subprocess.Popen(  # noqa: S603 our own command
                command, stdout=log, stderr=log
            )

    def is_up(self, slot: int) -> bool:
        """Whether it lives."""
        process = self.processes[slot]
        return process is not None and process.poll() is None
