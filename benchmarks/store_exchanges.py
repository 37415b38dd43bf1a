"""Exchanges with each shared store: how many a second, and how long one takes.

Every replica is a task of this process with a connection or thread of its own; a server runs beside
it. One exchange tells and asks of one account, or of ten.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from runtime.ledger.store import Exchange, Store, StoreLostError, Truth, open_store

RESULT = Path("benchmarks/results/store_exchanges.json")
SECONDS = 2.5
REPLICAS = (1, 4)
ACCOUNTS = (1, 10)
PERSISTENCE = {
    "redis, no persistence": ("--appendonly", "no"),
    "redis, appendfsync everysec": ("--appendonly", "yes", "--appendfsync", "everysec"),
    "redis, appendfsync always": ("--appendonly", "yes", "--appendfsync", "always"),
}


@contextmanager
def served(folder: Path, settings: tuple[str, ...]) -> Iterator[str]:
    """A Redis server of our own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    binary = shutil.which("redis-server") or "valkey-server"
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with subprocess.Popen(  # noqa: S603 our own arguments
        [*command, "--save", "", *settings], stdout=subprocess.DEVNULL
    ) as server:
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


async def answers(store: Store) -> None:
    """Wait until a server has started."""
    for _ in range(100):
        try:
            await store.now()
        except StoreLostError:
            await asyncio.sleep(0.05)
        else:
            return


async def replica(store: Store, name: str, accounts: int, until_s: float) -> list[float]:
    """Exchange until then; milliseconds of each."""
    took: list[float] = []
    leased = [0] * accounts
    while time.perf_counter() < until_s:
        told = tuple(
            Truth(f"org:{index}", 0, None, None, 10**15, 0, kept, kept, len(took), 100, 1000)
            for index, kept in enumerate(leased)
        )
        started = time.perf_counter()
        reply = await store.exchange(Exchange(name, len(took) + 1, 60.0, told))
        took.append((time.perf_counter() - started) * 1000)
        leased = [given.leased for given in reply.given]
    return took


async def timed(url: str, replicas: int, accounts: int) -> dict[str, float]:
    """One row."""
    stores = [open_store(url) for _ in range(replicas)]
    for store in stores:
        await answers(store)
    began_s = time.perf_counter()
    names = [f"{replicas}-{accounts}-{index}" for index in range(replicas)]
    until_s = began_s + SECONDS
    runs = [
        replica(store, name, accounts, until_s) for store, name in zip(stores, names, strict=True)
    ]
    took = [each for run in await asyncio.gather(*runs) for each in run]
    passed_s = time.perf_counter() - began_s
    for store in stores:
        await store.close()
    return {
        "exchanges_per_s": round(len(took) / passed_s),
        "p50_ms": round(statistics.median(took), 3),
        "p99_ms": round(statistics.quantiles(took, n=100)[98], 3),
    }


def rows(url: str) -> dict[str, dict[str, float]]:
    """All numbers of replicas and accounts."""
    return {
        f"{replicas} replicas, {accounts} accounts": asyncio.run(timed(url, replicas, accounts))
        for replicas in REPLICAS
        for accounts in ACCOUNTS
    }


def main() -> None:
    """Time and write."""
    found = {}
    # Not the folder for temporary files, which may be memory: syncing to disk is what takes time.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as text:
        folder = Path(text)
        for level in ("full", "normal"):
            url = f"sqlite:///{folder}/{level}.db?synchronous={level}"
            found[f"sqlite, synchronous {level}"] = rows(url)
        for name, settings in PERSISTENCE.items():
            kept = folder / name.rpartition(" ")[2]
            kept.mkdir()
            with served(kept, settings) as url:
                found[name] = rows(url)
    server = subprocess.run(  # noqa: S603
        [shutil.which("redis-server") or "valkey-server", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    result = {
        "seconds_each": SECONDS,
        "rows": found,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "redis-py": version("redis"),
            "server": server.stdout.split(" sha=")[0].strip(),
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
