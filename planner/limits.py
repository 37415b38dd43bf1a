"""Limits by name, as a question moves them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from planner.estimating.groups import BY_GROUP, MAX_GAP
from planner.programme.model import BY_CLASS, LATENCY, OVERALL, SPEND
from planner.spec import Spec


class Keep(Enum):
    """A limit that stays as the spec has it."""

    SPEC = "as in the spec"


@dataclass(frozen=True)
class LimitSet:
    """Limits by name, in people's units.

    Attributes:
        floors: Accuracy floors, 0..1, by limit name.
        usd_per_request: Mean dollars per request, None without a limit.
        p95_s: Latency limit, None without.
        gaps: Caps on the gap between groups, 0..1, by limit name.
    """

    floors: dict[str, float] = field(default_factory=dict)
    usd_per_request: float | None = None
    p95_s: float | None = None
    gaps: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Spec) -> LimitSet:
        """The limits of a spec."""
        accuracy, latency = spec.limits.accuracy, spec.limits.latency
        floors = {BY_CLASS + name: floor for name, floor in accuracy.by_class.items()}
        if accuracy.overall is not None:
            floors = {OVERALL: accuracy.overall, **floors}
        for column, by_value in accuracy.by_group.items():
            floors |= {f"{BY_GROUP}{column}.{name}": floor for name, floor in by_value.items()}
        gaps = {MAX_GAP + column: gap for column, gap in accuracy.max_gap.items()}
        return cls(floors, spec.usd_per_request(), latency.p95_s if latency else None, gaps)

    def values(self) -> dict[str, float]:
        """Every limit that is set, by name."""
        values = self.floors | self.gaps
        if self.p95_s is not None:
            values[LATENCY] = self.p95_s
        if self.usd_per_request is not None:
            values[SPEND] = self.usd_per_request
        return values

    def without(self, name: str) -> LimitSet:
        """The same limits less one."""
        floors = {key: value for key, value in self.floors.items() if key != name}
        return LimitSet(
            floors,
            None if name == SPEND else self.usd_per_request,
            None if name == LATENCY else self.p95_s,
            {key: value for key, value in self.gaps.items() if key != name},
        )

    def moved(self, name: str, value: float) -> LimitSet:
        """The same limits with one at another value."""
        if name == SPEND:
            return replace(self, usd_per_request=value)
        if name == LATENCY:
            return replace(self, p95_s=value)
        if name in self.gaps:
            return replace(self, gaps=self.gaps | {name: value})
        return replace(self, floors=self.floors | {name: value})
