"""What a store holds, as one file that other tools and other stores read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa

from profiles.errors import InputError
from profiles.store.folders import quoted
from profiles.store.schema import ALL_OBSERVATIONS, OBSERVATIONS
from profiles.store.session import Execute
from profiles.store.store import Store

_BATCH = 10_000
_PARQUET = ".parquet"
_COPY = {
    _PARQUET: "FORMAT parquet, COMPRESSION zstd",
    ".csv": "FORMAT csv, HEADER",
    ".json": "FORMAT json, ARRAY true",
    ".jsonl": "FORMAT json",
}
_TABLES = {
    "observations": (ALL_OBSERVATIONS, OBSERVATIONS.key),
    "queries": ("queries", ("workload", "query_id")),
    "aggregates": ("aggregates", ("workload", "class_name", "strategy")),
    "arrivals": ("arrivals", ("workload", "arrived_at", "request_id")),
    "serving": ("serving", ("source", "label")),
    "quarantine": ("quarantine", ("file", "line", "reason", "content", "import_digest")),
}
_TIMES = {"arrivals": "arrived_at"} | dict.fromkeys(
    ("observations", "aggregates", "serving"), "observed_at"
)


def export_table(store: Store, what: str, workload: str | None, path: Path) -> None:
    """Write rows to a file, sorted by key; the format follows the suffix.

    DuckDB writes the file, so any number of rows will do. Times are UTC and say so.

    Args:
        store: Where from.
        what: ``observations`` (those of registered folders included), ``queries`` (with a column
            per column of groups), ``aggregates``, ``arrivals``, ``serving`` or ``quarantine``.
        workload: Of which traffic; None for serving and quarantine, which belong to none.
        path: ``.parquet``, ``.csv``, ``.json`` or ``.jsonl``. A file there is replaced when the
            new one is complete, never before.

    Raises:
        InputError: Another suffix, a path that cannot be written, nothing to write, or a column of
            groups that is called like another column.
    """
    with store.reading() as execute, _replacing(path) as (partial, options):
        select = _select(execute, what, workload, zoned=path.suffix == _PARQUET)
        if not execute(f"SELECT 1 FROM ({select}) LIMIT 1", []).fetchall():  # noqa: S608 - our own query
            raise _nothing(what, workload)
        execute(f"COPY ({select}) TO {quoted(str(partial))} ({options})", [])


def export_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows that were computed, e.g. cells, in the same formats.

    Raises:
        InputError: Another suffix, or a path that cannot be written.
    """
    with duckdb.connect() as connection, _replacing(path) as (partial, options):
        connection.register("computed", pa.Table.from_pylist([dict(row) for row in rows]))
        try:
            connection.execute(f"COPY computed TO {quoted(str(partial))} ({options})")
        except duckdb.Error as error:
            raise _unwritable(path, error) from error


def stream_table(store: Store, what: str, workload: str | None, out: IO[str]) -> None:
    """Write the rows of `export_table` as JSON lines to an open stream, a batch at a time."""
    with store.reading() as execute:
        result = execute(_select(execute, what, workload, zoned=False), [])
        names = [column[0] for column in result.description or ()]
        batch = result.fetchmany(_BATCH)
        if not batch:
            raise _nothing(what, workload)
        while batch:
            stream_rows((dict(zip(names, row, strict=True)) for row in batch), out)
            batch = result.fetchmany(_BATCH)


def stream_rows(rows: Iterator[Mapping[str, Any]], out: IO[str]) -> None:
    """Write rows as JSON lines to an open stream."""
    for row in rows:
        out.write(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")


def _select(execute: Execute, what: str, workload: str | None, *, zoned: bool) -> str:
    relation, key = _TABLES[what]
    source = _with_groups(execute, workload) if what == "queries" and workload else relation
    where = "true" if workload is None else f"workload = {quoted(workload)}"
    columns = "*"
    if time := _TIMES.get(what):
        said = f"timezone('UTC', {time})" if zoned else f"strftime({time}, '%Y-%m-%dT%H:%M:%S.%fZ')"
        columns = f"* REPLACE ({said} AS {time})"
    order = ", ".join(f"{relation}.{name}" for name in key)  # the stored value, not its text
    return f"SELECT {columns} FROM {source} WHERE {where} ORDER BY {order}"  # noqa: S608 - fixed names, quoted text


def _with_groups(execute: Execute, workload: str) -> str:
    """The queries with what ``profile import --prompts FILE --group COLUMN`` reads back."""
    sql = "SELECT DISTINCT name FROM query_groups WHERE workload = ? ORDER BY name"
    names = [name for (name,) in execute(sql, [workload]).fetchall()]
    if not names:
        return "queries"
    seen = {"workload", "query_id", "prompt", "class_label"}
    for name in names:
        if name.lower() in seen:
            raise InputError(
                "two columns of this export would have one name",
                where=f"workload {workload}",
                got=f"a column of groups called {name!r}",
                next_step="read the table query_groups with DuckDB",
            )
        seen.add(name.lower())
    values = ", ".join(
        f"max(value) FILTER (WHERE name = {quoted(name)}) AS {_identifier(name)}" for name in names
    )
    return (
        f"(SELECT * FROM queries FULL JOIN (SELECT workload, query_id, {values} FROM query_groups "  # noqa: S608 - quoted text
        f"WHERE workload = {quoted(workload)} GROUP BY ALL) USING (workload, query_id)) AS queries"
    )


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _replacing(path: Path) -> Iterator[tuple[Path, str]]:
    """A name beside the file to write to, and DuckDB's options for its format."""
    options = _COPY.get(path.suffix)
    if options is None:
        raise InputError(
            "this suffix names no format",
            where=str(path),
            expected=", ".join(_COPY),
            got=path.suffix or "none",
        )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial, options
        partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _unwritable(path: Path, error: Exception) -> InputError:
    return InputError("cannot write the file", where=str(path), got=str(error).splitlines()[0])


def _nothing(what: str, workload: str | None) -> InputError:
    if workload is None:
        word = "serving measurements" if what == "serving" else "rows in quarantine"
        return InputError(f"the store holds no {word}")
    return InputError(
        f"the store holds no {what} of this workload",
        where=f"workload {workload}",
        next_step="check the workload's name",
    )
