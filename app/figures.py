"""Numbers as pages show them, each with what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.solving import Solving


def number(value: float | None, scale: float = 1) -> str:
    """Four digits, or that nobody measured it."""
    return "not measured" if value is None else f"{scale * value:.4g}"


def basis(found: Solving) -> str:
    """What every figure of a view rests on: workload, sample size, evidence, profile."""
    profile = found.question.profile
    evidence = sorted({kind for cell in profile.cells.values() for kind in cell.evidence})
    return (
        f"{profile.workload}: {profile.queries} queries ({', '.join(evidence)}), "
        f"{len(profile.strategies)} strategies, {len(profile.classes)} classes, "
        f"profile {profile.digest[:19]}"
    )
