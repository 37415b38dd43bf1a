"""Groups of queries, from columns of the outcomes or of the prompts file."""

from __future__ import annotations

from collections.abc import Sequence

from profiles.errors import InputError
from profiles.importing.fields import Fields, plain_text
from profiles.importing.outcome_rows import query_id_of
from profiles.importing.tables import Table
from profiles.importing.values import encodable
from profiles.query import QueryGroup

_NO_VALUE = frozenset({"", "nan", "none", "null"})


def read_groups(
    names: Sequence[str], tables: Sequence[tuple[Table, Fields]]
) -> tuple[QueryGroup, ...]:
    """Every query's value of every named column, by column and query in order of appearance.

    A query whose place is empty belongs to no group of that column.

    Args:
        names: Columns; each in at least one of the tables.
        tables: The files, with how their query ids are read.

    Raises:
        InputError: A column is nowhere or holds lists, or a query has two values.
    """
    found: list[QueryGroup] = []
    for name in dict.fromkeys(names):
        having = [(table, fields) for table, fields in tables if name in table.columns]
        if not having:
            raise InputError(
                f"there is no column {name!r}",
                where=f"--group {name}",
                expected="one of " + ", ".join(tables[-1][0].columns[:30]),
            )
        found += _of_column(name, having)
    return tuple(found)


def _of_column(name: str, tables: Sequence[tuple[Table, Fields]]) -> list[QueryGroup]:
    first: dict[str, tuple[str, str]] = {}
    for table, fields in tables:
        for line, row in table.rows:
            query_id, place = query_id_of(fields, row), f"{table.name}:{line}"
            value = _text(row.get(name), f"{place}: {name}")
            if not query_id or not value:
                continue
            before, known = first.setdefault(query_id, (place, value))
            if known != value:
                raise InputError(
                    f"the query id {query_id!r} stands for two values of {name}",
                    where=place,
                    expected=f"{known!r} as at {before}",
                    got=repr(value),
                    next_step=f"give every query one {name}, or leave --group {name} out",
                )
    return [QueryGroup(query_id, name, value) for query_id, (_, value) in first.items()]


def _text(value: object, place: str) -> str:
    """The value as text, empty where there is none."""
    if isinstance(value, bytes | list | dict):
        raise InputError("a group is no text", where=place, got=repr(value)[:60])
    text = encodable(plain_text(value))
    return "" if text.lower() in _NO_VALUE else text
