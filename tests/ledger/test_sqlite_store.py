"""The store in a file: addresses, wrong files, locks, a full disk."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from store_servers import asks, leased, truth, worker

from profiles.errors import InputError
from runtime.ledger.sqlite_store import SqliteStore, sqlite_options
from runtime.ledger.store import StoreForgotError, StoreLostError, open_store


def test_addresses_of_files_are_read() -> None:
    assert sqlite_options("sqlite:///a/b.db") == ("a/b.db", "full")
    assert sqlite_options("sqlite:////a/b%20c.db?synchronous=normal") == ("/a/b c.db", "normal")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://host/a.db",
        "sqlite:///",
        "sqlite:///a.db?synchronous=off",
        "sqlite:///a.db?mode=ro",
        "postgres://host/db",
        "ledger.db",
        "",
        "redis://host:6379/0?namespace={a}",
        "redis://host:6379/0?namespace=",
        "redis://host:6379/0?ssl_ca_certs=x",
        "redis://host:6379/0?timeout_s=0",
        "redis://host:6379/0?timeout_s=nan",
        "redis://host:6379/0?timeout_s=inf",
        "redis://host:6379/0?durable=maybe",
        "redis://host:port/0",
    ],
)
def test_an_address_that_says_nothing_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="ledger store"):
        open_store(url)


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(InputError) as found:
        open_store("redis://me:secret@host/0?colour=red")
    assert "secret" not in str(found.value)
    assert "colour" in str(found.value)


@pytest.mark.asyncio
async def test_a_new_file_is_for_its_user_only(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/ledger.db")
    await asks(store, "a", 1, truth(short=5))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["ledger.db", "ledger.db-wal", "ledger.db-shm"], 0o600)
    await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(("synchronous", "level"), [("full", 2), ("normal", 1)])
async def test_the_file_waits_for_the_disk_as_asked(
    tmp_path: Path, synchronous: str, level: int
) -> None:
    store = SqliteStore(tmp_path / "ledger.db", synchronous=synchronous)
    await store.now()
    assert store._connection is not None
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await store.close()


def of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (words TEXT)")
    connection.close()


async def of_another_format(path: Path) -> None:
    store = SqliteStore(path)
    await store.now()
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()


@pytest.mark.asyncio
async def test_files_that_are_no_ledger_store_are_refused_and_left_alone(tmp_path: Path) -> None:
    foreign, other, text = tmp_path / "f.db", tmp_path / "o.db", tmp_path / "t.db"
    of_another_program(foreign)
    await of_another_format(other)
    text.write_text("dear diary\n" * 100)
    cases = {
        foreign: "database of another program",
        other: "format 9",
        text: "not a database",
        tmp_path: "directory",
        tmp_path / "none" / "l.db": "No such file",
    }
    for path, words in cases.items():
        before = path.read_bytes() if path.is_file() else b""
        store = SqliteStore(path)
        with pytest.raises(InputError, match=words):
            await asks(store, "a", 1, truth(short=5))
        await store.close()
        assert (path.read_bytes() if path.is_file() else b"") == before


LOOKS = """
import asyncio, sys
from runtime.ledger.store import open_store

async def look():
    store = open_store(sys.argv[1])
    print([found.spent for found in await store.accounts()])
    await store.close()

asyncio.run(look())
"""


@pytest.mark.asyncio
async def test_stores_that_share_a_process_lose_nothing_when_another_process_has_looked(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    store, beside = open_store(url), open_store(url)
    await asks(store, "a", 1, truth(leased=5, spent=3))
    await beside.now()

    def looked() -> str:
        command = [sys.executable, "-c", LOOKS, url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert await asyncio.to_thread(looked) == "[3]"
    await asks(store, "a", 2, truth(leased=15, spent=13))
    assert await asyncio.to_thread(looked) == "[13]"
    await beside.close()
    await store.close()


def test_a_file_that_cannot_be_written_is_a_mistake_in_its_address(tmp_path: Path) -> None:
    error = sqlite3.OperationalError("attempt to write a readonly database")
    assert isinstance(SqliteStore(tmp_path / "ledger.db")._error(error), InputError)


@pytest.mark.asyncio
async def test_a_file_that_was_replaced_or_removed_has_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store, other = SqliteStore(path), SqliteStore(tmp_path / "other.db")
    await store.now()
    await other.now()
    await other.close()
    path.unlink()
    with pytest.raises(StoreForgotError, match="removed"):
        await store.now()
    (tmp_path / "other.db").rename(path)
    with pytest.raises(StoreForgotError, match="replaced"):
        await store.now()
    await store.close()


@pytest.mark.asyncio
async def test_a_locked_file_is_waited_for_beside_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, busy_s=30)
    await store.now()
    with sqlite3.connect(path, isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(leased(store, "a", 1, truth(short=5)))
        for _ in range(50):
            await asyncio.sleep(0.001)  # the loop goes on
        assert not waiting.done()
        lock.execute("ROLLBACK")
    assert await waiting == 5
    lock.close()
    await store.close()


@pytest.mark.asyncio
async def test_a_file_that_stays_locked_is_a_lost_store(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, busy_s=0.05)
    await store.now()
    with sqlite3.connect(path, isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLostError, match="locked"):
            await leased(store, "a", 1, truth(short=5))
        lock.execute("ROLLBACK")
    lock.close()
    assert await leased(store, "a", 2, truth(short=5)) == 5
    await store.close()


@pytest.mark.asyncio
async def test_a_full_disk_is_a_lost_store_and_what_was_granted_stays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db?synchronous=normal"
    process = worker("fill", url, str(200_000))
    said = process.communicate(timeout=120)[0].split()
    assert said[0] == "StoreLostError"
    store = open_store(url)
    assert sum(record.held for record in await store.accounts()) == int(said[1]) > 0
    assert await leased(store, "r", 10**6, truth(short=5), ttl_s=1e6) == 5
    await store.close()


@pytest.mark.asyncio
async def test_sums_beyond_64_bits_are_refused_and_change_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    most = 2**62 - 1
    for name in "ab":
        await asks(store, name, 1, truth(limit=None, leased=most, spent=most))
    before = await store.accounts()
    with pytest.raises(InputError, match="cannot count so much"):
        await asks(store, "c", 1, truth(limit=None, leased=most, spent=most))
    assert await store.accounts() == before
    await store.close()
