"""Figures of cells from tables of outcomes: scores and dollars, tails, means of what was used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.programme.margin import Array
from profiles.cells.answers import Answers
from profiles.cells.sql import SD_OF
from profiles.observation import Evidence

Indices = NDArray[np.intp]
_WORST_SD = 0.5  # of a score in 0..1 that was seen once, Popoviciu's inequality


def of_scores(scores: Array, costs: Array, class_of: Indices, count: int) -> dict[int, Any]:
    """Fields of one strategy's cells by class index, of classes where it was measured.

    Args:
        scores: Per query, nan where unmeasured.
        costs: Dollars, nan where unknown.
        class_of: Class index per query.
        count: How many classes there are.
    """
    known = np.isfinite(scores)
    scores, costs, class_of = scores[known], costs[known], class_of[known]
    n = np.bincount(class_of, minlength=count)
    score, score_sd = spread(scores, class_of, n)
    cost, cost_sd = spread(costs, class_of, n)  # nan where any row lacks its dollars
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


def of_answers(
    answers: Answers, grid_s: tuple[float, ...], class_at: Indices, strategies: int
) -> dict[tuple[int, int], dict[str, Any]]:
    """Fields by class and strategy that single answers tell: tails, and means of `AMOUNTS`.

    Args:
        answers: To queries of which some count.
        grid_s: Limits that slow answers are counted beyond, seconds, ascending.
        class_at: Class per query, -1 for one that does not count.
        strategies: How many there are.
    """
    classes = class_at[answers.query]
    own = classes >= 0
    cell = classes[own] * strategies + answers.strategy[own]
    query = answers.query[own] * strategies + answers.strategy[own]
    cells, place = np.unique(cell, return_inverse=True)
    found: dict[tuple[int, int], dict[str, Any]] = {
        (int(key) // strategies, int(key) % strategies): {} for key in cells
    }
    kept = list(found.values())
    latencies_s = answers.latencies_s[own]
    timed = np.isfinite(latencies_s)
    if grid_s and timed.any():
        _tails(kept, latencies_s[timed], place[timed], query[timed], grid_s)
    first = np.flatnonzero(np.diff(query, prepend=-1))
    answer_of = np.cumsum(np.diff(query, prepend=-1) != 0) - 1
    for name, values in answers.amounts.items():
        _means(kept, name, values[own], place[first], answer_of)
    return found


def _tails(
    kept: list[dict[str, Any]],
    latencies_s: Array,
    place: Indices,
    query: Indices,
    grid_s: tuple[float, ...],
) -> None:
    """Answers slower than each limit; one on a limit is not beyond it."""
    limits = len(grid_s)
    passed = np.searchsorted(grid_s, latencies_s, side="left")
    shape = (len(kept), limits + 1)
    counts = np.bincount(place * (limits + 1) + passed, minlength=shape[0] * shape[1])
    counts = counts.reshape(shape)
    slower = counts.sum(axis=1, keepdims=True) - counts.cumsum(axis=1)
    queries = np.bincount(place[np.flatnonzero(np.diff(query, prepend=-1))], minlength=len(kept))
    for fields, beyond, answers, timed in zip(
        kept, slower[:, :limits], counts.sum(axis=1), queries, strict=True
    ):
        if answers:
            fields["exceeded"] = tuple(beyond.tolist())
            fields["latency_observations"] = int(answers)
            fields["latency_queries"] = int(timed)


def _means(
    kept: list[dict[str, Any]], name: str, values: Array, place: Indices, query_of: Indices
) -> None:
    """Mean over queries and deviation between them, where every answer has the measure."""
    means = np.bincount(query_of, values, len(place)) / np.bincount(query_of, minlength=len(place))
    n = np.bincount(place, minlength=len(kept))
    mean, sd = spread(means, place, n)
    for fields, one, deviation, count in zip(kept, mean, sd, n, strict=True):
        if np.isfinite(one):
            fields[name] = float(one)
            fields[SD_OF[name]] = float(deviation) if count > 1 else None


def spread(values: Array, class_of: Indices, n: Indices) -> tuple[Array, Array]:
    """Mean and standard deviation (ddof=1) per class, nan where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(class_of, values, len(n)) / n
        squares = np.bincount(class_of, (values - mean[class_of]) ** 2, len(n))
        return mean, np.sqrt(squares / (n - 1))
