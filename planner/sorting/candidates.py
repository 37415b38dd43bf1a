"""Ways of sorting requests into classes, and how each did when plans by it were judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from planner.sorting.plan_value import HeldOut, Mean
from planner.sorting.plans_by_fold import Classes


class Candidate(Classes, Protocol):
    """A way of sorting."""

    @property
    def kind(self) -> str:
        """What kind of way; a `class_choice.PRICE_RULE` is offered beside classes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one candidate did.

    Attributes:
        index: Place among the candidates.
        kind: What kind of way.
        classes: How many classes.
        value: Held-out value: dollars per request, or accuracy; None where the spec names a class
            that this candidate lacks.
        value_error: Standard error of it.
        behind: By how much it is worse than the best, in the same unit; below 0 only where it was
            passed over.
        behind_error: Standard error of that difference.
        accuracy: Held-out mean score.
        cost_usd: Held-out dollars per request, None where unknown.
        refused: Plans that could not be certified, of `asked`.
        asked: Folds times questions.
        kept: Certified plans that kept every limit on the queries they had not seen.
        missed: Limits that the mean over certified plans misses by more than its standard error.
    """

    index: int
    kind: str
    classes: int
    value: float | None = None
    value_error: float | None = None
    behind: float | None = None
    behind_error: float | None = None
    accuracy: float | None = None
    cost_usd: float | None = None
    refused: int = 0
    asked: int = 0
    kept: int = 0
    missed: tuple[str, ...] = ()

    @classmethod
    def of(cls, index: int, candidate: Candidate, own: HeldOut, behind: Mean) -> Standing:
        """How a candidate did that could be judged, `behind` the best."""
        return cls(
            index=index,
            kind=candidate.kind,
            classes=len(candidate.names),
            value=own.value.value,
            value_error=own.value.error,
            behind=behind.value,
            behind_error=behind.error,
            accuracy=own.accuracy.value,
            cost_usd=own.cost_usd.value if own.cost_usd else None,
            refused=own.refused,
            asked=len(own.folds),
            kept=sum(not fold.refused and not fold.missed for fold in own.folds),
            missed=own.missed,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidate to keep.

    Attributes:
        index: Its place among the candidates.
        reason: Why, in words.
        table: How each did, in their order.
    """

    index: int
    reason: str
    table: tuple[Standing, ...]
