"""What one plan's figures differ by from another's, with intervals where the errors are known.

Reckoned as `inferbudget diff` reckons the difference of two policies (`policies.effects`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.change import Change
from policies.effects import Effects

if TYPE_CHECKING:
    from planner.plan import Figures, Rung


@dataclass(frozen=True, slots=True)
class Differences:
    """One plan against another: intervals are None where the error of a difference is not known.

    Attributes:
        accuracy: Mean score, 0..1, expected.
        usd_per_request: Dollars expected.
        latency_p95_s: Expected 95th percentile.
        spend: Dollars expected per what `per` says.
        per: A month, a total or a request.
        accuracy_by_class: Mean score of a class's requests, for classes that both have.
    """

    accuracy: Change
    usd_per_request: Change
    latency_p95_s: Change
    spend: Change
    per: str
    accuracy_by_class: Mapping[str, Change]


def of_effects(found: Effects) -> Differences:
    """Of two policies."""
    first = found.first
    return Differences(
        first.accuracy.change,
        first.usd_per_request,
        first.latency_p95_s,
        first.spend.change,
        found.per,
        {one.name: one.accuracy for one in first.classes if one.state == "both"},
    )


def of_figures(old: Rung, new: Rung) -> Differences:
    """Of the figures alone, where no policy says how sure they are."""

    def change(was: Figures, now: Figures, name: str) -> Change:
        return Change.of(getattr(was, name), getattr(now, name))

    usd = change(old.expected, new.expected, "cost_usd_per_request")
    return Differences(
        change(old.expected, new.expected, "accuracy"),
        usd,
        change(old.expected, new.expected, "latency_p95_s"),
        usd,
        "request",
        {
            name: change(old.by_class[name], figures, "accuracy")
            for name, figures in new.by_class.items()
            if name in old.by_class
        },
    )
