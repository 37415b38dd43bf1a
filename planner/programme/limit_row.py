"""One row of the programme: a limit, or a part of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.limit_names import is_floor
from planner.programme.margin import Array, Margin

OFFSET_STEP = 1e-5
"""Share of a limit's value over which the change of its offset is measured."""


@dataclass(frozen=True)
class LimitRow:
    """``body x[at] - margin >= bound`` for a floor, ``body x[at] + margin <= bound`` for a ceiling.

    Attributes:
        limit: The limit as people name it; a cap on a gap between groups has several rows.
        name: The row's own name; that of the limit where it has but one.
        at: Columns that it speaks about.
        body: Coefficient of each of them, of order 1.
        margin: What the row may miss, None where nothing is estimated.
        unit: People's units that one unit of the body stands for.
        bound: What the body is held to whatever the limit's value is; None: ``value / unit``. A
            latency limit holds the share of slow requests to that of its percentile.
        offset: Constant part of the margin at a value in people's units, None for nothing.
    """

    limit: str
    name: str
    at: NDArray[np.intp]
    body: Array
    margin: Margin | None = None
    unit: float = 1.0
    bound: float | None = None
    offset: Callable[[float], Array] | None = None

    @property
    def is_floor(self) -> bool:
        """Whether it bounds from below."""
        return is_floor(self.limit)

    def bound_at(self, value: float) -> float:
        """What the body is held to where the limit has this value."""
        return value / self.unit if self.bound is None else self.bound

    def offset_at(self, value: float) -> Array | float:
        """Constant part of the margin where the limit has this value."""
        return 0.0 if self.offset is None else self.offset(value)

    def follows(self, x: Array, value: float) -> float:
        """What a unit of the limit's value moves the row by at x, in units of the bound.

        1 where the offset stays. The noise of judged requests hangs on the limit: a higher floor
        leaves scores less room to vary, so the row moves by less than the floor does.
        """
        if self.margin is None or self.offset is None or self.bound is not None:
            return 1.0
        step = OFFSET_STEP * max(abs(value), OFFSET_STEP * self.unit)
        more, less = (self.margin.value(x, self.offset(value + way * step)) for way in (1, -1))
        change = (more - less) * self.unit / (2 * step)
        return 1.0 + change if self.is_floor else 1.0 - change

    def total(self, x: Array) -> float:
        """``body x[at]``, in units of the body."""
        return float(self.body @ x[self.at])

    def missed(self, x: Array, value: float) -> float:
        """By how much x misses the limit, in units of the body; negative where it keeps it."""
        margin = self.margin.value(x, self.offset_at(value)) if self.margin else 0.0
        over = self.total(x) - self.bound_at(value)
        return margin - over if self.is_floor else margin + over
