"""What a file as a whole must hold before its rows may count."""

from __future__ import annotations

from collections.abc import Iterable

from profiles.errors import InputError
from profiles.importing.fields import FIELDS, Fields, own_column
from profiles.importing.mapping import RecordKind, TableMapping
from profiles.importing.numbers import BadNumberError, PerCentError, is_absent, read_number
from profiles.importing.tables import Table
from profiles.notes import Kind, Notes
from profiles.query import Query

Located = tuple[str, Query]
_SIGN = float("inf")  # stands for a value with an undeclared per-cent sign


_NEEDED = {
    RecordKind.OBSERVATIONS: ("query", "score"),
    RecordKind.CELLS: ("accuracy",),
    RecordKind.SERVING: ("model",),
    RecordKind.TRAFFIC: ("arrived_at",),
    RecordKind.PRICES: ("model", "input", "output"),
}
SCORE_OF = {RecordKind.OBSERVATIONS: "score", RecordKind.CELLS: "accuracy"}


def refuse_missing_fields(fields: Fields, table: Table, kind: RecordKind) -> None:
    """Without a query, a score and a strategy there is no outcome; likewise for other kinds.

    Raises:
        InputError: Nothing gives one of them.
    """
    for name in _NEEDED[kind]:
        if not fields.has(name):
            raise InputError(
                f"no column gives the {name}",
                where=table.name,
                expected=f"a column {name}",
                got=f"columns {', '.join(table.columns[:30])}",
                next_step=f"name it with --columns {name}=COLUMN",
            )
    if kind in SCORE_OF and not any(map(fields.has, ("strategy", "model", "method"))):
        raise InputError(
            "no column gives the strategy",
            where=table.name,
            expected="a column strategy, or model and method",
            got=f"columns {', '.join(table.columns[:30])}",
            next_step="name it with --columns strategy=COLUMN or --constant strategy=model/single",
        )


def note_overruled(table: Table, mapping: TableMapping, notes: Notes) -> None:
    """Notes columns that a constant keeps from being read, and columns that are read twice."""
    for name, text in mapping.constants.items():
        own = own_column(table, name) if name in FIELDS[mapping.kind] else None
        if own and own not in (*mapping.columns.values(), *mapping.params.values()):
            notes.add("a constant stands in for a column", f"{name}={text} for column {own!r}")
    fields: dict[str, list[str]] = {}
    for name, column in mapping.columns.items():
        fields.setdefault(column, []).append(name)
    for column, names in fields.items():
        if len(names) > 1:
            notes.add("one column gives several fields", f"{column!r} gives {', '.join(names)}")


def refuse_other_scale(fields: Fields, table: Table, name: str, notes: Notes) -> None:
    """A file whose scores are not on 0..1 must not count with the few that happen to lie there.

    Args:
        fields: The mapping.
        table: The file.
        name: The field of the score.
        notes: Warned where per cent are declared and no value is above 1.

    Raises:
        InputError: More than half of the numeric scores lie outside 0..1, or carry a per-cent sign
            that nobody declared.
    """
    per_cent = name in fields.per_cent
    factor = fields.factors.get(name, 1.0)
    scores, signs, outside = 0, 0, []
    largest = -1.0
    for line, row in table.rows:
        score = _number(fields.value(row, name), per_cent=per_cent)
        if score is None:
            continue
        scores += 1
        largest = max(largest, score)
        if score == _SIGN:
            signs += 1
        if not 0 <= score * factor <= 1:
            outside.append((line, score * factor))
    if per_cent and 0 < largest <= 1:
        notes.add(
            f"{name} is declared per cent, but no value is above 1",
            f"largest {largest:g}",
            kind=Kind.SUSPICIOUS,
        )
    if 2 * len(outside) <= scores:
        return
    line, score = outside[0]
    values = [score for _, score in outside]
    looks = signs or (min(values) >= 0 and 10 < max(values) <= 100)  # up to 10 it may be grades
    if per_cent:
        next_step = "bring the scores to 0..1, or take per_cent out of the mapping"
    elif looks:
        next_step = f"divide the scores by 100, or declare it in a mapping: per_cent: [{name}]"
    else:
        next_step = "bring the scores to 0..1"
    shown = "a per-cent sign" if score == _SIGN else f"{score:g}"
    raise InputError(
        f"the {name} looks like per cent" if looks else f"the {name} is on another scale",
        where=f"{table.name}:{line}",
        expected="scores in 0..1",
        got=f"{shown}; {len(outside)} of {scores} scores lie outside",
        next_step=next_step,
    )


def refuse_two_classes(queries: Iterable[Located]) -> None:
    """One id is one query of one class; two classes under it are two queries taken for one.

    Args:
        queries: (``file:line``, what the row says of its query).

    Raises:
        InputError: Two rows give a query different classes; names both.
    """
    first: dict[str, tuple[str, str]] = {}
    for place, query in queries:
        if query.class_label is None:
            continue
        before, label = first.setdefault(query.query_id, (place, query.class_label))
        if label != query.class_label:
            raise InputError(
                f"the query id {query.query_id!r} stands for two classes",
                where=place,
                expected=f"class {label!r} as at {before}",
                got=f"class {query.class_label!r}",
                next_step="make query ids unique per class, or import the classes as separate "
                "workloads",
            )


def _number(value: object, *, per_cent: bool) -> float | None:
    if is_absent(value):
        return None
    try:
        return read_number(value, per_cent=per_cent)[0]
    except PerCentError:
        return _SIGN
    except BadNumberError:
        return None
