"""Reports of the profile floor as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.cli.options import share, table, usd

if TYPE_CHECKING:
    from profiles.difficulty import ClassFacts, FitReport
    from profiles.importers import ImportReport
    from profiles.measure import MeasureReport


def import_text(report: ImportReport) -> str:
    """What an import read, kept, set aside and why."""
    if report.already_imported:
        head = f"{report.file}: the same content was imported before; nothing changed"
    else:
        head = (
            f"{report.file} -> {report.workload}: {report.rows} rows, {report.added} added, "
            f"{report.duplicates} known already, {report.conflicts} in conflict, "
            f"{report.queries} new queries"
        )
    return "\n".join([head, *(f"note: {note}" for note in report.notes)])


def measure_text(report: MeasureReport) -> str:
    """What a measuring run did."""
    head = (
        f"{report.planned} outcomes: {report.measured} measured, {report.resumed} in the store "
        f"already, {report.failed} failed"
    )
    return "\n".join([head, *(f"note: {note}" for note in report.failures)])


def fit_text(report: FitReport) -> str:
    """How well scores are predicted out of fold, and what the classes look like."""
    quality = [
        (row.queries, share(row.mean_score), _number(row.r2), _number(row.auc), row.strategy)
        for row in report.strategies
    ]
    classes = [(row.name, row.queries, share(row.share), *_best(row)) for row in report.classes]
    return "\n".join(
        [
            f"{report.workload}: {report.queries} queries, {report.folds} folds, out of fold",
            "",
            table(quality, ("queries", "score", "R2", "AUC", "strategy")),
            "",
            table(classes, ("class", "queries", "share", "best score", "of strategy")),
            *(f"note: {text}" for text in report.remarks),
        ]
    )


def cell_table(rows: list[dict[str, Any]]) -> str:
    """Every cell: accuracy with its 95 % interval, cost, tail, and the queries they rest on."""
    shown = [
        (
            row["class"],
            row["queries"],
            share(row["accuracy"]),
            f"{share(row['accuracy_low'])} .. {share(row['accuracy_high'])}",
            usd(row["cost_usd"]),
            "n/a" if row["latency_p95_s"] is None else f"{row['latency_p95_s']:.3g}",
            ", ".join(row["evidence"]),
            row["strategy"],
        )
        for row in rows
    ]
    header = ("class", "queries", "accuracy", "95 % interval", "USD/request", "p95 s", "evidence")
    return table(shown, (*header, "strategy"))


def _best(row: ClassFacts) -> tuple[str, str]:
    known = {name: score for name, score in row.mean_scores.items() if score is not None}
    best = max(known, key=lambda name: known[name], default=None)
    return (share(known[best]), best) if best else ("n/a", "n/a")


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
