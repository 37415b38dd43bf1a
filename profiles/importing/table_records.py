"""A whole table as records of its kind, with every row that cannot become one set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from profiles.errors import InputError
from profiles.importing.fields import Fields, plain_text
from profiles.importing.formats.found import SetAside
from profiles.importing.mapping import RecordKind, TableMapping
from profiles.importing.outcome_rows import OutcomeReader
from profiles.importing.plausible import (
    SCORE_OF,
    Located,
    refuse_missing_fields,
    refuse_other_scale,
)
from profiles.importing.published_rows import read_arrival, read_cell, read_serving
from profiles.importing.quarantine import aside
from profiles.importing.reshape import contradicts
from profiles.importing.tables import Row, Table
from profiles.importing.values import SetAsideError, Values
from profiles.notes import Kind, Notes

_KEYS = {
    RecordKind.CELLS: ("class_name", "strategy"),
    RecordKind.SERVING: ("label",),
    RecordKind.TRAFFIC: ("request_id",),
}


@dataclass(slots=True)
class Records:
    """What the rows of a table became.

    Attributes:
        kept: (line, record), in file order.
        located: Queries with the place where they stand.
        set_aside: Rows that are no record.
    """

    kept: list[tuple[int, Any]] = field(default_factory=list)
    located: list[Located] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)


def read_records(
    table: Table,
    fields: Fields,
    mapping: TableMapping,
    *,
    workload: str,
    source: str,
    notes: Notes,
) -> Records:
    """Read every row.

    Args:
        table: The rows, reshaped.
        fields: How a row is read.
        mapping: What kind of record, and what must agree.
        workload: The traffic these rows belong to.
        source: The file's name, as records carry it.
        notes: Takes what was repaired, set aside or is odd.

    Raises:
        InputError: A needed field is given by nothing, the scores are on another scale, or no row
            can be used.
    """
    refuse_missing_fields(fields, table, mapping.kind)
    if mapping.kind in SCORE_OF:
        refuse_other_scale(fields, table, SCORE_OF[mapping.kind], notes)
        if not fields.has("strategy") and not fields.has("method"):
            notes.add("no method is named: taken as 'single'", table.name)
    values = Values(fields, source=source, notes=notes)
    outcomes = OutcomeReader(
        values, workload=workload, evidence=mapping.evidence, source=source, notes=notes
    )
    read = _reader(values, outcomes, mapping, workload, source)
    found = Records()
    for line, row in table.rows:
        try:
            _refuse_contradiction(values, mapping, line, row)
            record = read(line, row)
        except SetAsideError as error:
            found.set_aside.append(aside(line, error.why, row))
            notes.add(error.why, f"line {line}: {error.got!r:.60}", kind=error.kind)
        else:
            found.kept.append((line, record))
        if mapping.kind is RecordKind.OBSERVATIONS and (query := outcomes.query(row)):
            found.located.append((f"{table.name}:{line}", query))
    if mapping.kind in _KEYS:
        _drop_repeats(found, mapping.kind, notes)
    if mapping.fingerprint:
        _note_twins(found, table, mapping.fingerprint, notes)
    if not found.kept:
        raise InputError(
            "no row of the file can be used",
            where=table.name,
            got="; ".join(map(str, notes.all())),
            next_step="check --columns",
        )
    return found


def _reader(
    values: Values, outcomes: OutcomeReader, mapping: TableMapping, workload: str, source: str
) -> Callable[[int, Row], Any]:
    if mapping.kind is RecordKind.OBSERVATIONS:
        read: Callable[[int, Row], Any] = outcomes.read
    elif mapping.kind is RecordKind.CELLS:
        read = partial(
            read_cell, values, workload=workload, evidence=mapping.evidence, source=source
        )
    elif mapping.kind is RecordKind.SERVING:
        read = partial(read_serving, values, evidence=mapping.evidence, source=source)
    else:
        read = partial(read_arrival, values, workload=workload, source=source)
    return read


def _refuse_contradiction(values: Values, mapping: TableMapping, line: int, row: Row) -> None:
    for name, found in mapping.agrees_with.items():
        number = values.amount(line, row, name)
        if contradicts(row, found, number):
            raise SetAsideError(
                f"{name} contradicts the one in {found.column}", row.get(found.column)
            )


def _drop_repeats(found: Records, kind: RecordKind, notes: Notes) -> None:
    """One key is one record: an equal row counts once, a different one is set aside."""
    key = _KEYS[kind]
    first: dict[tuple[Any, ...], tuple[int, Any]] = {}
    for line, record in found.kept:
        name = tuple(getattr(record, part) for part in key)
        before, known = first.setdefault(name, (line, record))
        if known is record:
            continue
        where = f"line {line} and line {before}: {', '.join(map(str, name))}"
        if _same(known, record):
            notes.add("row repeats another: counted once", where)
            found.set_aside.append(SetAside(line, "row repeats another", where))
        else:
            notes.add("row contradicts an earlier one", where, kind=Kind.SET_ASIDE)
            found.set_aside.append(SetAside(line, "row contradicts an earlier one", where))
    found.kept = list(first.values())


def _same(one: Any, other: Any) -> bool:
    return bool(replace(one, source="") == replace(other, source=""))


def _note_twins(found: Records, table: Table, columns: Sequence[str], notes: Notes) -> None:
    """Two strategies with the same figures in every column: one of them is a copy."""
    rows = dict(table.rows)
    seen: dict[tuple[str, ...], tuple[int, Any]] = {}
    for line, record in found.kept:
        figures = tuple(plain_text(rows[line].get(column)) for column in columns)
        if not all(figures):
            continue
        before, other = seen.setdefault(
            (getattr(record, "class_name", ""), *figures), (line, record)
        )
        if other is not record and other.strategy != record.strategy:
            notes.add(
                "two strategies have identical figures",
                f"lines {before} and {line}: {other.strategy} and {record.strategy} "
                f"({', '.join(figures)})",
                kind=Kind.SUSPICIOUS,
            )
