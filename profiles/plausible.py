"""What a file as a whole must hold before its rows may count."""

from __future__ import annotations

from collections.abc import Iterable

from profiles.errors import InputError
from profiles.mapping import Fields
from profiles.numbers import BadNumberError, is_absent, read_number
from profiles.query import Query
from profiles.tables import Table

Located = tuple[str, Query]


def refuse_missing_fields(fields: Fields, table: Table) -> None:
    """Without a query, a score and a strategy there is no outcome.

    Raises:
        InputError: Nothing gives one of them.
    """
    for name, step in (("query", "query=COLUMN"), ("score", "score=COLUMN")):
        if not fields.has(name):
            raise InputError(
                f"no column gives the {name}",
                where=table.name,
                expected=f"a column {name}",
                got=f"columns {', '.join(table.columns[:30])}",
                next_step=f"name it with --columns {step}",
            )
    if not any(fields.has(name) for name in ("strategy", "model", "method")):
        raise InputError(
            "no column gives the strategy",
            where=table.name,
            expected="a column strategy, or model and method",
            got=f"columns {', '.join(table.columns[:30])}",
            next_step="name it with --columns strategy=COLUMN or --constant strategy=model/single",
        )


def refuse_other_scale(fields: Fields, table: Table) -> None:
    """A file whose scores are not on 0..1 must not count with the few that happen to lie there.

    Raises:
        InputError: More than half of the numeric scores lie outside 0..1.
    """
    scores = [
        (line, score)
        for line, row in table.rows
        if (score := _number(fields.value(row, "score"))) is not None
    ]
    outside = [(line, score) for line, score in scores if not 0 <= score <= 1]
    if 2 * len(outside) <= len(scores):
        return
    values = [score for _, score in outside]
    per_cent = min(values) >= 0 and 10 < max(values) <= 100  # up to 10 it may be grades
    line, score = outside[0]
    raise InputError(
        "the score looks like per cent" if per_cent else "the score is on another scale",
        where=f"{table.name}:{line}",
        expected="scores in 0..1",
        got=f"{score:g}; {len(outside)} of {len(scores)} scores lie outside",
        next_step="divide the scores by 100" if per_cent else "bring the scores to 0..1",
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


def _number(value: object) -> float | None:
    if is_absent(value):
        return None
    try:
        return read_number(value)[0]
    except BadNumberError:
        return None
