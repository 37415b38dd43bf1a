"""A store from somebody unknown: held against what a store of ours is before anything reads it.

A DuckDB file can hold queries (views, macros, computed columns) that run when its tables are read,
on any file that they name. It is looked at with DuckDB's own access to files switched off.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from profiles.errors import InputError
from profiles.store.rules import RULES_OF, refuse_broken
from profiles.store.schema import MIGRATIONS

MOST_ROWS = 20_000_000
"""Of all tables together: a small file can be unpacked into very many."""
_CONFINED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "lock_configuration": True,
}
# With their whole names: a macro of the file could be called the same.
_TABLES = """
    SELECT schema_name, table_name, sql FROM system.main.duckdb_tables() WHERE NOT internal
"""
_OTHERS = """
    SELECT 'view', view_name FROM system.main.duckdb_views() WHERE NOT internal AND NOT temporary
    UNION SELECT 'macro', function_name FROM system.main.duckdb_functions() WHERE NOT internal
    UNION SELECT 'type', type_name FROM system.main.duckdb_types() WHERE NOT internal
    UNION SELECT 'index', index_name FROM system.main.duckdb_indexes()
    UNION SELECT 'sequence', sequence_name FROM system.main.duckdb_sequences()
    ORDER BY ALL
"""


def require_plain_store(path: Path, name: str) -> None:
    """Refuse a file that is anything but the tables of a store of this version.

    Args:
        path: The file; it is only read.
        name: What people call it, for messages.

    Raises:
        InputError: It is no DuckDB file or no such store, reads files outside of itself, is too
            large, or has rows that no store of ours takes.
    """
    try:
        with duckdb.connect(str(path), read_only=True, config=_CONFINED) as connection:
            _refuse_other_things(connection, name)
            _refuse_folders(connection, name)
            _refuse_many_rows(connection, name)
            for table in RULES_OF:
                refuse_broken(connection.execute, f"main.{table}", name, table)
    except (duckdb.Error, OSError, UnicodeError) as error:
        raise InputError(
            "this file cannot be read",
            where=name,
            expected="a profile store (a DuckDB file)",
            got=str(error).splitlines()[0].replace(str(path), name),
        ) from error


def _refuse_other_things(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Its tables are those of a new store to the letter, and it holds nothing else."""
    found = set(connection.execute(_TABLES).fetchall())
    expected = _tables_of_a_new_store()
    odd = [f"table {table}" for _, table, _ in sorted(found ^ expected)]
    odd += [f"{kind} {thing}" for kind, thing in connection.execute(_OTHERS).fetchall()]
    if not odd:
        # What says that it is older would be rewritten by migrations of ours.
        versions = connection.execute("SELECT version FROM main.meta").fetchmany(2)
        odd = [] if versions == [(len(MIGRATIONS),)] else [f"version {versions}"]
    if odd:
        raise InputError(
            "this DuckDB file is not a profile store of this version",
            where=name,
            expected="the tables of a store, and nothing else",
            got=f"other, or missing: {', '.join(dict.fromkeys(odd[:5]))}",
            next_step="an older store is brought up to date by any command that opens it, e.g. "
            "'inferbudget profile show'",
        )


def _tables_of_a_new_store() -> set[tuple[str, str, str]]:
    with duckdb.connect() as connection:
        for statement in MIGRATIONS:
            connection.execute(statement)
        return set(connection.execute(_TABLES).fetchall())


def _refuse_folders(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """A registered folder would be read where this program runs, not where it was registered."""
    row = connection.execute("SELECT folder FROM main.parquet_folders LIMIT 1").fetchone()
    if row:
        raise InputError(
            "this store reads a folder outside of itself",
            where=name,
            expected="a store that holds all of its rows",
            got=str(row[0]),
            next_step="import the folder's files into a store, and take that one",
        )


def _refuse_many_rows(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    sizes = "SELECT sum(estimated_size) FROM system.main.duckdb_tables() WHERE NOT internal"
    (rows,) = connection.execute(sizes).fetchone() or (0,)
    if rows > MOST_ROWS:
        raise InputError(
            "this store is too large to be opened here",
            where=name,
            expected=f"at most {MOST_ROWS:,} rows",
            got=f"{int(rows):,}",
            next_step="name it when the app is started: inferbudget app SPEC --profiles STORE",
        )
