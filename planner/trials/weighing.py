"""What an allocation is worth on single queries: means of promises, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from planner.limit_names import (
    BY_CLASS,
    BY_GROUP,
    LATENCY,
    MAX_GAP,
    SPEND,
    TENANTS,
    class_of_latency,
    is_latency,
    tail_of_limit,
)
from planner.programme.margin import Array
from planner.sorting.cells_of_outcomes import Indices, Outcomes, filled
from planner.trials.resplit import OWN_ACCURACY, OWN_BILL, OWN_P95
from profiles.cells.intervals import effective_size, mean_interval, wilson

if TYPE_CHECKING:
    from planner.plan import Rung

ACCURACY = "accuracy."
LEVEL = 0.95
"""Of intervals where the plan has no confidence of its own."""


@dataclass(frozen=True, slots=True)
class Held:
    """One promise.

    Attributes:
        promise: Name of the limit, or what the plan promised itself.
        limit: What was promised, the promise's own unit.
        kept: Whether the judging queries' mean confirms it.
        found: That mean, the same unit; of a latency the share of slower requests, 0..1.
        low: Lower end of its interval; None for limits whose interval is not known.
        high: Upper end.
        allowed: What `found` is held to: the limit, of a latency the share that may be slower.
    """

    promise: str
    limit: float
    kept: bool
    found: float | None
    low: float | None
    high: float | None
    allowed: float

    @property
    def surely(self) -> bool | None:
        """Whether the whole interval says so; None without one."""
        if self.low is None or self.high is None:
            return None
        return not self.low < self.allowed < self.high


class Weighing:
    """Figures of an allocation on single queries, and intervals of their means."""

    def __init__(
        self,
        outcomes: Outcomes,
        class_of: Indices,
        names: tuple[str, ...],
        rung: Rung,
        *,
        mix: dict[str, float] | None,
        level: float | None,
    ) -> None:
        self.level = level or LEVEL
        self._outcomes, self._class_of, self._names = outcomes, class_of, names
        shares = np.array(
            [
                [rung.allocation[name].get(strategy, 0.0) for strategy in outcomes.strategies]
                for name in names
            ]
        )
        self._shares = shares[class_of]
        sizes = np.bincount(class_of, minlength=len(names))
        self._weights = np.full(len(class_of), 1 / len(class_of))
        self._by_class = mix is not None
        if mix is not None:
            within = np.array([mix.get(name, 0.0) for name in names]) / np.maximum(sizes, 1)
            self._weights = within[class_of]

    def held(self, name: str, limit: float, *, kept: bool, found: float | None) -> Held:
        """One promise with its interval, where it is about scores, dollars or latencies."""
        allowed = limit
        if name == OWN_P95 or is_latency(name):
            allowed = tail_of_limit(LATENCY if name == OWN_P95 else name)
        interval = self._interval(name, limit)
        if interval is None:
            return Held(name, limit, kept, found, None, None, allowed)
        return Held(name, limit, kept, *interval, allowed)

    def _interval(self, name: str, limit: float) -> tuple[float, float, float] | None:
        if name.startswith(TENANTS):
            return None
        if name.startswith(MAX_GAP):
            return self._gap(name.removeprefix(MAX_GAP))
        if name == OWN_ACCURACY or name.startswith(ACCURACY):
            return self._share(self._of(self._outcomes.scores), self._about(name))
        if name in {SPEND, OWN_BILL}:
            return self._amount(self._of(self._outcomes.costs))
        if name == OWN_P95 or is_latency(name):
            return self._share(self._of(self._slower(limit)), self._about(name))
        return None

    def _about(self, name: str) -> NDArray[np.bool_]:
        """The queries that a promise is about."""
        one = class_of_latency(name) if is_latency(name) else None
        if name.startswith(BY_CLASS):
            one = name.removeprefix(BY_CLASS)
        if name.startswith(BY_GROUP):
            return next(own for limit, own in self._groups() if limit == name)
        if one is None:
            return np.ones(len(self._class_of), dtype=bool)
        return np.asarray(self._class_of == self._names.index(one))

    def _of(self, table: Array) -> Array:
        """Expectation per query under the shares of its class, shape (n,)."""
        whole = filled(table, np.isfinite(table), self._class_of)
        return np.asarray(np.where(self._shares > 0, self._shares * whole, 0.0).sum(axis=1))

    def _groups(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        for column, label in self._outcomes.labels.items():
            for at, value in enumerate(label.values):
                yield f"{BY_GROUP}{column}.{value}", label.of == at

    def _slower(self, limit_s: float) -> Array:
        """Share of a query's answers that took longer, shape (n, S), nan where none is timed."""
        found = np.full(self._outcomes.scores.shape, np.nan)
        answers = self._outcomes.answers
        if answers is None:
            return found
        own = answers.timed
        at = answers.query[own] * len(self._outcomes.strategies) + answers.strategy[own]
        count = np.bincount(at, minlength=found.size)
        slow = np.bincount(at, answers.latencies_s[own] > limit_s, minlength=found.size)
        found.ravel()[count > 0] = slow[count > 0] / count[count > 0]
        return found

    def _mean(self, values: Array, own: NDArray[np.bool_]) -> tuple[float, float, int]:
        """Weighted mean, its standard error, and how many queries are behind it."""
        weights = self._weights[own] / self._weights[own].sum()
        values, class_of = values[own], self._class_of[own]
        mean = float(weights @ values)
        centre = np.full(len(values), mean)
        if self._by_class:  # the mix is given, so only luck within classes counts
            size = np.maximum(np.bincount(class_of), 1)
            centre = (np.bincount(class_of, values) / size)[class_of]
        n = len(values)
        square = float(np.sum((weights * (values - centre)) ** 2)) * n / max(n - 1, 1)
        return mean, math.sqrt(square), n

    def _share(self, values: Array, own: NDArray[np.bool_]) -> tuple[float, float, float]:
        mean, error, n = self._mean(values, own)
        mean = min(max(mean, 0.0), 1.0)
        size = effective_size(mean, error * math.sqrt(n), n, n, self.level)
        low, high = wilson(mean, size, self.level)
        return mean, low, high

    def _amount(self, values: Array) -> tuple[float, float, float] | None:
        mean, error, n = self._mean(values, np.ones(len(values), dtype=bool))
        interval = mean_interval(mean, error * math.sqrt(n), None, n, self.level)
        if interval is None or not math.isfinite(mean):
            return None
        return mean, interval[0], interval[1]

    def _gap(self, column: str) -> tuple[float, float, float]:
        """Of the two groups that lie farthest apart here."""
        values, prefix = self._of(self._outcomes.scores), f"{BY_GROUP}{column}."
        means = [self._mean(values, own) for name, own in self._groups() if name.startswith(prefix)]
        (best, up, _), (worst, down, _) = max(means), min(means)
        half = NormalDist().inv_cdf((1 + self.level) / 2) * math.hypot(up, down)
        gap = best - worst
        return gap, max(gap - half, 0.0), min(gap + half, 1.0)
