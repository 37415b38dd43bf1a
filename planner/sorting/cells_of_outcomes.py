"""A profile from outcomes in memory, of any part of the queries and by any classes.

`Store.profile` reads a store and classes that were saved in it. Here the same cells come from
tables of outcomes, so that a plan can be made from some of the queries and judged on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.programme.margin import Array
from profiles.cells.content import profile_digest
from profiles.errors import InputError
from profiles.observation import Evidence
from profiles.profile import Cell, Profile

Indices = NDArray[np.intp]
_WORST_SD = 0.5  # of a score in 0..1 that was seen once, Popoviciu's inequality


@dataclass(frozen=True)
class Outcomes:
    """What every strategy achieved and cost on every query; samples of a query are averaged.

    Attributes:
        workload: Name of the traffic.
        strategies: S canonical texts, sorted.
        scores: Shape (n, S), 0..1, nan where unmeasured.
        costs: Shape (n, S), dollars, nan where unmeasured or unknown.

    Raises:
        InputError: The shapes differ, or the strategies are not sorted.
    """

    workload: str
    strategies: tuple[str, ...]
    scores: Array
    costs: Array

    def __post_init__(self) -> None:
        width = (len(self.scores), len(self.strategies))
        if self.scores.shape != width or self.costs.shape != width:
            raise InputError(
                "scores and costs need a row per query and a column per strategy",
                where=f"outcomes of {self.workload}",
                expected=f"two tables of shape {width}",
                got=f"{self.scores.shape} and {self.costs.shape}",
            )
        if list(self.strategies) != sorted(set(self.strategies)):
            raise InputError(
                "strategies must be sorted and different",
                where=f"outcomes of {self.workload}",
                got=", ".join(self.strategies),
            )

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where a score was measured, shape (n, S)."""
        return np.isfinite(self.scores)

    @property
    def costs_known(self) -> bool:
        """Whether every measured outcome has its dollars."""
        return bool(np.isfinite(self.costs[self.known]).all())

    def part(self, rows: Indices) -> Outcomes:
        """Of some of the queries."""
        return replace(self, scores=self.scores[rows], costs=self.costs[rows])


def profile_of(
    outcomes: Outcomes, classes: Indices, names: Sequence[str], rows: Indices
) -> Profile:
    """The profile of some queries, by the definitions of `profiles.cells` for one row per query.

    A query without a score under a strategy is no part of that cell, and one without any score no
    part of the profile; so a class without queries is left out, and so is a strategy. Where samples
    were averaged, `score_sd` lacks the spread between samples of one query. Figures that plans
    under limits on accuracy and money do not rest on (tokens, times, skewness) are None.

    Args:
        outcomes: Tables of n queries.
        classes: Class index per query, shape (n,).
        names: Class names, easiest first; `classes` are indices into them.
        rows: Positions of the queries to count.

    Raises:
        InputError: None of the rows has a score.
    """
    own = rows[outcomes.known[rows].any(axis=1)]
    class_of = classes[own]
    counts = np.bincount(class_of, minlength=len(names))
    if not counts.any():
        raise InputError("no query has a score", where=f"outcomes of {outcomes.workload}")
    columns = [
        _column(outcomes.scores[own, s], outcomes.costs[own, s], class_of, len(names))
        for s in range(len(outcomes.strategies))
    ]
    present = [d for d in range(len(names)) if counts[d]]
    cells = {
        (names[d], strategy): Cell(class_name=names[d], strategy=strategy, **column[d])
        for d in present
        for strategy, column in zip(outcomes.strategies, columns, strict=True)
        if d in column
    }
    class_queries = tuple(int(counts[d]) for d in present)
    about: dict[str, Any] = {
        "workload": outcomes.workload,
        "classes": tuple(names[d] for d in present),
        "weights": tuple(count / len(own) for count in class_queries),
        "strategies": tuple(sorted({strategy for _, strategy in cells})),
        "latency_grid_s": (),
        "queries": len(own),
        "estimator_digest": None,
        "class_queries": class_queries,
        "concurrency": None,
    }
    in_order = [cells[key] for key in sorted(cells)]
    return Profile(**about, cells=cells, digest=profile_digest(about, in_order))


def filled(values: Array, known: NDArray[np.bool_], class_of: Indices) -> Array:
    """A table without gaps, whose means and standard errors by class are those of what is known.

    What is unknown becomes the mean m of its class and column, or of the column where its class has
    none; what is known becomes ``m + (y - m) / r``, r being the share of the class that is known.

    Args:
        values: Shape (n, S).
        known: Which of them count, shape (n, S); a column without any stays as it is.
        class_of: Class index per row, shape (n,).
    """
    table = values.copy()
    for s in np.flatnonzero(~known.all(axis=0) & known.any(axis=0)):
        own = known[:, s]
        size = np.bincount(class_of)
        n = np.bincount(class_of[own], minlength=len(size))
        total = np.bincount(class_of[own], values[own, s], len(size))
        mean = np.where(n > 0, total / np.maximum(n, 1), values[own, s].mean())[class_of]
        spread = (values[:, s] - mean) * (size / np.maximum(n, 1))[class_of]
        table[:, s] = np.where(own, mean + spread, mean)
    return table


def _column(
    scores: Array, costs: Array, class_of: Indices, count: int
) -> dict[int, dict[str, Any]]:
    """Figures of one strategy's cells by class index, of classes where it was measured."""
    known = np.isfinite(scores)
    scores, costs, class_of = scores[known], costs[known], class_of[known]
    n = np.bincount(class_of, minlength=count)
    score, score_sd = _spread(scores, class_of, n)
    cost, cost_sd = _spread(costs, class_of, n)  # nan where any row lacks its dollars
    dearest = np.full(count, -np.inf)
    np.fmax.at(dearest, class_of, costs)
    found = {}
    for d in np.flatnonzero(n):
        several, priced = n[d] > 1, bool(np.isfinite(cost[d]))
        sd = float(score_sd[d]) if several else _WORST_SD
        sd_usd = float(cost_sd[d]) if several and priced else None
        found[int(d)] = {
            "queries": int(n[d]),
            "observations": int(n[d]),
            "accuracy": float(score[d]),
            "accuracy_sd": sd,
            "score_sd": sd,
            "cost_usd": float(cost[d]) if priced else None,
            "cost_sd_usd": sd_usd,
            "cost_mean_sd_usd": sd_usd,
            "cost_max_usd": float(dearest[d]) if priced else None,
            "tokens_in": None,
            "tokens_out": None,
            "tokens_out_max": None,
            "calls": None,
            "exceeded": None,
            "latency_observations": 0,
            "latency_p95_s": None,
            "evidence": (Evidence.MEASURED.value,),
        }
    return found


def _spread(values: Array, class_of: Indices, n: Indices) -> tuple[Array, Array]:
    """Mean and standard deviation (ddof=1) per class, nan where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(class_of, values, len(n)) / n
        squares = np.bincount(class_of, (values - mean[class_of]) ** 2, len(n))
        return mean, np.sqrt(squares / (n - 1))
