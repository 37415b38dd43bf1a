"""A figure with its interval, and the interval of the difference of two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from profiles.cells.intervals import wilson

Floats = NDArray[np.float64]

_TAIL = 0.95


class Kind(StrEnum):
    """What a figure says."""

    SHARE = "share"
    ACCURACY = "accuracy"
    COST_USD = "cost_usd"
    LATENCY_P95_S = "latency_p95_s"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that was measured on a sample of queries.

    Attributes:
        value: The number.
        kind: Which decides how its interval is found.
        queries: Distinct queries behind it.
        error: Standard error over queries, of a cost; None where a published mean has none.
        rows: Ascending values, of a percentile.
    """

    value: float
    kind: Kind
    queries: int
    error: float | None = 0.0
    rows: Floats | None = None

    def interval(self, confidence: float) -> tuple[float, float]:
        """Both ends; infinite where the sample does not bound the number."""
        if self.kind in {Kind.SHARE, Kind.ACCURACY}:
            return wilson(self.value, self.queries, confidence)
        if self.rows is not None:
            return _around_p95(self.rows, self.queries, confidence)
        if self.error is None or self.queries < 2:
            return -math.inf, math.inf
        half = float(stats.t.ppf((1 + confidence) / 2, self.queries - 1)) * self.error
        return self.value - half, self.value + half


def mover(
    before: Figure, after: Figure, correlation: float, confidence: float
) -> tuple[float, float]:
    """Interval of `after` - `before` from the intervals of both (Zou and Donner 2008).

    Args:
        before: One figure.
        after: The other.
        correlation: Of the two estimates, from the queries behind both.
        confidence: In 0..1.
    """
    old, new = before.interval(confidence), after.interval(confidence)
    difference = after.value - before.value
    down = _joined(after.value - new[0], old[1] - before.value, correlation)
    up = _joined(new[1] - after.value, before.value - old[0], correlation)
    return difference - down, difference + up


def _joined(one: float, other: float, correlation: float) -> float:
    if math.isinf(one) or math.isinf(other):
        return math.inf
    return math.sqrt(max(one**2 + other**2 - 2 * correlation * one * other, 0.0))


def _around_p95(rows: Floats, queries: int, confidence: float) -> tuple[float, float]:
    """Order statistics, as if each query had one row: samples of a query are no new evidence."""
    low, above = (
        int(stats.binom.ppf(share, queries, _TAIL))
        for share in ((1 - confidence) / 2, (1 + confidence) / 2)
    )
    return (
        float(rows[math.ceil(low / queries * rows.size) - 1]) if low else 0.0,
        float(rows[math.ceil((above + 1) / queries * rows.size) - 1])
        if above < queries
        else math.inf,
    )
