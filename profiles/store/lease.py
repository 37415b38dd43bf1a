"""One database file among threads and processes: taken for an operation, given back after it.

DuckDB locks a file against every other process while one has it open for writing. So nobody keeps
it open: a lease lasts for one call or one transaction, and others wait their turn.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Lock

import duckdb

from profiles.errors import InputError

WAIT_S = 30.0
_FIRST_DELAY_S = 0.005
_LONGEST_DELAY_S = 0.25
_LOCKED = ("could not set lock", "being used by another process")


@dataclass(slots=True)
class DatabaseFile:
    """The one connection that a process has to a file, while any of its threads uses it.

    DuckDB refuses to open a file in two modes in one process, so readers and the writer of a
    process share a connection, each by its own cursor. One thread writes at a time.
    """

    path: Path
    _connection: duckdb.DuckDBPyConnection | None = None
    _writable: bool = False
    _writing: bool = False
    _users: int = 0
    _changed: Condition = field(default_factory=Condition)

    @contextmanager
    def lease(self, *, write: bool, wait_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor on the file while the block lasts; all leases end before the file is closed.

        Raises:
            InputError: The file is no database, or others kept it for longer than `wait_s`.
        """
        cursor = self._take(write, time.monotonic() + wait_s, wait_s)
        try:
            yield cursor
        finally:
            self._give_back(cursor, write)

    def close(self) -> None:
        """Nothing to do: between leases nobody has the file open."""

    def _take(self, write: bool, deadline: float, wait_s: float) -> duckdb.DuckDBPyConnection:  # noqa: FBT001 - private
        delay = _FIRST_DELAY_S
        holder = "a thread of this process"
        with self._changed:
            while True:
                if self._connection is None:
                    holder = self._try_to_open(write) or holder
                if self._connection is not None and self._fits(write):
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _busy(self.path, wait_s, holder)
                # jitter, so that two processes that wait for each other fall out of step
                self._changed.wait(min(left, delay * random.uniform(0.5, 1.5)))
                delay = min(2 * delay, _LONGEST_DELAY_S)
            cursor = self._connection.cursor()
            self._users += 1
            self._writing |= write
            return cursor

    def _fits(self, write: bool) -> bool:  # noqa: FBT001 - private
        return not write or (self._writable and not self._writing)

    def _try_to_open(self, write: bool) -> str | None:  # noqa: FBT001 - private
        """Opens the file; who has it where another process does."""
        try:
            self._connection = duckdb.connect(str(self.path), read_only=not write)
        except (duckdb.Error, OSError, UnicodeError) as error:
            if any(words in str(error).lower() for words in _LOCKED):
                return str(error).splitlines()[0]
            if self.path.is_file() and not self.path.stat().st_size:
                raise InputError(
                    "this file is empty, so it is no profile store",
                    where=str(self.path),
                    next_step="remove it: a store is made where there is no file",
                ) from error
            raise InputError(
                "cannot open the profile store",
                where=str(self.path),
                expected="a DuckDB file that can be read" + (" and written" if write else ""),
                got=str(error).splitlines()[0],
            ) from error
        self._writable = write
        return None

    def _give_back(self, cursor: duckdb.DuckDBPyConnection, write: bool) -> None:  # noqa: FBT001 - private
        with self._changed:
            with suppress(duckdb.Error):
                cursor.close()
            self._users -= 1
            if write:
                self._writing = False
            if not self._users and self._connection is not None:
                # a disk that is full refuses the checkpoint, not what was committed
                with suppress(duckdb.Error):
                    self._connection.close()
                self._connection = None
            self._changed.notify_all()


class MemoryDatabase(DatabaseFile):
    """A store that lives as long as its process keeps it open."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        super().__init__(Path(":memory:"))
        self._kept = self._take(write=True, deadline=0.0, wait_s=0.0)
        self._writing = False

    def close(self) -> None:
        """Forget everything."""
        self._give_back(self._kept, write=False)


_files: dict[Path, DatabaseFile] = {}
_files_lock = Lock()


def database_file(path: Path) -> DatabaseFile:
    """The process's one object for a file."""
    key = path.resolve()
    with _files_lock:
        return _files.setdefault(key, DatabaseFile(key))


def _busy(path: Path, wait_s: float, holder: str) -> InputError:
    return InputError(
        "the profile store is in use",
        where=str(path),
        expected=f"a moment within {wait_s:g} s in which nobody else writes",
        got=holder,
        next_step="let the other one finish, or stop it, and try again",
    )
