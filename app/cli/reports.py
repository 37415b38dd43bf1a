"""Reports of the profile floor as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.cli.options import share, table

if TYPE_CHECKING:
    from profiles.difficulty.honesty.report import ClassFacts, FitReport


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
            f"read of a prompt: {report.weight}; classes by {report.sorting}",
            *_encoder(report),
            *([report.reason] if report.reason else []),
            "",
            table(quality, ("queries", "score", "R2", "AUC", "strategy")),
            "",
            table(classes, ("class", "queries", "share", "best score", "of strategy")),
            *(f"{row.name}: {row.meaning}" for row in report.classes),
            "",
            *_honesty(report),
            *(f"note: {text}" for text in report.remarks),
        ]
    )


def _encoder(report: FitReport) -> Iterator[str]:
    if used := report.encoder:
        yield (
            f"encoder: {used.digest}, {used.width} numbers, on {used.provider}; whoever sorts "
            "by this estimator needs the same one"
        )


def _honesty(report: FitReport) -> Iterator[str]:
    """How far predictions, classes and the estimator's reach can be trusted."""
    yield from (f"{row.strategy}: {row.words}" for row in report.reliability)
    yield from (f"{name}: predictions were scaled to fit" for name in report.recalibrated)
    if report.sets:
        found = report.sets
        yield (
            f"a set of {found.mean_size:.2f} classes on average holds the class that outcomes fit "
            f"best for {share(found.coverage.covered)} of {found.coverage.queries} queries "
            f"(asked: {share(1 - found.alpha)}); {share(found.single)} of sets hold one class"
        )
    alarms = report.unfamiliar
    yield (
        "a prompt unlike these takes the last class; by mistake that happens to "
        f"{alarms.alarms} of {alarms.queries} of them ({share(alarms.low)} to {share(alarms.high)})"
    )


def _best(row: ClassFacts) -> tuple[str, str]:
    known = {name: score for name, score in row.mean_scores.items() if score is not None}
    best = max(known, key=lambda name: known[name], default=None)
    return (share(known[best]), best) if best else ("n/a", "n/a")


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
