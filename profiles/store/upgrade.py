"""An older store becomes one of this version."""

from __future__ import annotations

from pathlib import Path

from profiles.errors import InputError
from profiles.store.schema import MIGRATIONS
from profiles.store.session import Session

# With their whole names: a macro of the file could be called the same.
_QUERIES = """
    SELECT 'view', view_name FROM system.main.duckdb_views() WHERE NOT internal AND NOT temporary
    UNION SELECT 'macro', function_name FROM system.main.duckdb_functions() WHERE NOT internal
    ORDER BY ALL
"""


def bring_up_to_date(session: Session, path: Path, *, new: bool) -> None:
    """Run the migrations that a file has not seen, all or none of them.

    Args:
        session: May write; a file that is up to date is only read.
        path: As people named it, for messages.
        new: There is nothing to read yet.

    Raises:
        InputError: It is no store, a newer version's, or holds queries of its own.
    """
    if not new:
        with session.transaction(write=False):
            _refuse_queries(session, path)
            if _version(session, path) == len(MIGRATIONS):
                return
    with session.transaction(write=True):
        for statement in MIGRATIONS[_version(session, path) :]:
            session.execute(statement)
        session.execute("UPDATE meta SET version = ?", [len(MIGRATIONS)])


def _version(session: Session, path: Path) -> int:
    """How many migrations the file has seen."""
    tables = {row[0] for row in session.rows("SELECT table_name FROM duckdb_tables()")}
    if tables and "meta" not in tables:
        raise InputError(
            "this DuckDB file is not a profile store",
            where=str(path),
            got=f"tables {', '.join(sorted(tables)[:5])}",
            next_step="choose another file for --profiles",
        )
    version = int(session.rows("SELECT version FROM meta")[0][0]) if tables else 0
    if version > len(MIGRATIONS):
        raise InputError(
            "this profile store was written by a newer version",
            where=str(path),
            expected=f"schema {len(MIGRATIONS)} or older",
            got=f"schema {version}",
            next_step="upgrade inferbudget",
        )
    return version


def _refuse_queries(session: Session, path: Path) -> None:
    """No store of ours has a view or a macro: it would run when we read, on any file it names."""
    found = session.rows(_QUERIES)
    if found:
        raise InputError(
            "this DuckDB file holds queries of its own",
            where=str(path),
            expected="tables alone, as a profile store has them",
            got=", ".join(f"{kind} {name}" for kind, name in found[:5]),
            next_step="take the store from whom you trust, or fill a new one",
        )
