"""New rows into a table without overwriting: the first row of a key wins, others are counted.

The stored rows of the keys at hand are read once; all else happens between them and the new rows.
So a small batch costs one scan of the key columns, which row group statistics cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

    Execute = Callable[[str, Sequence[Any]], duckdb.DuckDBPyConnection]

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class AddReport:
    """What became of rows that were offered to the store.

    Attributes:
        added: Rows that are new.
        duplicates: Rows that the store already held with the same values.
        conflicts: Rows refused because the store holds other values under the same key.
        examples: The first conflicts, in words.
    """

    added: int = 0
    duplicates: int = 0
    conflicts: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: AddReport) -> AddReport:
        return AddReport(
            self.added + other.added,
            self.duplicates + other.duplicates,
            self.conflicts + other.conflicts,
            (self.examples + other.examples)[:_EXAMPLES],
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A table and what makes two of its rows the same.

    Attributes:
        table: Where new rows go.
        key: Columns that identify a row.
        values: Columns that must agree between rows of one key.
        nullable: Columns of the key that may be null; null equals null.
        held: The relation that holds every row there is, the table itself where empty.
    """

    table: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    nullable: frozenset[str] = frozenset()
    held: str = ""

    def same_key(self, left: str, right: str) -> str:
        """The condition under which rows of two relations have one key."""
        return " AND ".join(
            # plain equality where it will do: DuckDB then skips row groups by their statistics
            f"{left}.{name} {'IS NOT DISTINCT FROM' if name in self.nullable else '='} "
            f"{right}.{name}"
            for name in self.key
        )


def merge(execute: Execute, target: Target, columns: Sequence[str]) -> AddReport:
    """Insert the rows of relation `incoming` whose key is new, and classify the others.

    Runs inside the caller's transaction.

    Args:
        execute: Runs SQL with values.
        target: Where to.
        columns: Columns of `incoming`, which also has `ordinal`, the place of each row.
    """
    _prepare(execute, target)
    offered, late = _counts(execute)
    names = ", ".join(columns)
    execute(
        f"INSERT INTO {target.table} ({names}) SELECT {names} FROM incoming "  # noqa: S608 - fixed names
        + ("ANTI JOIN late USING (ordinal)" if late else ""),
        [],
    )
    conflicts, examples = _differing(execute, target) if late else (0, ())
    execute("DROP TABLE held; DROP TABLE late", [])
    return AddReport(offered - late, late - conflicts, conflicts, examples)


def _prepare(execute: Execute, target: Target) -> None:
    """Tables `held`, stored rows of incoming keys, and `late`, rows after the first of a key."""
    key, values = ", ".join(target.key), ", ".join((*target.key, *target.values))
    execute(
        f"CREATE OR REPLACE TEMP TABLE held AS SELECT {values}, -1::BIGINT AS ordinal "  # noqa: S608 - fixed names
        f"FROM {target.held or target.table} stored "
        f"SEMI JOIN incoming ON {target.same_key('stored', 'incoming')}",
        [],
    )
    execute(
        f"CREATE OR REPLACE TEMP TABLE late AS SELECT ordinal, winner FROM incoming JOIN ("  # noqa: S608 - fixed names
        f"SELECT {key}, min(ordinal) AS winner FROM "
        f"(SELECT {key}, ordinal FROM held UNION ALL SELECT {key}, ordinal FROM incoming) "
        f"GROUP BY {key} HAVING count(*) > 1) repeated "
        f"ON {target.same_key('incoming', 'repeated')} WHERE ordinal <> winner",
        [],
    )


def _counts(execute: Execute) -> tuple[int, int]:
    sql = "SELECT (SELECT count(*) FROM incoming), (SELECT count(*) FROM late)"
    offered, late = execute(sql, []).fetchone() or (0, 0)
    return int(offered), int(late)


