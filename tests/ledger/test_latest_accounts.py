"""The windows that began last: what a store says of them alone is what it says among all."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from itertools import groupby
from pathlib import Path

import pytest
from store_servers import START_S, Shelf, Speaker, truth

from runtime.ledger.sqlite_store import SqliteStore
from runtime.ledger.store import AccountRecord, Store

HOUR_S = 3_600
NOW = int(START_S)


async def both(store: Store) -> tuple[tuple[AccountRecord, ...], list[AccountRecord]]:
    """The latest, and the last of all windows of each account."""
    everything = await store.accounts()
    last = [list(found)[-1] for _, found in groupby(everything, key=lambda one: one.account)]
    return await store.accounts(latest=True), last


@pytest.mark.asyncio
async def test_of_each_account_it_is_the_last_window_with_its_own_leases(shelf: Shelf) -> None:
    store = shelf.open()
    hour = NOW // HOUR_S * HOUR_S
    speakers = [Speaker(store, name, 0, 3_600.0) for name in ("a", "b")]
    for speaker in speakers:
        await store.exchange(
            speaker.says(
                truth("total", leased=5, spent=3),
                truth("rolls", leased=5, spent=2, window_s=60),
                *(
                    truth("hours", leased=9, spent=back, epoch=at, ends_s=at + HOUR_S)
                    for back, at in enumerate(range(hour - 5 * HOUR_S, hour + 1, HOUR_S))
                ),
                truth("over", leased=4, spent=1, epoch=hour - HOUR_S, ends_s=hour),
            )
        )
    latest, last = await both(store)
    assert list(latest) == last
    by_name = {one.account: one for one in latest}
    assert set(by_name) == {"hours", "over", "rolls", "total"}
    assert by_name["hours"].epoch == hour
    assert [(lease.replica, lease.spent) for lease in by_name["hours"].leases] == [
        ("a", 5), ("b", 5)
    ]  # fmt: skip
    await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(8))
async def test_it_is_the_same_where_windows_of_a_budget_overlap(shelf: Shelf, seed: int) -> None:
    store, rng = shelf.open(), random.Random(seed)
    speaker = Speaker(store, "a", 0, 3_600.0)
    for _ in range(20):
        name = rng.choice("xyz")
        start = NOW - NOW % HOUR_S + rng.randrange(-6, 3) * HOUR_S // 2
        moved = {
            "epoch": start,
            "ends_s": start + rng.choice((1, 2, 3)) * HOUR_S,
            "carry_over": rng.randrange(50),
        }
        spent = rng.randrange(20)
        await store.exchange(speaker.says(truth(name, leased=spent + 2, spent=spent, **moved)))
    latest, last = await both(store)
    assert list(latest) == last
    await store.close()


@pytest.mark.asyncio
async def test_a_new_store_has_none(shelf: Shelf) -> None:
    store = shelf.open()
    assert await store.accounts(latest=True) == ()
    await store.close()


@pytest.mark.asyncio
async def test_whoever_looks_keeps_nobody_from_writing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, busy_s=0.05)
    await store.exchange(Speaker(store, "a", 0, 3_600.0).says(truth("total", leased=5, spent=3)))
    with sqlite3.connect(path, isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        (found,) = await store.accounts()
        assert found.spent == 3
        assert await store.log() == ()
        lock.execute("ROLLBACK")
    lock.close()
    await store.close()


@pytest.mark.asyncio
async def test_looks_and_exchanges_at_once_see_whole_exchanges(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    writer, reader = (SqliteStore(path, synchronous="normal") for _ in range(2))
    speaker, done = Speaker(writer, "a", 0, 3_600.0), asyncio.Event()

    async def write() -> None:
        for spent in range(1, 200):
            both = (truth(name, leased=spent, spent=spent, limit=1_000) for name in "xy")
            await writer.exchange(speaker.says(*both))
        done.set()

    writing = asyncio.create_task(write())
    seen = []
    while not done.is_set():
        seen.append([one.spent for one in await reader.accounts(latest=True)])
    await writing
    assert all(len(set(spent)) <= 1 for spent in seen)
    assert seen == sorted(seen)
    for store in (writer, reader):
        await store.close()
