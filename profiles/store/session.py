"""Transactions on a leased database file, one per thread, nested blocks joining the outer one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from profiles.errors import InputError
from profiles.store.lease import DatabaseFile

Execute = Callable[[str, Sequence[Any]], duckdb.DuckDBPyConnection]


class _Current(threading.local):
    """What this thread has taken."""

    connection: duckdb.DuckDBPyConnection | None = None
    writing: bool = False


class Session:
    """Runs SQL in transactions; the file is taken when one begins and given back when it ends.

    Args:
        file: The database.
        path: As people named it, for messages.
        wait_s: Seconds to wait for others who use the file.
        read_only: Refuse to write.
    """

    def __init__(self, file: DatabaseFile, path: Path, *, wait_s: float, read_only: bool) -> None:
        self._file: DatabaseFile | None = file
        self._path = path
        self._wait_s = wait_s
        self._read_only = read_only
        self._current = _Current()

    def close(self) -> None:
        """Refuse whatever comes after."""
        if self._file is not None:
            self._file.close()
        self._file = None

    @contextmanager
    def transaction(
        self, *, write: bool, prepare: Callable[[bool], None] | None = None
    ) -> Iterator[None]:
        """One consistent view of the file; what is written is kept if the block ends without error.

        Args:
            write: Whether the block may write.
            prepare: Called at the start unless the block is nested, with whether it may write.
        """
        if self._current.connection is not None:
            if write and not self._current.writing:
                raise self._refusal("a block that reads cannot write")
            yield
            return
        if self._file is None:
            raise self._refusal("the store is closed")
        if write and self._read_only:
            raise self._refusal("it was opened for reading")
        with self._file.lease(write=write, wait_s=self._wait_s) as connection:
            self._current.connection, self._current.writing = connection, write
            try:
                self.execute("BEGIN")
                if prepare:
                    prepare(write)
                yield
                self.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.Error):  # nothing to roll back where BEGIN or COMMIT failed
                    connection.rollback()
                raise
            finally:
                self._current.connection = None

    def execute(self, sql: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        """Run SQL inside a transaction; DuckDB's errors as ours."""
        if self._current.connection is None:
            raise self._refusal("this needs a transaction")
        try:
            return self._current.connection.execute(sql, list(values))
        except duckdb.Error as error:
            raise self._refusal(str(error).splitlines()[0]) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        return self.execute(sql, values).fetchall()

    @contextmanager
    def incoming(self, table: pa.Table) -> Iterator[None]:
        """An Arrow table as relation `incoming`, with `ordinal`, while the block lasts."""
        connection = self._current.connection
        if connection is None:
            raise self._refusal("this needs a transaction")
        ordinal = pa.array(range(table.num_rows), pa.int64())
        connection.register("incoming", table.append_column("ordinal", ordinal))
        try:
            yield
        finally:
            with suppress(duckdb.Error):  # an aborted transaction refuses even this
                connection.unregister("incoming")

    def _refusal(self, why: str) -> InputError:
        return InputError("the profile store refused an operation", where=str(self._path), got=why)
