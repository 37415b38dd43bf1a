"""Groups that queries belong to: one value per query and column (tenant, language, task)."""

from __future__ import annotations

from collections.abc import Sequence

from profiles.errors import InputError
from profiles.query import QueryGroup
from profiles.store.merge import AddReport, merge
from profiles.store.schema import GROUPS
from profiles.store.store import Store

_INCOMING = """
    CREATE TEMP TABLE incoming AS SELECT ? AS workload, query_id, name, value, ordinal FROM (
        SELECT unnest(?::VARCHAR[]) AS query_id, unnest(?::VARCHAR[]) AS name,
            unnest(?::VARCHAR[]) AS value, unnest(range(?::BIGINT)) AS ordinal
    )
"""
_CONTRADICTED = """
    SELECT count(*) OVER (), query_id, name, stored.value, incoming.value
    FROM incoming JOIN query_groups stored USING (workload, query_id, name)
    WHERE incoming.value <> stored.value ORDER BY ordinal LIMIT 1
"""


def add_groups(store: Store, workload: str, groups: Sequence[QueryGroup]) -> AddReport:
    """Store which group every query belongs to, all or none.

    Raises:
        InputError: A query is stored under another value of the same column.
    """
    if not groups:
        return AddReport()
    with store.transaction(), store.reading() as execute:
        columns = [[getattr(row, part) for row in groups] for part in ("query_id", "name", "value")]
        execute(_INCOMING, [workload, *columns, len(groups)])
        wrong = execute(_CONTRADICTED, []).fetchone()
        if wrong:
            raise _contradicted(*wrong)
        report = merge(execute, GROUPS, (*GROUPS.key, *GROUPS.values))
        execute("DROP TABLE incoming", [])
    return report


def _contradicted(count: int, query: str, name: str, stored: str, given: str) -> InputError:
    many = "1 query is" if count == 1 else f"{count} queries are"
    return InputError(
        f"{many} stored under another {name}",
        where=f"query {query}",
        expected=f"{name} {stored!r} as imported before",
        got=f"{name} {given!r}",
        next_step="import this file as a workload of its own, or leave this --group out",
    )
