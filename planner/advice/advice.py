"""What to measure, as `planner.advice.advise` finds it and reports show it."""

from __future__ import annotations

from dataclasses import dataclass

SEVERAL = "several limits"


@dataclass(frozen=True, slots=True)
class Row:
    """One piece of advice.

    Attributes:
        class_name: The class.
        strategy: Canonical text.
        queries: More queries to measure there.
        value: Expected improvement of the plan's objective per request, in `Advice.unit`; None
            where several limits at once cannot be certified.
        value_usd: The same in dollars per window of traffic; None where no price or no traffic
            says.
        cost_usd: Dollars of measuring, at the cell's mean cost; None where unknown.
        measured: Queries that the cell rests on today; 0 where it was never measured.
        share: Share of the class that it answers in today's plan, 0..1.
        reason: Why, in words.
    """

    class_name: str
    strategy: str
    queries: int
    value: float | None
    value_usd: float | None
    cost_usd: float | None
    measured: int
    share: float
    reason: str

    @property
    def worth_it(self) -> bool | None:
        """Whether one window pays for the measuring; None where either is unknown."""
        if self.value_usd is None or self.cost_usd is None:
            return None
        return self.value_usd > self.cost_usd


@dataclass(frozen=True, slots=True)
class Advice:
    """What to measure, most valuable first.

    Attributes:
        unit: What `Row.value` counts: dollars per request, accuracy, or points towards a limit.
        certified: The certified plan's objective; None where no plan can be certified.
        hindsight: The same, were every measured mean the truth; None where even that is
            infeasible. The distance of the two is what missing evidence costs.
        missing_evidence_usd: That distance in dollars per window; None where no price says.
        blocked: The limit that cannot be certified, or `SEVERAL`; None where a plan exists.
        summary: What stands in the way, in words.
        rows: The list.
    """

    unit: str
    certified: float | None
    hindsight: float | None
    missing_evidence_usd: float | None
    blocked: str | None
    summary: str
    rows: tuple[Row, ...]
