"""Profiles that could have been measured just as well: every mean drawn anew from its own noise.

A parametric resample (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 6),
cell by cell. Cells are drawn independently of each other, also those of one class, which share
queries: that overstates how far two strategies differ by luck.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from profiles.profile import Cell, Profile

_LEAST_SCORE_VARIANCE = 1e-6


def resampled(profile: Profile, rng: np.random.Generator) -> Profile:
    """The profile with other luck.

    Mean scores are drawn from a beta law with the cell's mean and standard error (Jeffreys' half a
    query on either side, so that "all went well" is not certainty), mean costs from a log-normal
    law with theirs, counts of slow answers and the class mix from multinomial laws. Sample sizes
    stay.

    Args:
        profile: What was measured.
        rng: The luck.
    """
    weights = rng.multinomial(profile.queries, profile.weights) / profile.queries
    groups = {
        name: replace(table, cells={key: _cell(cell, rng) for key, cell in table.cells.items()})
        for name, table in profile.groups.items()
    }
    return replace(
        profile,
        weights=tuple(float(weight) for weight in weights),
        cells={key: _cell(cell, rng) for key, cell in profile.cells.items()},
        groups=groups,
    )


def _cell(cell: Cell, rng: np.random.Generator) -> Cell:
    accuracy = _score(cell, rng)
    spread = np.sqrt(_binary(accuracy) / _binary(cell.accuracy))
    return replace(
        cell,
        accuracy=accuracy,
        accuracy_sd=float(min(cell.accuracy_sd * spread, 0.5)) if cell.queries > 1 else 0.5,
        cost_usd=_cost(cell, rng),
        exceeded=_exceeded(cell, rng),
    )


def _binary(mean: float) -> float:
    """Variance of a score of 0 or 1 with this mean."""
    return max(mean * (1 - mean), _LEAST_SCORE_VARIANCE)


def _score(cell: Cell, rng: np.random.Generator) -> float:
    """A mean score; scores between 0 and 1 vary less and count as more queries."""
    gain = 1.0
    if cell.queries > 1 and 0 < cell.accuracy < 1:
        gain = min(max(_binary(cell.accuracy) / max(cell.accuracy_sd**2, 1e-12), 1.0), 100.0)
    effective = cell.queries * gain
    good = effective * cell.accuracy
    return float(rng.beta(good + 0.5, effective - good + 0.5))


def _cost(cell: Cell, rng: np.random.Generator) -> float | None:
    """Mean dollars; a spread that was not measured is taken as the mean, as estimates do."""
    if cell.cost_usd is None or cell.cost_usd == 0:
        return cell.cost_usd
    spread = cell.cost_usd if cell.cost_sd_usd is None else cell.cost_sd_usd
    variance = np.log1p((spread / cell.cost_usd) ** 2 / cell.queries)
    return float(cell.cost_usd * np.exp(rng.normal(-variance / 2, np.sqrt(variance))))


def _exceeded(cell: Cell, rng: np.random.Generator) -> tuple[int, ...] | None:
    """Slow answers per grid limit; samples of one query are slow together."""
    if cell.exceeded is None or not cell.latency_observations:
        return cell.exceeded
    edges = np.array([cell.latency_observations, *cell.exceeded, 0], dtype=np.float64)
    counts = rng.multinomial(cell.latency_queries, -np.diff(edges) / cell.latency_observations)
    beyond = np.cumsum(counts[::-1])[::-1][1:] / cell.latency_queries
    return tuple(round(float(share) * cell.latency_observations) for share in beyond)
