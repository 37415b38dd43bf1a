"""What a source says of a strategy as a whole, against what its rows say."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiles.errors import InputError
from profiles.importing.fields import resolve
from profiles.importing.mapping import Headline, RecordKind, TableMapping
from profiles.importing.tables import read_table
from profiles.importing.values import SetAsideError, Values
from profiles.notes import Kind, Notes
from profiles.observation import Observation

_CALLED = {"score": "accuracy"}
_KEYS = ("strategy", "model", "method")
_FACTOR = 1.1  # a mean over fewer tasks may be off by some per cent


@dataclass(frozen=True, slots=True)
class Means:
    """Means over all rows of one strategy; None where nobody recorded them."""

    score: float
    cost_usd: float | None
    calls: float | None
    rows: int | None = None


def contradicted(
    observations: Sequence[Observation],
    headline: Headline,
    mapping: TableMapping,
    folder: Path,
    notes: Notes,
) -> frozenset[str]:
    """Strategies whose rows contradict their headline score beyond its rounding.

    Args:
        observations: The rows.
        headline: Where the headlines stand.
        mapping: Of the rows; its names and constants spell the strategies here too.
        folder: Where the headline's file lies.
        notes: Takes every contradiction, and headlines or rows without a counterpart.

    Raises:
        InputError: The headline's file cannot be read, or gives no score.
    """
    said = _said(headline, mapping, folder, notes)
    seen = _seen(observations)
    wrong = set()
    for strategy in sorted(said.keys() & seen.keys()):
        head, rows = said[strategy], seen[strategy]
        if abs(head.score - rows.score) > headline.within:
            wrong.add(strategy)
            notes.add(
                "rows contradict their headline",
                f"{strategy}: {rows.rows} rows give {rows.score:.1%}, "
                f"the headline {head.score:.1%}",
                kind=Kind.SUSPICIOUS,
            )
        for name in ("cost_usd", "calls"):
            _compare(strategy, name, getattr(rows, name), getattr(head, name), notes)
    for text, missing in (
        ("headline without rows", said.keys() - seen.keys()),
        ("rows without a headline", seen.keys() - said.keys()),
    ):
        for strategy in sorted(missing):
            notes.add(text, strategy)
    return frozenset(wrong)


def _compare(
    strategy: str, name: str, rows: float | None, head: float | None, notes: Notes
) -> None:
    if rows and head and not 1 / _FACTOR <= rows / head <= _FACTOR:
        notes.add(
            f"mean {name} contradicts the headline",
            f"{strategy}: rows {rows:.4g}, headline {head:.4g}",
            kind=Kind.SUSPICIOUS,
        )


def _seen(observations: Sequence[Observation]) -> dict[str, Means]:
    groups: dict[str, list[Observation]] = defaultdict(list)
    for row in observations:
        groups[row.strategy].append(row)
    return {
        strategy: Means(
            math.fsum(row.score or 0.0 for row in rows) / len(rows),
            _mean([row.cost_usd for row in rows]),
            _mean([row.calls for row in rows]),
            len(rows),
        )
        for strategy, rows in groups.items()
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _said(
    headline: Headline, mapping: TableMapping, folder: Path, notes: Notes
) -> dict[str, Means]:
    own = Notes()
    table = read_table(folder / headline.file, None, own)
    columns = {_CALLED.get(name, name): column for name, column in headline.columns.items()}
    if "accuracy" not in columns:
        raise InputError("a headline needs a column of score", where="headline.columns")
    shared = {
        name: text
        for name, text in mapping.constants.items()
        if name in _KEYS and name not in columns
    }
    cells = TableMapping(
        kind=RecordKind.CELLS,
        columns=columns,
        constants=shared,
        names={name: words for name, words in mapping.names.items() if name in columns},
        per_cent=[_CALLED.get(name, name) for name in headline.per_cent],
    )
    values = Values(resolve(table, cells), source=headline.file, notes=own)
    found = {}
    for line, row in table.rows:
        try:
            found[values.strategy(row)] = Means(
                values.share(line, row, "accuracy"),
                values.amount(line, row, "cost_usd"),
                values.amount(line, row, "calls"),
            )
        except SetAsideError as error:
            own.add(f"headline: {error.why}", f"line {line}", kind=Kind.SET_ASIDE)
    for note in own.all():
        for example in note.examples[:1]:
            notes.add(note.text, f"{headline.file} {example}", note.count, kind=note.kind)
    return found
