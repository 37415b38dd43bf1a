"""Folders of Parquet files that are part of a store and stay where they are.

A registered folder is checked as an import would be, but refused as a whole: nothing in it may
break a rule or repeat a key. When its files change it is checked again before anybody reads it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiles.digest import digest
from profiles.errors import InputError
from profiles.observation import Evidence
from profiles.store.rules import refuse_broken
from profiles.store.schema import COLUMN_TYPES, OBSERVATIONS
from profiles.strategy import canonical

if TYPE_CHECKING:
    import duckdb

    Execute = Callable[[str, Sequence[Any]], duckdb.DuckDBPyConnection]

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
            "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE", "BOOLEAN", "DECIMAL")  # fmt: skip
_ZONED = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as it is registered.

    Attributes:
        path: Where it is, absolute.
        workload: Of every row, None where the files have a column of that name.
        evidence: Of every row, None where the files have a column of that name.
        fingerprint: Names, sizes and times of the files that were checked.
    """

    path: Path
    workload: str | None
    evidence: Evidence | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What a folder holds.

    Attributes:
        folder: Where it is, absolute.
        files: Parquet files in it, those in folders below included.
        rows: Observations in them.
        missing: Columns of an observation that no file has: unknown in every row.
        ignored: Columns of the files that are none of an observation's.
        fingerprint: Changes when a file comes, goes or changes.
    """

    folder: Path
    files: int
    rows: int
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How a folder's rows are read, as long as its files stay what they are.

    Attributes:
        fingerprint: Of the files.
        sql: A query with the columns of the table `observations`.
        types: Column to DuckDB type, as the files have them.
        files: How many.
    """

    fingerprint: str
    sql: str
    types: Mapping[str, str]
    files: int


def reading_of(
    execute: Execute, path: Path, workload: str | None, evidence: Evidence | None
) -> Reading:
    """Look at a folder's files and columns; rows are not read.

    Raises:
        InputError: The folder or its Parquet files are gone, or a column cannot be used.
    """
    files = parquet_files(path)
    source = f"read_parquet([{', '.join(quoted(str(file)) for file in files)}], union_by_name=true)"
    found = execute(f"DESCRIBE SELECT * FROM {source}", []).fetchall()  # noqa: S608 - quoted paths
    types = {str(row[0]): str(row[1]) for row in found}
    constants = {"workload": workload, "evidence": evidence.value if evidence else None}
    for name, value in constants.items():
        if value is not None and name in types:
            raise InputError(
                f"the files have a column {name} of their own",
                where=str(path),
                got=f"--{name} {value}",
                next_step=f"leave --{name} out",
            )
        if value is None and name not in types:
            raise InputError(
                f"no file has a column {name}", where=str(path), next_step=f"give --{name}"
            )
    parts = [f"{_expression(path, name, types, constants)} AS {name}" for name in COLUMN_TYPES]
    sql = f"SELECT {', '.join(parts)} FROM {source}"  # noqa: S608 - fixed names, quoted paths
    return Reading(fingerprint(files), sql, types, len(files))


