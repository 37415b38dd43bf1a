"""Smoothed tails: how often a request is slower than a limit, also where hardly any was measured.

Up to a threshold near the slowest tenth the measured shares stand, with Jeffreys' prior
``(k + 1/2) / (n + 1)``. Beyond it a generalised Pareto tail (Pickands, Annals of Statistics 3
(1975)) is fitted to the counts between grid limits by maximum likelihood, so that the rows need
not be kept. The tail never falls below Jeffreys' share of what was measured, nor does it rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from profiles.errors import UnknownValueError
from profiles.profile import Cell

Floats = NDArray[np.float64]
BODY = 0.1
"""Share of requests beyond the threshold, at most."""

LEAST_SLOW = 10
"""Requests beyond the threshold that a fit needs; with fewer only measured shares are given."""

_SHAPES = (-0.5, 1.0)  # lighter than bounded, heavier than one without a mean


@dataclass(frozen=True, slots=True)
class Tail:
    """Exceedance of one cell at any limit within or beyond the grid.

    Attributes:
        limits_s: Ascending grid limits, seconds.
        shares: Measured share beyond each limit, Jeffreys' prior included, never rising. Samples
            of a query are slow together, so every query counts once.
        threshold_s: Where the fitted tail starts; None where too few requests are beyond it.
        scale_s: Its scale.
        shape: Its shape; above 0 heavier than exponential.
    """

    limits_s: tuple[float, ...]
    shares: tuple[float, ...]
    threshold_s: float | None
    scale_s: float
    shape: float

    def exceedance(self, limit_s: float) -> float:
        """Share of requests slower than a limit.

        Raises:
            UnknownValueError: The limit lies below the grid, or beyond it and nothing was fitted.
        """
        row = int(np.searchsorted(self.limits_s, limit_s, side="right")) - 1
        if row < 0 or (self.threshold_s is None and limit_s > self.limits_s[-1]):
            raise UnknownValueError(
                "too little was measured to know how often this limit is exceeded",
                where=f"latency limit {limit_s:g} s",
                expected=f"a limit in {self.limits_s[0]:g} .. {self.limits_s[-1]:g} s",
                next_step="measure more requests, or choose a limit that was measured",
            )
        if self.threshold_s is None or limit_s <= self.threshold_s:
            return self.shares[row]
        excess = np.asarray(limit_s - self.threshold_s)
        fitted = self._share_beyond_threshold() * float(_survival(excess, self.scale_s, self.shape))
        measured = self.shares[row + 1] if row + 1 < len(self.shares) else 0.0
        if limit_s == self.limits_s[row]:
            measured = self.shares[row]
        return min(max(fitted, measured), self.shares[row])

    def _share_beyond_threshold(self) -> float:
        return self.shares[self.limits_s.index(self.threshold_s or 0.0)]


def quantile_between(
    cell: Cell, grid_s: Sequence[float], share: float
) -> tuple[float, float | None] | None:
    """Two limits of the grid between which a share of the measured requests is reached.

    Args:
        cell: With counts of slower requests per limit.
        grid_s: The profile's latency grid, seconds.
        share: In 0..1: 0.5 for the median.

    Returns:
        Seconds: more than the first, at most the second, which is None where the quantile lies
        beyond the grid. None where nothing was timed.
    """
    if cell.exceeded is None or not cell.latency_observations:
        return None
    most = (1 - share) * cell.latency_observations
    row = next((row for row, slow in enumerate(cell.exceeded) if slow <= most), len(grid_s))
    return (grid_s[row - 1] if row else 0.0), (grid_s[row] if row < len(grid_s) else None)


def tail(cell: Cell, grid_s: Sequence[float]) -> Tail | None:
    """The smoothed tail of a cell, None where it has no latencies."""
    n = cell.latency_queries
    if cell.exceeded is None or not n:
        return None
    slow = np.asarray(cell.exceeded, dtype=np.float64) * n / cell.latency_observations
    shares = tuple(((slow + 0.5) / (n + 1)).tolist())
    inside = np.flatnonzero(slow <= BODY * n)
    start = int(inside[0]) if inside.size else len(slow)
    if start >= len(slow) - 2 or slow[start] < LEAST_SLOW:
        return Tail(tuple(grid_s), shares, None, 0.0, 0.0)
    limits = np.asarray(grid_s[start:]) - grid_s[start]
    scale_s, shape = _fit(limits, slow[start:])
    return Tail(tuple(grid_s), shares, grid_s[start], scale_s, shape)


def _survival(excess: Floats, scale: float, shape: float) -> Floats:
    """Generalised Pareto: ``(1 + shape x / scale)^(-1/shape)``; exponential at shape 0."""
    if abs(shape) < 1e-9:
        return np.exp(-excess / scale)
    inside = np.maximum(1 + shape * excess / scale, 0.0)
    with np.errstate(divide="ignore"):  # a bounded tail is over at 0
        return np.asarray(np.where(inside > 0, inside ** (-1 / shape), 0.0))


def _fit(limits: Floats, slow: Floats) -> tuple[float, float]:
    """Scale and shape that make the counts between limits most likely.

    A flat prior between an exponential and a mild Pareto tail would be no better founded; a normal
    one on the shape (mean 0.1, sd 0.3) keeps few counts from asking for absurd tails.
    """
    counts = np.append(slow[:-1] - slow[1:], slow[-1])
    middle = np.append((limits[1:] + limits[:-1]) / 2, limits[-1] * 1.2)
    mean = float(counts @ middle / counts.sum())

    def loss(at: Floats) -> float:
        beyond = _survival(limits, float(np.exp(at[0])), float(at[1]))
        between = np.append(beyond[:-1] - beyond[1:], beyond[-1])
        likely = counts @ np.log(np.maximum(between, 1e-300))
        return float(-likely + ((at[1] - 0.1) / 0.3) ** 2 / 2)

    best = minimize(
        loss, [np.log(mean), 0.05], method="Nelder-Mead", bounds=[(None, None), _SHAPES]
    )
    return float(np.exp(best.x[0])), float(best.x[1])
