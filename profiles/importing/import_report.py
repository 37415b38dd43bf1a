"""What an import read, kept, repaired, set aside and found suspicious."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from profiles.importing.expectations import Check
from profiles.importing.formats.found import SetAside
from profiles.notes import Note


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        file: The file.
        workload: Where its rows went.
        kind: What its rows are: observations, cells, serving, traffic, prices, or a tool's format.
        rows: Rows that the file has.
        kept: Records made of them; one wide row gives several.
        added: New records.
        duplicates: Records that the store already held.
        conflicts: Rows refused because the store holds other values under the same key.
        queries: Queries that are new.
        already_imported: The same content came in before; nothing changed.
        set_aside: Reason to the number of records that were set aside for it.
        known: Field to the number of kept records that have it.
        checks: Published check values against what was read.
        notes: What was repaired, made unknown, set aside or is suspicious, with examples.
        digest: Identifies content and mapping.
        groups: Column to the number of queries that have a value there.
    """

    file: str
    workload: str
    kind: str
    rows: int
    kept: int
    added: int
    duplicates: int
    conflicts: int
    queries: int
    already_imported: bool
    set_aside: dict[str, int]
    known: dict[str, int]
    checks: tuple[Check, ...]
    notes: tuple[Note, ...]
    digest: str
    groups: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


def reasons(set_aside: Sequence[SetAside]) -> dict[str, int]:
    """How many records were set aside for each reason."""
    return dict(Counter(row.reason for row in set_aside))


def known_fields(records: Sequence[Any]) -> dict[str, int]:
    """How many records have a value in each field that is measured at all."""
    if not records:
        return {}
    names = [n for n in type(records[0]).__slots__ if n not in {"workload", "source", "evidence"}]
    counts = {name: sum(getattr(row, name) is not None for row in records) for name in names}
    return {name: count for name, count in counts.items() if count}
