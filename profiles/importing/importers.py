"""Outcomes that others measured, brought into the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from profiles.errors import InputError
from profiles.importing.import_report import ImportReport, known_fields, reasons
from profiles.importing.mapping import TableMapping
from profiles.importing.outcomes import Outcomes, read_outcomes
from profiles.notes import Kind, Note
from profiles.observation import Evidence
from profiles.pricing.prices import add_card
from profiles.query import Query
from profiles.store.groups import add_groups
from profiles.store.merge import AddReport
from profiles.store.store import Store

__all__ = ["Outcomes", "import_file", "read_outcomes", "refuse_stored_classes"]


def import_file(
    store: Store,
    path: Path,
    *,
    workload: str,
    format: str | None = None,  # noqa: A002 - the option's name
    columns: Mapping[str, str] | None = None,
    prompts: Path | None = None,
    constants: Mapping[str, str] | None = None,
    evidence: Evidence | None = None,
    mapping: TableMapping | None = None,
    options: Mapping[str, str] | None = None,
    groups: Sequence[str] = (),
) -> ImportReport:
    """Bring a file's content into the store, all or nothing.

    The same content again changes nothing. A row whose key is stored with other values is
    refused and counted; a query that is stored under another class or group refuses the whole file.

    Args:
        store: An open store.
        path: CSV, TSV, JSON lines, JSON or Parquet, or a tool's own file.
        workload: The traffic these rows belong to.
        format: Overrules the mapping and the file's suffix; also a tool of
            `profiles.importing.formats`.
        columns: Canonical field (see `profiles.importing.fields.FIELDS`) to the file's column.
        prompts: A second file with query id and prompt, perhaps a class.
        constants: Canonical field to one text for every row.
        evidence: Where the numbers come from; published where neither this nor the mapping says.
        mapping: How the table is read; `columns`, `constants` and `evidence` overrule it.
        options: Of a tool's reader.
        groups: Columns, of the file or of `prompts`, whose values are groups of queries.

    Raises:
        InputError: Nothing was stored; says which file, line and column.
    """
    found = read_outcomes(
        path,
        workload=workload,
        format=format,
        columns=columns,
        prompts=prompts,
        constants=constants,
        evidence=evidence,
        mapping=mapping,
        options=options,
        groups=groups,
    )
    with store.transaction():
        known = store.has_import(found.digest)
        # known rows add nothing, but what they contradict is worth saying again
        refuse_stored_classes(store, workload, found.queries, path.name)
        added = _add_records(store, found)
        asked = store.add_queries(workload, found.queries) if found.queries else AddReport()
        add_groups(store, workload, found.groups)
        if not known:
            store.record_import(found.digest, path.name, found.rows)
            store.quarantine(found.digest, path.name, found.set_aside)
    refused = [
        Note(text, report.conflicts, report.examples, Kind.SET_ASIDE)
        for text, report in (
            ("row contradicts the store", added),
            ("query has two prompts: the first is kept", asked),
        )
        if report.conflicts
    ]
    return ImportReport(
        file=str(path),
        workload=workload,
        kind=found.kind,
        rows=found.rows,
        kept=len(found.records),
        added=added.added,
        duplicates=added.duplicates,
        conflicts=added.conflicts,
        queries=asked.added,
        already_imported=known,
        set_aside=reasons(found.set_aside),
        known=known_fields(found.records),
        checks=found.checks,
        notes=(*found.notes, *refused),
        digest=found.digest,
        groups=dict(Counter(group.name for group in found.groups)),
    )


def _add_records(store: Store, found: Outcomes) -> AddReport:
    report = AddReport()
    if found.observations:
        report += store.add(found.observations)
    if found.aggregates:
        report += store.add_aggregates(found.aggregates)
    if found.serving:
        report += store.add_serving(found.serving)
    if found.arrivals:
        report += store.add_arrivals(found.arrivals)
    if found.card:
        new = add_card(store, found.card)
        models = len(found.card.models)
        report += AddReport(added=models * new, duplicates=models * (not new))
    return report


def refuse_stored_classes(store: Store, workload: str, queries: Sequence[Query], file: str) -> None:
    """A query that came in under one class must not come again under another.

    Raises:
        InputError: Names the first such query and both classes.
    """
    labelled = {q.query_id: q.class_label for q in queries if q.class_label is not None}
    if not labelled:
        return
    with store.reading() as sql:
        stored = sql(
            "SELECT query_id, class_label FROM queries "
            "WHERE workload = ? AND class_label IS NOT NULL ORDER BY query_id",
            [workload],
        ).fetchall()
    wrong = [(name, label) for name, label in stored if labelled.get(name, label) != label]
    if wrong:
        name, label = wrong[0]
        raise InputError(
            f"{len(wrong)} queries are stored under another class",
            where=f"{file}: query {name}",
            expected=f"class {label!r} as imported before",
            got=f"class {labelled[name]!r}",
            next_step="import this file as a workload of its own, or leave its class column out",
        )