def check_folder(execute: Execute, path: Path, reading: Reading, others: str) -> FolderReport:
    """Read all of a folder once and refuse what the store would not take.

    Args:
        execute: Runs SQL with values.
        path: The folder.
        reading: How to read it.
        others: A relation with every observation from elsewhere.

    Raises:
        InputError: A row breaks a rule, repeats another row's key, or is stored already.
    """
    where = str(path)
    _refuse_fractions(execute, path, reading)
    refuse_broken(execute, f"({reading.sql})", where)
    _refuse_spellings(execute, reading, where)
    _refuse_repeats(execute, reading, where, others)
    (rows,) = execute(f"SELECT count(*) FROM ({reading.sql})", []).fetchone() or (0,)  # noqa: S608 - our own query
    own = {"workload", "evidence", "source"}
    return FolderReport(
        folder=path,
        files=reading.files,
        rows=int(rows),
        missing=tuple(n for n in COLUMN_TYPES if n not in reading.types and n not in own),
        ignored=tuple(sorted(set(reading.types) - set(COLUMN_TYPES))),
        fingerprint=reading.fingerprint,
    )


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files below a folder, sorted; hidden and half-written ones are left out.

    Raises:
        InputError: The folder is gone, holds none, or a name that DuckDB takes for a pattern.
    """
    found = sorted(
        file
        for file in path.rglob("*.parquet")
        if not any(part[0] in "._" for part in file.relative_to(path).parts)
    )
    if not found:
        raise InputError(
            "the folder holds no Parquet file" if path.is_dir() else "there is no such folder",
            where=str(path),
            next_step="bring it back, or take it out of the store with "
            f"inferbudget profile register {shlex.quote(str(path))} --remove --profiles STORE",
        )
    odd = next((file for file in found if set(str(file)) & set("*?[")), None)
    if odd:
        raise InputError("a file's name has one of * ? [ in it", where=str(odd))
    return found


def fingerprint(files: Sequence[Path]) -> str:
    """A digest of the names, sizes and times of files."""
    stats = [(file, file.stat()) for file in files]
    return digest([[str(file), stat.st_size, stat.st_mtime_ns] for file, stat in stats])


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _expression(
    path: Path, name: str, types: Mapping[str, str], constants: Mapping[str, str | None]
) -> str:
    """One column of an observation from the files, as the table has it."""
    kind = COLUMN_TYPES[name]
    if name not in types:
        text = str(path) if name == "source" else constants.get(name)
        return f"CAST({'NULL' if text is None else quoted(text)} AS {kind})"
    theirs = types[name].split("(")[0]
    usable = {"VARCHAR": True, "TIMESTAMP": theirs in {"TIMESTAMP", _ZONED, "DATE"}}
    if not usable.get(kind, theirs in _NUMBERS):
        raise InputError(
            f"column {name} has a type that cannot be used",
            where=str(path),
            expected=kind,
            got=types[name],
        )
    value = f"timezone('UTC', {name})" if theirs == _ZONED else name
    return f"CAST({value} AS {kind})"


def _refuse_fractions(execute: Execute, path: Path, reading: Reading) -> None:
    """A cast would round what a column of whole numbers holds."""
    source = reading.sql[reading.sql.index("FROM read_parquet") :]
    for name, kind in COLUMN_TYPES.items():
        theirs = reading.types.get(name, "").split("(")[0]
        if kind == "BIGINT" and theirs in {"FLOAT", "DOUBLE", "DECIMAL"}:
            broken = f"NOT ({name} = trunc({name}) AND isfinite({name}::DOUBLE))"
            row = execute(f"SELECT {name} {source} WHERE {broken} LIMIT 1", []).fetchone()
            if row:
                raise InputError(
                    f"column {name} counts something",
                    where=str(path),
                    expected="whole numbers",
                    got=str(row[0]),
                )


def _refuse_spellings(execute: Execute, reading: Reading, where: str) -> None:
    """Two spellings of one strategy would be two strategies."""
    for (text,) in execute(f"SELECT DISTINCT strategy FROM ({reading.sql})", []).fetchall():  # noqa: S608 - our own query
        if canonical(text) != text:
            raise InputError(
                "a strategy is not in its canonical form",
                where=where,
                expected=canonical(text),
                got=text,
            )


def _refuse_repeats(execute: Execute, reading: Reading, where: str, others: str) -> None:
    key = ", ".join(OBSERVATIONS.key)
    inside = f"SELECT {key} FROM ({reading.sql}) GROUP BY {key} HAVING count(*) > 1"  # noqa: S608 - fixed names
    stored = (
        f"SELECT {key} FROM ({reading.sql}) mine SEMI JOIN {others} theirs "  # noqa: S608 - fixed names
        f"ON {OBSERVATIONS.same_key('mine', 'theirs')}"
    )
    for sql, what in (
        (inside, "several rows of the folder have one key"),
        (stored, "rows of the folder are in the store already"),
    ):
        row = execute(f"SELECT count(*) OVER (), * FROM ({sql}) LIMIT 1", []).fetchone()  # noqa: S608 - our own query
        if row:
            raise InputError(
                what,
                where=where,
                expected="every workload, query, strategy, sample and concurrency once in all",
                got=f"{row[0]} such, e.g. {', '.join(str(v) for v in row[1:] if v is not None)}",
                next_step="remove them from the folder, or import its files instead: an import "
                "keeps the first row of a key and counts the others",
            )