def _differing(execute: Execute, target: Target) -> tuple[int, tuple[str, ...]]:
    """How many late rows have other values than the row that won, and the first in words."""
    if not target.values:
        return 0, ()
    names = (*target.key, *target.values)
    same = " AND ".join(f"mine.{n} IS NOT DISTINCT FROM theirs.{n}" for n in target.values)
    everything = ", ".join((*names, "ordinal"))
    rows = execute(
        f"SELECT count(*) OVER (), {', '.join(f'mine.{name}' for name in names)} "  # noqa: S608 - fixed names
        f"FROM late JOIN incoming mine ON late.ordinal = mine.ordinal "
        f"JOIN (SELECT {everything} FROM held UNION ALL SELECT {everything} FROM incoming) theirs "
        f"ON late.winner = theirs.ordinal AND {target.same_key('mine', 'theirs')} "
        f"WHERE NOT ({same}) ORDER BY late.ordinal LIMIT {_EXAMPLES}",
        [],
    ).fetchall()
    examples = [_conflict(dict(zip(names, row[1:], strict=True)), target) for row in rows]
    return (int(rows[0][0]) if rows else 0), tuple(examples)


def _conflict(row: Mapping[str, Any], target: Target) -> str:
    where = ", ".join(str(row[name]) for name in target.key[1:] if row[name] is not None)
    got = ", ".join(f"{name}={row[name]}" for name in target.values if row[name] is not None)
    return f"{where}: the store holds other values than {got[:200]}"


def merge_queries(execute: Execute, workload: str) -> AddReport:
    """Insert the queries of relation `incoming`; what is unknown of stored ones is filled in.

    The first text that anybody gave for a prompt or class label stays; another is a conflict.
    """
    execute(
        "CREATE OR REPLACE TEMP TABLE settled AS SELECT query_id, stored.query_id IS NULL AS new, "
        "coalesce(stored.prompt, given.prompt) AS prompt, "
        "coalesce(stored.class_label, given.class_label) AS class_label FROM ("
        "SELECT query_id, arg_min(prompt, ordinal) FILTER (prompt IS NOT NULL) AS prompt, "
        "arg_min(class_label, ordinal) FILTER (class_label IS NOT NULL) AS class_label "
        "FROM incoming GROUP BY query_id) given LEFT JOIN "
        "(SELECT * FROM queries WHERE workload = ?) stored USING (query_id)",
        [workload],
    )
    execute(
        "UPDATE queries SET prompt = settled.prompt, class_label = settled.class_label "
        "FROM settled WHERE queries.workload = ? AND queries.query_id = settled.query_id AND ("
        "queries.prompt IS DISTINCT FROM settled.prompt OR "
        "queries.class_label IS DISTINCT FROM settled.class_label)",
        [workload],
    )
    execute(
        "INSERT INTO queries (workload, query_id, prompt, class_label) "
        "SELECT ?, query_id, prompt, class_label FROM settled WHERE new",
        [workload],
    )
    report = _queries_report(execute)
    execute("DROP TABLE settled", [])
    return report


def _queries_report(execute: Execute) -> AddReport:
    offered, added = execute(
        "SELECT (SELECT count(*) FROM incoming), (SELECT count(*) FROM settled WHERE new)", []
    ).fetchone() or (0, 0)
    rows = execute(
        "SELECT count(*) OVER (), query_id, incoming.prompt, incoming.class_label FROM incoming "
        "JOIN settled USING (query_id) WHERE incoming.prompt <> settled.prompt "
        "OR incoming.class_label <> settled.class_label ORDER BY ordinal LIMIT ?",
        [_EXAMPLES],
    ).fetchall()
    conflicts = int(rows[0][0]) if rows else 0
    target = Target("queries", ("workload", "query_id"), ("prompt", "class_label"))
    examples = [
        _conflict({"query_id": query, "prompt": prompt, "class_label": label}, target)
        for _, query, prompt, label in rows
    ]
    return AddReport(added, offered - added - conflicts, conflicts, tuple(examples))
