"""Reports of the profile floor as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.options import share, table

if TYPE_CHECKING:
    from profiles.difficulty.fit import ClassFacts, FitReport


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


def _best(row: ClassFacts) -> tuple[str, str]:
    known = {name: score for name, score in row.mean_scores.items() if score is not None}
    best = max(known, key=lambda name: known[name], default=None)
    return (share(known[best]), best) if best else ("n/a", "n/a")


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
