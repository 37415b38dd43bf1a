"""Scenarios side by side, class by class: who answers, and how well."""

from __future__ import annotations

from dataclasses import dataclass

from app.comparing import Comparison
from app.comparison_rows import Name, Row, row_of
from policies.decimals import nearest, plain
from policies.figures_in_words import per_cent, points_change

_SEEN = 5e-4
"""Shares that differ by less are printed alike, and are the solver's own noise at most."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Who answers one class.

    Attributes:
        class_name: The class.
        by_strategy: Share of the class in 0..1 for every scenario; None for one without a plan or
            without this class.
        moved: Share of all requests that some scenario answers otherwise than another.
    """

    class_name: str
    by_strategy: dict[str, tuple[float | None, ...]]
    moved: float

    @property
    def differ(self) -> bool:
        """Whether the scenarios that know this class answer it differently."""
        return any(_spread(parts) >= _SEEN for parts in self.by_strategy.values())


def shares(found: Comparison) -> list[Shares]:
    """Every class of any plan, most moved traffic first, then easiest first."""
    classes = []
    for one, weight in _weights(found).items():
        allocations = [
            column.planned.rung.allocation.get(one) if column.planned else None
            for column in found.columns
        ]
        used = sorted({text for parts in allocations if parts for text in parts})
        by_strategy = {
            text: tuple(None if parts is None else parts.get(text, 0.0) for parts in allocations)
            for text in used
        }
        moved = weight * sum(map(_spread, by_strategy.values())) / 2
        classes.append(Shares(one, by_strategy, moved))
    return sorted(classes, key=lambda shares: -shares.moved)


def share_rows(found: Comparison, classes: list[Shares], name: Name) -> list[Row]:
    """A row for each strategy of each of these classes."""
    return [
        row_of(found, (name(one.class_name), name(text)), map(_share, parts))
        for one in classes
        for text, parts in one.by_strategy.items()
    ]


def accuracy_rows(found: Comparison, name: Name) -> list[Row]:
    """Expected accuracy by class, with the difference to the base."""
    rows = []
    for one in _weights(found):
        figures = [
            column.planned.rung.by_class.get(one) if column.planned else None
            for column in found.columns
        ]
        cells = ["no such class" if own is None else per_cent(own.accuracy) for own in figures]
        changes = [
            points_change(column.against.accuracy_by_class[one])
            if column.against and one in column.against.accuracy_by_class
            else ""
            for column in found.columns
        ]
        rows.append(row_of(found, (name(one),), cells, changes))
    return rows


def _spread(parts: tuple[float | None, ...]) -> float:
    known = [part for part in parts if part is not None]
    return max(known) - min(known)


def _share(value: float | None) -> str:
    return "" if value is None else f"{plain(nearest(100 * value, 3))} %"


def _weights(found: Comparison) -> dict[str, float]:
    """Every class of any plan, easiest first, with its largest share of requests."""
    weights: dict[str, float] = {}
    for column in found.columns:
        if column.planned:
            classes = column.planned.plan.classes
            for one, weight in zip(classes.names, classes.weights, strict=True):
                weights[one] = max(weight, weights.get(one, 0.0))
    return weights
