"""Cells by group: class x strategy x value of a column, in one pass of SQL per column.

The statements are those of `profiles.cells.sql` with (class, value) in the place of the class, so
the sums are of exact integers here too: no order of rows changes a digit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from profiles.cells import sql
from profiles.cells.build import ONE_CLASS
from profiles.cells.columns import cells_of
from profiles.cells.content import profile_digest
from profiles.digest import digest
from profiles.errors import InputError
from profiles.pricing.rates import Rate
from profiles.profile import Cell, Profile

if TYPE_CHECKING:
    import duckdb

    Execute = Callable[[str, Sequence[Any]], duckdb.DuckDBPyConnection]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """What is known of every group of one column.

    Attributes:
        name: The column.
        values: The groups, sorted.
        cells: Measured cells by (value, class, strategy); latencies are left out.
        queries: Distinct queries with any scored observation by (value, class).
        without: Such queries that belong to no group.
    """

    name: str
    values: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], Cell]
    queries: Mapping[tuple[str, str], int]
    without: int

    def sizes(self) -> dict[str, int]:
        """Distinct queries of every group, in one pass over all of them."""
        found = dict.fromkeys(self.values, 0)
        for (value, _), count in self.queries.items():
            found[value] += count
        return found


def with_groups(
    execute: Execute, profile: Profile, names: Sequence[str], *, rates: Sequence[Rate] = ()
) -> Profile:
    """The profile with the cells by group of these columns; its digest then covers them.

    Args:
        execute: Runs a statement with its values.
        profile: Says which workload, classes and concurrency.
        names: Columns that were imported as groups.
        rates: What the profile's rows without dollars were priced by.

    Raises:
        InputError: No query of the workload has a value in one of the columns.
    """
    if not names:
        return profile
    tables = {name: group_table(execute, profile, name, rates=rates) for name in sorted({*names})}
    return having(profile, tables)


def having(profile: Profile, tables: Mapping[str, GroupTable]) -> Profile:
    """The profile with these tables by column, which its digest then covers."""
    content = {name: _digest(table) for name, table in tables.items()}
    return replace(
        profile, groups=tables, digest=digest({"profile": profile.digest, "groups": content})
    )


def group_table(
    execute: Execute, profile: Profile, name: str, *, rates: Sequence[Rate] = ()
) -> GroupTable:
    """One column's table; see `with_groups`.

    Raises:
        InputError: No scored query of the workload has a value in this column.
    """
    rows = sql.scored_rows(profile.workload, profile.concurrency, rates)
    keys = _keys(profile, name)
    source = sql.classed(rows, keys, inner=True)
    known = sql.survey(source, lambda query: _first_row(execute, query))
    if not known.rows:
        raise _no_groups(execute, profile.workload, name)
    cells = {}
    for cell in _cells(execute, source, known, priced=bool(rates), profile=profile):
        value, class_name = json.loads(cell.class_name)
        cells[value, class_name, cell.strategy] = replace(cell, class_name=class_name)
    queries = _queries(execute, source)
    grouped = sum(queries.values())
    return GroupTable(
        name=name,
        values=tuple(sorted({value for value, _ in queries})),
        cells={key: cells[key] for key in sorted(cells)},
        queries=queries,
        without=profile.queries - grouped,
    )


def _keys(profile: Profile, name: str) -> sql.Query:
    """Every query with a value: its id and, as its class, the pair (value, class) as JSON."""
    classes = sql.classes_of(profile.workload, profile.estimator_digest)
    kind = "LEFT" if profile.estimator_digest is None else "INNER"
    text = f"""
        SELECT query_id, to_json([value, coalesce(class_name, ?)])::VARCHAR AS class_name
        FROM query_groups {kind} JOIN ({classes.sql}) USING (query_id)
        WHERE query_groups.workload = ? AND query_groups.name = ?
    """  # noqa: S608 - fixed names
    return sql.Query(text, (ONE_CLASS, *classes.values, profile.workload, name))


def _cells(
    execute: Execute, source: sql.Query, known: sql.Known, *, priced: bool, profile: Profile
) -> list[Cell]:
    """All cells of a source, as `build_profile` counts them but for latencies."""
    scales = sql.scales_of(known)
    inside = known.expected or not known.single
    rows = sql.per_row(source, scales, spread_inside=known.expected)
    levels = profile.concurrency is not None
    by_row = sql.row_statistics((), known, priced=priced, levels=levels)
    by_query = sql.moments(scales, known, spread_inside=inside)
    lists = {sql.TOKENS_OUT: len(sql.QUANTILES)} if "tokens_out" in known.most else {}
    if known.single:
        columns = _columns(execute, sql.grouped(f"{by_row}, {by_query}", rows, lists))
    else:
        columns = _columns(execute, sql.grouped(by_row, rows, lists))
        columns |= _columns(execute, sql.grouped(by_query, sql.per_query(rows, scales)))
    return cells_of(columns, scales, known)


def _columns(execute: Execute, query: sql.Query) -> dict[str, Any]:
    return execute(query.sql, query.values).fetchnumpy()


def _queries(execute: Execute, source: sql.Query) -> dict[tuple[str, str], int]:
    text = f"SELECT class_name, count(DISTINCT query_id) FROM ({source.sql}) GROUP BY ALL"  # noqa: S608 - fixed names
    rows = execute(text, source.values).fetchall()
    counts = {tuple(json.loads(key)): int(count) for key, count in rows}
    return {(value, class_name): counts[value, class_name] for value, class_name in sorted(counts)}


def _first_row(execute: Execute, query: sql.Query) -> dict[str, Any]:
    cursor = execute(query.sql, query.values)
    names = [column[0] for column in cursor.description]
    return dict(zip(names, cursor.fetchone() or (), strict=True))


def _digest(table: GroupTable) -> str:
    about = {
        "values": table.values,
        "keys": [value for value, _, _ in table.cells],
        "queries": [[*key, count] for key, count in table.queries.items()],
        "without": table.without,
    }
    return profile_digest(about, list(table.cells.values()))


def _no_groups(execute: Execute, workload: str, name: str) -> InputError:
    known = [
        row[0]
        for row in execute(
            "SELECT DISTINCT name FROM query_groups WHERE workload = ? AND name <> ? ORDER BY name",
            [workload, name],
        ).fetchall()
    ]
    near = get_close_matches(name, known, n=1)
    return InputError(
        f"no measured query of this workload has a group {name!r}",
        where=f"workload {workload}",
        expected=f"one of {', '.join(known)}" if known else None,
        next_step=f"did you mean {near[0]!r}?"
        if near
        else f"import the outcomes or their prompts again with --group {name}",
    )
