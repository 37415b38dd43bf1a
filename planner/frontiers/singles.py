"""One strategy for everything: what each would achieve alone, by the margins of plans."""

from __future__ import annotations

from dataclasses import dataclass

from planner.figures import Figures
from planner.planner import Planner
from planner.rungs import ROUNDED


@dataclass(frozen=True, slots=True)
class Single:
    """What one strategy does for all traffic.

    Attributes:
        strategy: Canonical text.
        expected: Best estimate of its outcome.
        promised: What it holds with the spec's confidence, by the same margins as plans.
        kept: Whether it keeps every limit of the planner alone.
    """

    strategy: str
    expected: Figures
    promised: Figures
    kept: bool


def singles(planner: Planner) -> list[Single]:
    """Every strategy that was measured in all classes, by rising expected dollars."""
    accounts, limits = planner.accounts, planner.limits
    found = [
        Single(
            strategy,
            accounts.expected(x),
            accounts.promised(x),
            planner.keeps(x, limits, ROUNDED),
        )
        for strategy, x in planner.singles()
    ]
    return sorted(found, key=lambda one: (one.expected.cost_usd_per_request or 0.0, one.strategy))
