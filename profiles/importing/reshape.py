"""A table made ready to read: rows left out, counters as increments, several records per row."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

from profiles.errors import InputError
from profiles.importing.counters import differences
from profiles.importing.fields import plain_text
from profiles.importing.formats.found import SetAside
from profiles.importing.mapping import Condition, NumberInText, Running, TableMapping, Wide
from profiles.importing.numbers import BadNumberError, is_absent, read_number
from profiles.importing.quarantine import aside
from profiles.importing.tables import Row, Table
from profiles.notes import Kind, Notes

_DIFFERENCE_ALLOWED = 1e-9


def reshape(
    table: Table, mapping: TableMapping, notes: Notes
) -> tuple[Table, TableMapping, list[SetAside]]:
    """The table as its mapping says it is to be read.

    Args:
        table: The file's rows.
        mapping: What the user said.
        notes: Takes what was left out or restarted.

    Returns:
        The table, the mapping with the columns of the table, and the rows that were left out.

    Raises:
        InputError: A column that the mapping names is not there.
    """
    named = [condition.column for condition in mapping.drop_where]
    named += [*mapping.absent_is, *mapping.fingerprint]
    named += [*mapping.running.columns, *mapping.running.by] if mapping.running else []
    named += [found.column for found in mapping.agrees_with.values()]
    for column in named:
        if column not in table.columns:
            raise InputError(
                f"there is no column {column!r}",
                where=table.name,
                expected=f"one of {', '.join(table.columns[:30])}",
            )
    if mapping.absent:
        table = _without_words(table, frozenset(mapping.absent))
    table, left_out = _drop(table, mapping.drop_where, notes)
    if mapping.running:
        table = _increments(table, mapping.running, notes)
    if mapping.wide:
        table, mapping = _melt(table, mapping, mapping.wide)
    return table, mapping, left_out


def contradicts(row: Row, found: NumberInText, number: float | None) -> bool:
    """Whether a text that contains a number contains another one; unknown contradicts nothing."""
    match = re.search(found.pattern, plain_text(row.get(found.column)))
    if match is None or number is None:
        return False
    try:
        other = read_number(match[1])[0]
    except BadNumberError:
        return False
    return abs(other - number) > _DIFFERENCE_ALLOWED * max(1.0, abs(other))


def _without_words(table: Table, words: frozenset[str]) -> Table:
    def known(value: Any) -> Any:
        return None if isinstance(value, str) and value.strip() in words else value

    rows: list[tuple[int, Row]] = [
        (line, {column: known(value) for column, value in row.items()}) for line, row in table.rows
    ]
    return replace(table, rows=rows)


def _drop(table: Table, conditions: list[Condition], notes: Notes) -> tuple[Table, list[SetAside]]:
    if not conditions:
        return table, []
    kept: list[tuple[int, Row]] = []
    left_out: list[SetAside] = []
    for line, row in table.rows:
        why = next((c.why for c in conditions if _holds(c, row)), None)
        if why is None:
            kept.append((line, row))
        else:
            left_out.append(aside(line, why, row))
            notes.add(why, f"line {line}", kind=Kind.SET_ASIDE)
    if not kept:
        raise InputError("drop_where leaves no row", where=table.name)
    return replace(table, rows=kept), left_out


def _holds(condition: Condition, row: Row) -> bool:
    value = row.get(condition.column)
    number = None
    if not is_absent(value):
        try:
            number = read_number(value)[0]
        except BadNumberError:
            number = None
    if condition.above is not None and (number is None or number <= condition.above):
        return False
    if condition.equals is None:
        return condition.above is not None
    if plain_text(value) == condition.equals:
        return True
    try:
        return number is not None and number == read_number(condition.equals)[0]
    except BadNumberError:
        return False


def _increments(table: Table, running: Running, notes: Notes) -> Table:
    """Counters of each group as what every row added to them."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, (_, row) in enumerate(table.rows):
        groups[tuple(plain_text(row.get(column)) for column in running.by)].append(index)
    rows = [(line, dict(row)) for line, row in table.rows]
    for column in running.columns:
        for group, indexes in groups.items():
            readings = [_reading(table, index, column) for index in indexes]
            increments, restarts = differences(readings)
            for index, increment in zip(indexes, increments, strict=True):
                rows[index][1][column] = increment
            for restart in restarts:
                line = rows[indexes[restart]][0]
                notes.add(
                    f"the running counter {column} starts anew: counted from 0 there",
                    f"line {line}{' of ' + ', '.join(group) if group else ''}",
                    kind=Kind.REPAIRED,
                )
    return replace(table, rows=list(rows))


def _reading(table: Table, index: int, column: str) -> float:
    line, row = table.rows[index]
    try:
        number = read_number(row.get(column))[0]
    except BadNumberError as error:
        problem = str(error)
    else:
        if number >= 0:
            return number
        problem = "negative"
    raise InputError(
        f"a running counter cannot be read: {problem}",
        where=f"{table.name}:{line}: {column}",
        expected="a number in every row, since each row's share is a difference",
        got=repr(row.get(column))[:60],
    )


def _melt(table: Table, mapping: TableMapping, wide: Wide) -> tuple[Table, TableMapping]:
    """One row per record; added columns carry the names of their fields in a form of their own."""
    fields = list(dict.fromkeys([wide.field, *(f for row in wide.rows.values() for f in row)]))
    columns = {field: f"{field} of a wide row" for field in fields}
    for parts in wide.rows.values():
        for field, column in parts.items():
            if column not in table.columns:
                raise InputError(
                    f"there is no column {column!r}",
                    where=f"{table.name}: {field}",
                    expected=f"one of {', '.join(table.columns[:30])}",
                )
    given = set(fields) & {*mapping.columns, *mapping.constants, *mapping.texts}
    if given:
        raise InputError(
            f"{min(given)} is given twice", where="wide", next_step="leave one of them out"
        )
    records = [
        ({columns[wide.field]: name}, [(columns[f], column) for f, column in parts.items()])
        for name, parts in wide.rows.items()
    ]
    rows: list[tuple[int, Row]] = [
        (line, {**row, **name, **{ours: row.get(column) for ours, column in parts}})
        for line, row in table.rows
        for name, parts in records
    ]
    melted = replace(table, rows=rows, columns=(*table.columns, *columns.values()))
    return melted, mapping.model_copy(update={"columns": {**mapping.columns, **columns}})
