"""The shared store in one SQLite file, for the processes of one machine.

``synchronous=full``, the default, waits for the disk at every exchange: what was granted survives
a power cut. ``?synchronous=normal`` is many times faster; it survives the end of any process, but a
power cut can lose the last exchanges, and with them what processes had spent that died with it.

The file must lie on a disk of this machine: SQLite's shared memory does not work over networks.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

from profiles.errors import InputError
from runtime.ledger.exchange import check, check_correction, correct, perform
from runtime.ledger.overlapping import as_shown, latest_of
from runtime.ledger.records import Epoch, Row
from runtime.ledger.rolling import counted
from runtime.ledger.sqlite_records import SCHEMA, SqliteRecords
from runtime.ledger.store import (
    AccountRecord,
    Exchange,
    LeaseRecord,
    LogEntry,
    Reply,
    StoreForgotError,
    StoreLostError,
    address_parts,
)

LARGEST = 2**62 - 1
"""Sums of two fit into SQLite's 64 bits."""
BUSY_S = 5.0
"""For so long an exchange waits for those of other processes."""
_APPLICATION = 0x1BFB1ED6
_FORMAT = 2
_SYNCHRONOUS = ("full", "normal")
_USELESS = ("not a database", "unable to open", "readonly")  # in what SQLite says
_T = TypeVar("_T")


