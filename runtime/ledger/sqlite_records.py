"""The records of a shared store in SQLite, within the transaction of one exchange."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from runtime.ledger.records import Epoch, Replica, Row, State
from runtime.ledger.store import LogEntry, LogKind

SCHEMA = """
CREATE TABLE meta (generation TEXT NOT NULL, heard_s REAL, awake_s REAL) STRICT;
CREATE TABLE replica (
  name TEXT PRIMARY KEY, number INTEGER NOT NULL, ttl_s REAL NOT NULL, state TEXT NOT NULL,
  due_s REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replica_due ON replica (due_s);
CREATE TABLE lease (
  replica TEXT NOT NULL, account TEXT NOT NULL, epoch INTEGER NOT NULL, leased INTEGER NOT NULL,
  spent INTEGER NOT NULL, requests INTEGER NOT NULL, swept INTEGER NOT NULL,
  swept_bucket INTEGER NOT NULL, PRIMARY KEY (replica, account, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_epoch ON lease (account, epoch);
CREATE TABLE epoch (
  account TEXT NOT NULL, epoch INTEGER NOT NULL, ends_s INTEGER, window_s INTEGER, "limit" INTEGER,
  lapses INTEGER NOT NULL, carried INTEGER NOT NULL, spent INTEGER NOT NULL, held INTEGER NOT NULL,
  requests INTEGER NOT NULL, pressed_at_s REAL NOT NULL, "order" INTEGER NOT NULL,
  PRIMARY KEY (account, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE newest (account TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE bucket (
  account TEXT NOT NULL, bucket INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (account, bucket)
) STRICT, WITHOUT ROWID;
CREATE TABLE log (
  at_s REAL NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL, epoch INTEGER NOT NULL,
  amount INTEGER NOT NULL, replica TEXT, reason TEXT NOT NULL
) STRICT;
"""

_LATEST_EPOCHS = """
SELECT epoch.* FROM epoch
JOIN (SELECT account, max(epoch) AS last FROM epoch GROUP BY account) USING (account)
WHERE epoch = last OR ends_s > last
"""
_LATEST_LEASES = """
SELECT lease.* FROM lease
JOIN (SELECT account, max(epoch) AS last FROM epoch GROUP BY account) USING (account)
WHERE epoch = last
"""


class SqliteRecords:
    """`records.Records` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._do = connection.execute

    def heard(self) -> tuple[float, float] | None:
        """When the last exchange was, and since when the store hears."""
        found = self._do("SELECT heard_s, awake_s FROM meta").fetchone()
        return None if found[0] is None else (found[0], found[1])

    def put_heard(self, last_s: float, awake_s: float) -> None:
        """Keep both."""
        self._do("UPDATE meta SET heard_s = ?, awake_s = ?", (last_s, awake_s))

    def replica(self, name: str) -> Replica | None:
        """One replica."""
        found = self._do("SELECT * FROM replica WHERE name = ?", (name,)).fetchone()
        return None if found is None else _replica(found)

    def due(self, now_s: float) -> Sequence[Replica]:
        """Replicas whose time has passed."""
        sql = "SELECT * FROM replica WHERE due_s < ? ORDER BY due_s, name"
        return [_replica(found) for found in self._do(sql, (now_s,)).fetchall()]

    def live(self) -> int:
        """How many replicas are live."""
        sql = "SELECT count(*) FROM replica WHERE state = 'live'"
        return int(self._do(sql).fetchone()[0])

    def put_replica(self, replica: Replica) -> None:
        """Keep it."""
        self._do(
            "REPLACE INTO replica VALUES (?, ?, ?, ?, ?)",
            (replica.name, replica.number, replica.ttl_s, replica.state.value, replica.due_s),
        )

    def forget(self, name: str) -> None:
        """Drop a replica and its rows."""
        self._do("DELETE FROM lease WHERE replica = ?", (name,))
        self._do("DELETE FROM replica WHERE name = ?", (name,))

    def rows(self, replica: str) -> Sequence[Row]:
        """All rows of a replica."""
        sql = "SELECT * FROM lease WHERE replica = ? ORDER BY account, epoch"
        return [Row(*found) for found in self._do(sql, (replica,)).fetchall()]

    def row(self, replica: str, account: str, epoch: int) -> Row | None:
        """One row."""
        sql = "SELECT * FROM lease WHERE replica = ? AND account = ? AND epoch = ?"
        found = self._do(sql, (replica, account, epoch)).fetchone()
        return None if found is None else Row(*found)

    def put_row(self, row: Row) -> None:
        """Keep it."""
        key = row.replica, row.account, row.epoch
        amounts = row.leased, row.spent, row.requests, row.swept, row.swept_bucket
        self._do("REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*key, *amounts))

    def newest(self, account: str) -> int | None:
        """The newest epoch that was opened."""
        found = self._do("SELECT epoch FROM newest WHERE account = ?", (account,)).fetchone()
        return None if found is None else int(found[0])

    def put_newest(self, account: str, epoch: int) -> None:
        """Keep it."""
        self._do("REPLACE INTO newest VALUES (?, ?)", (account, epoch))

    def epoch(self, account: str, epoch: int) -> Epoch | None:
        """One epoch."""
        sql = "SELECT * FROM epoch WHERE account = ? AND epoch = ?"
        found = self._do(sql, (account, epoch)).fetchone()
        return None if found is None else _epoch(found)

    def put_epoch(self, epoch: Epoch) -> None:
        """Keep it."""
        span = epoch.account, epoch.epoch, epoch.ends_s, epoch.window_s
        told = epoch.limit, epoch.lapses, epoch.carried
        sums = epoch.spent, epoch.held, epoch.requests, epoch.pressed_at_s, epoch.order
        self._do(
            "REPLACE INTO epoch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*span, *told, *sums)
        )

    def past(self, account: str, newest: int) -> Sequence[Epoch]:
        """Epochs of an account before this one."""
        sql = "SELECT * FROM epoch WHERE account = ? AND epoch < ? ORDER BY epoch"
        return [_epoch(found) for found in self._do(sql, (account, newest)).fetchall()]

    def between(self, account: str, after: int, before: int) -> Sequence[Epoch]:
        """Epochs of an account that began after one moment and before another."""
        sql = "SELECT * FROM epoch WHERE account = ? AND epoch > ? AND epoch < ? ORDER BY epoch"
        return [_epoch(found) for found in self._do(sql, (account, after, before)).fetchall()]

    def drop_epoch(self, account: str, epoch: int) -> None:
        """Drop an epoch and its rows."""
        self._do("DELETE FROM lease WHERE account = ? AND epoch = ?", (account, epoch))
        self._do("DELETE FROM epoch WHERE account = ? AND epoch = ?", (account, epoch))

    def buckets(self, account: str) -> dict[int, int]:
        """Charges of a rolling window by bucket."""
        return dict(
            self._do("SELECT bucket, amount FROM bucket WHERE account = ?", (account,)).fetchall()
        )

    def put_bucket(self, account: str, bucket: int, amount: int) -> None:
        """Keep one; 0 drops it."""
        if amount:
            self._do("REPLACE INTO bucket VALUES (?, ?, ?)", (account, bucket, amount))
        else:
            self._do("DELETE FROM bucket WHERE account = ? AND bucket = ?", (account, bucket))

    def add_log(self, entry: LogEntry) -> None:
        """Append."""
        change = entry.at_s, entry.kind.value, entry.account, entry.epoch, entry.amount
        self._do(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", (*change, entry.replica, entry.reason)
        )

    def epochs(self, *, latest: bool = False) -> Iterator[Epoch]:
        """All epochs, by account and epoch; or of each account the last, and what overlaps it."""
        sql = _LATEST_EPOCHS if latest else "SELECT * FROM epoch"
        for found in self._do(f"{sql} ORDER BY account, epoch"):
            yield _epoch(found)

    def leases(self, *, latest: bool = False) -> Iterator[Row]:
        """All rows, by account, epoch and replica; or those of each account's last epoch."""
        sql = _LATEST_LEASES if latest else "SELECT * FROM lease"
        for found in self._do(f"{sql} ORDER BY account, epoch, replica"):
            yield Row(*found)

    def log(self) -> Iterator[LogEntry]:
        """All entries in order."""
        for at_s, kind, *rest in self._do("SELECT * FROM log ORDER BY rowid"):
            yield LogEntry(at_s, LogKind(kind), *rest)


def _replica(found: tuple[str, int, float, str, float]) -> Replica:
    name, number, ttl_s, state, due_s = found
    return Replica(name, number, ttl_s, State(state), due_s)


def _epoch(
    found: tuple[str, int, int, int, int, int, int, int, int, int, float, int],
) -> Epoch:
    account, epoch, ends_s, window_s, limit, lapses, *sums = found
    carried, spent, held, requests, pressed_at_s, order = sums
    return Epoch(
        account,
        epoch,
        ends_s,
        window_s,
        limit,
        bool(lapses),
        int(carried),
        int(spent),
        int(held),
        int(requests),
        pressed_at_s,
        int(order),
    )
