"""Processes and servers that are killed in the middle of exchanges: the bill stays within."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from store_servers import RedisServer, a_server, asks, billed, truth, worker
from store_worker import LIMIT, TTL_S

from runtime.ledger.store import Store, open_store


def run_and_kill(url: str, folder: Path, seed: int) -> None:
    """Workers come and go by SIGKILL until the budget is nearly spent."""
    chance = random.Random(seed)
    names = iter(range(1_000))

    def begin() -> subprocess.Popen[str]:
        name = f"w{next(names)}"
        return worker(url, name, str(folder / f"{name}.bill"))

    workers = [begin() for _ in range(3)]
    for _ in range(8):
        goal = billed(folder) + chance.randrange(1, LIMIT // 10)
        while billed(folder) < min(goal, LIMIT * 9 // 10):
            with suppress(subprocess.TimeoutExpired):
                workers[0].wait(0.01)
        victim = workers.pop(chance.randrange(3))
        victim.kill()
        victim.communicate()
        workers.append(begin())
    for each in workers:
        each.kill()
        each.communicate()


async def settled(store: Store) -> int:
    """What the store has charged once it has swept everybody."""
    number = 0
    while True:
        number += 1
        record = (await asks(store, "last", number, truth(limit=LIMIT), ttl_s=TTL_S)).given[0]
        if record.held == 0:
            return record.spent
        await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_processes_killed_in_the_middle_never_overspend_a_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db?synchronous=normal"
    run_and_kill(url, tmp_path, seed=1)
    store = open_store(url)
    assert billed(tmp_path) <= await settled(store) <= LIMIT
    await store.close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.asyncio
async def test_processes_killed_in_the_middle_never_overspend_a_server(
    tmp_path: Path, server: RedisServer
) -> None:
    run_and_kill(server.url(), tmp_path, seed=2)
    store = open_store(server.url())
    assert billed(tmp_path) <= await settled(store) <= LIMIT
    await store.close()


@pytest.mark.asyncio
async def test_processes_that_begin_at_once_make_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db?synchronous=normal"
    workers = [worker(url, f"w{n}", str(tmp_path / f"{n}.bill")) for n in range(4)]
    while any(not (tmp_path / f"{n}.bill").exists() for n in range(4)) or not billed(tmp_path):
        await asyncio.sleep(0.01)
    while len(await recorded(url)) < 4:
        await asyncio.sleep(0.01)
    for each in workers:
        each.kill()
        assert each.communicate()[0] == ""


async def recorded(url: str) -> tuple[object, ...]:
    store = open_store(url)
    found = await store.accounts()
    await store.close()
    return found[0].leases if found else ()


@pytest.mark.asyncio
@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_server_killed_in_the_middle_is_never_overspent(
    tmp_path: Path, started: list[RedisServer], fsync: str
) -> None:
    server = a_server(started, tmp_path, "--appendonly", "yes", "--appendfsync", fsync)
    options = {"durable": "yes"} if fsync == "always" else {}
    url = server.url(**options)
    workers = [worker(url, f"w{n}", str(tmp_path / f"{n}.bill")) for n in range(3)]
    for part in (1, 2, 3):
        while billed(tmp_path) < LIMIT * part // 4:
            await asyncio.sleep(0.01)
        server.signal(signal.SIGKILL)
        server.start()
    while billed(tmp_path) < LIMIT * 19 // 20:
        await asyncio.sleep(0.01)
    for each in workers:
        each.kill()
        assert each.communicate()[0] == ""
    store = open_store(url)
    assert billed(tmp_path) <= await settled(store) <= LIMIT
    await store.close()
