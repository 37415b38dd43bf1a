"""Outcomes with single answers, latencies and groups, and their truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from outcome_worlds import Sorted, sorted_into

from planner.sorting.cells_of_outcomes import Outcomes
from profiles.cells.answers import Answers, Labels

Array = NDArray[np.float64]
GRID_S = tuple(np.round(np.geomspace(0.05, 20, 40), 4).tolist())
GROUPS = ("north", "south")


def with_answers(outcomes: Outcomes, latencies_s: Array | None = None) -> Outcomes:
    """One answer per query and strategy, as the tables have them."""
    n, count = outcomes.scores.shape
    query, strategy = np.divmod(np.arange(n * count), count)
    seconds = np.full((n, count), np.nan) if latencies_s is None else latencies_s
    known = np.flatnonzero(np.isfinite(outcomes.scores.ravel()))
    scores, costs, timed = (
        table.ravel()[known] for table in (outcomes.scores, outcomes.costs, seconds)
    )
    answers = Answers(query[known], strategy[known], scores, costs, timed, {})
    return replace(outcomes, answers=answers, grid_s=GRID_S)


@dataclass(frozen=True)
class SlowWorld:
    """Dearer strategies are better and slower; times are exponential.

    Attributes:
        outcomes: Of so many queries.
        sorted_by: Three classes.
        p95_s: A limit that the slower half of the strategies misses.
    """

    outcomes: Outcomes
    sorted_by: Sorted
    p95_s: float


def slow_world(seed: int, queries: int = 600, strategies: int = 6) -> SlowWorld:
    rng = np.random.default_rng(seed)
    class_of = rng.integers(0, 3, queries)
    skill = np.sort(rng.uniform(0.5, 0.95, strategies))
    chance = skill + np.array([[0.05], [0.0], [-0.1]]) + rng.normal(0, 0.04, (3, strategies))
    scores = (rng.random((queries, strategies)) < np.clip(chance, 0.05, 0.98)[class_of]).astype(
        np.float64
    )
    dollars = 1e-5 * np.exp(4 * skill) * rng.uniform(0.5, 1.5, (queries, strategies))
    mean_s = np.exp(rng.normal(0, 0.5, (3, strategies))) * np.linspace(0.4, 0.8, strategies)
    seconds = rng.exponential(1.0, (queries, strategies)) * mean_s[class_of]
    names = tuple(f"m{s}/single" for s in range(strategies))
    outcomes = with_answers(Outcomes("world", names, scores, dollars), seconds)
    p95_s = float(np.sort(3.0 * mean_s.max(axis=0))[2])  # 3 means: 5 % of an exponential
    outcomes = replace(outcomes, grid_s=tuple(sorted({*GRID_S, p95_s})))
    return SlowWorld(outcomes, sorted_into(class_of), p95_s)


def grouped_world(
    seed: int, queries: int = 800, strategies: int = 4
) -> tuple[Outcomes, Sorted, float]:
    """Two classes, two groups of which the south is served worse; and a floor for the south."""
    rng = np.random.default_rng(seed)
    class_of, south = rng.integers(0, 2, queries), rng.random(queries) < 0.4
    skill = np.sort(rng.uniform(0.5, 0.9, strategies))
    base = skill + np.array([[0.08], [-0.1]]) + rng.normal(0, 0.03, (2, strategies))
    chance = np.clip(base[class_of] - 0.08 * south[:, None], 0.03, 0.98)
    scores = (rng.random((queries, strategies)) < chance).astype(np.float64)
    dollars = 1e-5 * np.exp(4 * skill) * rng.uniform(0.5, 1.5, (queries, strategies))
    names = tuple(f"m{s}/single" for s in range(strategies))
    labels = {"region": Labels(GROUPS, south.astype(np.intp))}
    floor = float(np.clip(base, 0.03, 0.98).max(axis=1).mean()) - 0.08 - 0.15
    return Outcomes("world", names, scores, dollars, labels=labels), sorted_into(class_of), floor
