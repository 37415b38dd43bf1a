"""Outcomes that others measured, brought into the store or handed to a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profiles.digest import digest
from profiles.errors import InputError
from profiles.mapping import OF_A_QUERY, Fields, RowReader, resolve
from profiles.notes import Note, Notes
from profiles.observation import Evidence, Observation
from profiles.plausible import (
    Located,
    refuse_missing_fields,
    refuse_other_scale,
    refuse_two_classes,
)
from profiles.query import Query
from profiles.store import Store
from profiles.tables import Table, read_table


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A file's content in our words.

    Attributes:
        observations: One per accepted row, in file order.
        queries: Every query of the file or its prompts file; prompts where known.
        rows: Rows that the file has.
        notes: What was set aside, made unknown or repaired.
        digest: Of the files' bytes and the mapping; equal content has an equal digest.
    """

    observations: tuple[Observation, ...]
    queries: tuple[Query, ...]
    rows: int
    notes: tuple[Note, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        file: The file.
        workload: Where its rows went.
        rows: Rows that the file has.
        added: New observations.
        duplicates: Observations that the store already held.
        conflicts: Rows refused because the store holds other values under the same key.
        queries: Queries that are new.
        already_imported: The same content came in before; nothing changed.
        notes: What was set aside, made unknown or repaired, with counts and examples.
        digest: Identifies content and mapping.
    """

    file: str
    workload: str
    rows: int
    added: int
    duplicates: int
    conflicts: int
    queries: int
    already_imported: bool
    notes: tuple[Note, ...]
    digest: str

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


def import_file(
    store: Store,
    path: Path,
    *,
    workload: str,
    format: str | None = None,  # noqa: A002 - the option's name
    columns: Mapping[str, str] | None = None,
    prompts: Path | None = None,
    constants: Mapping[str, str] | None = None,
    evidence: Evidence = Evidence.PUBLISHED,
) -> ImportReport:
    """Bring a file's outcomes into the store, all or nothing.

    The same content again changes nothing. A row whose key is stored with other values is
    refused and counted.

    Args:
        store: An open store.
        path: CSV, TSV, JSON lines, JSON or Parquet.
        workload: The traffic these rows belong to.
        format: Overrules the file's suffix.
        columns: Canonical field (see `profiles.mapping.CANONICAL`) to the file's column.
        prompts: A second file with query id and prompt, perhaps a class.
        constants: Canonical field to one text for every row.
        evidence: Where the numbers come from.

    Raises:
        InputError: Nothing was stored; says which file, line and column.
    """
    outcomes = read_outcomes(
        path,
        workload=workload,
        format=format,
        columns=columns,
        prompts=prompts,
        constants=constants,
        evidence=evidence,
    )
    with store.transaction():
        known = store.has_import(outcomes.digest)
        # known rows add nothing, but what they contradict is worth saying again
        observed = store.add(outcomes.observations)
        asked = store.add_queries(workload, outcomes.queries)
        if not known:
            store.record_import(outcomes.digest, path.name, outcomes.rows)
    refused = [
        Note(text, report.conflicts, report.examples)
        for text, report in (
            ("row contradicts the store: refused", observed),
            ("query has two prompts or classes: the first is kept", asked),
        )
        if report.conflicts
    ]
    return ImportReport(
        file=str(path),
        workload=workload,
        rows=outcomes.rows,
        added=observed.added,
        duplicates=observed.duplicates,
        conflicts=observed.conflicts,
        queries=asked.added,
        already_imported=known,
        notes=(*outcomes.notes, *refused),
        digest=outcomes.digest,
    )


def read_outcomes(
    path: Path,
    *,
    workload: str,
    format: str | None = None,  # noqa: A002 - the option's name
    columns: Mapping[str, str] | None = None,
    prompts: Path | None = None,
    constants: Mapping[str, str] | None = None,
    evidence: Evidence = Evidence.PUBLISHED,
) -> Outcomes:
    """Read a file with the same mapping as `import_file`, without a store.

    Raises:
        InputError: A file is unreadable, the mapping does not fit it, its scores are on another
            scale, a query id stands for two classes, or no row is usable.
    """
    columns, constants = columns or {}, constants or {}
    table = read_table(path, format)
    extra = read_table(prompts) if prompts else None
    fields = resolve(table, columns, constants, elsewhere=extra.columns if extra else ())
    refuse_missing_fields(fields, table)
    refuse_other_scale(fields, table)
    notes = Notes()
    _remark(table, fields, notes)
    reader = RowReader(fields, workload=workload, evidence=evidence, source=path.name, notes=notes)
    observations = [
        observation for line, row in table.rows if (observation := reader.read(line, row))
    ]
    if not observations:
        raise InputError(
            "no row of the file can be used",
            where=table.name,
            got="; ".join(map(str, notes.all())),
            next_step="check --columns",
        )
    located = _located(reader, table)
    if extra:
        located += _extra_queries(extra, columns, workload, notes)
    refuse_two_classes(located)
    queries = [query for _, query in located]
    if extra:
        _note_missing_prompts(observations, queries, notes)
    return Outcomes(
        observations=tuple(observations),
        queries=tuple(dict.fromkeys(queries)),
        rows=len(table.rows),
        notes=notes.all(),
        digest=digest(
            {
                "workload": workload,
                "files": [table.digest, extra.digest if extra else None],
                "columns": dict(columns),
                "constants": dict(constants),
                "evidence": evidence.value,
            }
        ),
    )


def _remark(table: Table, fields: Fields, notes: Notes) -> None:
    """What is worth knowing of the file as a whole."""
    if table.not_json:
        lines = ", ".join(map(str, table.not_json[:3]))
        remark = "line with a bare NaN or Infinity, which is not JSON"
        notes.add(remark, f"line {lines}", len(table.not_json))
    if not fields.has("strategy") and not fields.has("method"):
        notes.add("no method is named: taken as 'single'", table.name)


def _extra_queries(
    table: Table, columns: Mapping[str, str], workload: str, notes: Notes
) -> list[Located]:
    """Queries of a prompts file; mapped columns count where the file has them."""
    mapped = {
        name: column
        for name, column in columns.items()
        if name in ("query", *OF_A_QUERY) and column in table.columns
    }
    fields = resolve(table, mapped, {})
    for name in ("query", "prompt"):
        if not fields.has(name):
            raise InputError(
                f"the prompts file has no column {name}",
                where=table.name,
                got=f"columns {', '.join(table.columns[:30])}",
                next_step=f"name it with --columns {name}=COLUMN",
            )
    reader = RowReader(
        fields, workload=workload, evidence=Evidence.PUBLISHED, source=table.name, notes=notes
    )
    return _located(reader, table)


def _located(reader: RowReader, table: Table) -> list[Located]:
    return [(f"{table.name}:{n}", query) for n, row in table.rows if (query := reader.query(row))]


def _note_missing_prompts(
    observations: Sequence[Observation], queries: Sequence[Query], notes: Notes
) -> None:
    prompted = {query.query_id for query in queries if query.prompt is not None}
    missing = sorted({row.query_id for row in observations} - prompted)
    if missing:
        notes.add("query without a prompt", ", ".join(missing[:3]), len(missing))