def sqlite_options(url: str) -> tuple[str, str]:
    """Path and synchronous setting of a ``sqlite:///`` address.

    Raises:
        InputError: There is a host, no path, or an unknown option.
    """
    parts = address_parts(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full")
    path = unquote(parts.path)[1:]
    wrong = {
        "a host": bool(parts.netloc),
        "no path": not path,
        "synchronous": synchronous not in _SYNCHRONOUS,
        **dict.fromkeys(options, True),
    }
    if any(wrong.values()):
        raise InputError(
            "no such ledger store",
            expected="sqlite:///path/ledger.db, with ?synchronous=full or normal",
            got=", ".join(sorted(name for name in wrong if wrong[name])),
        )
    return path, synchronous


class SqliteStore:
    """`Store` in a file. Its thread does the waiting, never the event loop.

    Args:
        path: The file; it is made where there is none, for this user only.
        synchronous: `full` or `normal`.
        clock: Unix time in seconds; one for all processes.
        busy_s: How long to wait for other processes.
    """

    largest = LARGEST

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "full",
        clock: Callable[[], float] = time.time,
        busy_s: float = BUSY_S,
    ) -> None:
        self._path = path
        self._synchronous = synchronous
        self._clock = clock
        self._busy_s = busy_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-store")
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._generation: str | None = None
        self._closed = False

    async def now(self) -> float:
        """The store's clock; opens the file."""
        return await self._in_thread(lambda: self._transact(lambda _: self._clock()))

    async def exchange(self, exchange: Exchange) -> Reply:
        """As `Store.exchange`."""
        check(exchange, LARGEST)

        def step(records: SqliteRecords) -> Reply:
            # Read within the lock: exchanges see the clock in their own order.
            now_s = self._clock()
            given = perform(records, exchange, now_s)
            return Reply(now_s, self._generation or "", given, run=self._generation or "")

        return await self._in_thread(lambda: self._transact(step))

    async def accounts(self, *, latest: bool = False) -> tuple[AccountRecord, ...]:
        """As `Store.accounts`. Nobody has to wait meanwhile."""

        def step(records: SqliteRecords) -> tuple[AccountRecord, ...]:
            return self._accounts(records, latest=latest)

        return await self._in_thread(lambda: self._transact(step, reads=True))

    async def adjust(self, account: str, epoch: int, amount: int, reason: str) -> None:
        """As `Store.adjust`."""
        check_correction(account, amount, reason, LARGEST)

        def step(records: SqliteRecords) -> None:
            correct(records, account, epoch, amount, reason=reason, now_s=self._clock())

        await self._in_thread(lambda: self._transact(step))

    async def log(self) -> tuple[LogEntry, ...]:
        """As `Store.log`."""

        def step(records: SqliteRecords) -> tuple[LogEntry, ...]:
            return tuple(records.log())

        return await self._in_thread(lambda: self._transact(step, reads=True))

    async def close(self) -> None:
        """As `Store.close`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def _in_thread(self, step: Callable[[], _T]) -> _T:
        if self._closed:
            raise StoreLostError(f"the ledger store {self._path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)

    def _transact(self, step: Callable[[SqliteRecords], _T], *, reads: bool = False) -> _T:
        """Do all of a step or nothing of it. One that only reads locks nobody out."""
        try:
            connection = self._connected()
            connection.execute("BEGIN" if reads else "BEGIN IMMEDIATE")
            try:
                self._recognise(connection)
                found = step(SqliteRecords(connection))
                connection.execute("COMMIT")
            except BaseException:
                # A full disk has already rolled back.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except OverflowError as error:
            raise InputError(
                "the ledger store cannot count so much", expected=f"at most {LARGEST}"
            ) from error
        except (sqlite3.Error, OSError) as error:
            raise self._error(error) from error
        else:
            return found

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        _make(self._path)
        connection = sqlite3.connect(
            self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables where the file is empty; refuse every other file that is not ours."""
        connection.execute("BEGIN IMMEDIATE")
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not application and not tables:
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            generation = secrets.token_hex(8)
            connection.execute("INSERT INTO meta (generation) VALUES (?)", (generation,))
        elif application != _APPLICATION:
            raise self._refused("this is a database of another program", f"id {application:#x}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != _FORMAT:
            raise self._refused("this ledger store has another format", f"format {version}")
        connection.execute("COMMIT")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        _write_ahead(connection, time.monotonic() + self._busy_s)

    def _refused(self, what: str, got: str) -> InputError:
        return InputError(
            what,
            where=str(self._path),
            expected=f"a ledger store of format {_FORMAT}, or no file",
            got=got,
            next_step="name another file, or use the version of inferbudget that wrote this one",
        )

    def _recognise(self, connection: sqlite3.Connection) -> None:
        """Make sure that the file is still the one at the path: others would open a new one."""
        found = self._path.stat()
        generation = connection.execute("SELECT generation FROM meta").fetchone()[0]
        self._file = self._file or (found.st_dev, found.st_ino)
        self._generation = self._generation or generation
        if self._file != (found.st_dev, found.st_ino) or self._generation != generation:
            raise StoreForgotError(f"the ledger store {self._path} was replaced by another file")

    def _error(self, error: sqlite3.Error | OSError) -> Exception:
        known = self._generation is not None
        if isinstance(error, FileNotFoundError) and known:
            return StoreForgotError(f"the ledger store {self._path} was removed")
        never = isinstance(error, OSError) or any(words in str(error) for words in _USELESS)
        if not known and never:
            return InputError(
                "the ledger store cannot be opened",
                where=str(self._path),
                expected="a file in a folder that can be written",
                got=getattr(error, "strerror", None) or str(error),
            )
        return StoreLostError(f"the ledger store {self._path} failed: {error}")

    def _accounts(self, records: SqliteRecords, *, latest: bool) -> tuple[AccountRecord, ...]:
        now_s = self._clock()
        rows = {
            key: [_lease(row) for row in group]
            for key, group in groupby(
                records.leases(latest=latest), lambda row: (row.account, row.epoch)
            )
        }
        epochs = list(records.epochs(latest=latest))
        orders = {(epoch.account, epoch.epoch): epoch.order for epoch in epochs}
        found = (
            _record(records, epoch, rows.get((epoch.account, epoch.epoch), []), now_s)
            for epoch in epochs
        )
        shown = as_shown(found, orders)
        return tuple(latest_of(shown) if latest else shown)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _make(path: Path) -> None:
    """Make an empty file where there is none, for this user only; SQLite's own take its mode over.

    One that is there is not even opened. To close it would end every lock that this process has on
    it, and the next process that leaves would remove the log that is still written here
    (sqlite.org/howtocorrupt.html, 2.2).
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with suppress(FileExistsError):
        os.close(os.open(os.path.realpath(path), flags, 0o600))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _write_ahead(connection: sqlite3.Connection, until_s: float) -> None:
    # SQLite does not wait for another process that changes the mode at the same time.
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until_s:
                raise
            time.sleep(0.01)
        else:
            return


def _lease(row: Row) -> LeaseRecord:
    return LeaseRecord(row.replica, row.leased, row.spent, row.requests, row.swept)


def _record(
    records: SqliteRecords, epoch: Epoch, leases: list[LeaseRecord], now_s: float
) -> AccountRecord:
    spent = epoch.spent
    if epoch.window_s is not None:
        spent = sum(counted(records.buckets(epoch.account), now_s, epoch.window_s).values())
    return AccountRecord(
        account=epoch.account,
        epoch=epoch.epoch,
        ends_s=epoch.ends_s,
        window_s=epoch.window_s,
        limit=epoch.limit,
        carried=epoch.carried,
        spent=spent,
        held=epoch.held,
        requests=epoch.requests,
        leases=tuple(leases),
    )
