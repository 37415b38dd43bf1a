"""What a difficulty estimator learns from: prompts, labels and outcomes of a workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.cells.by_query import mean_outcomes
from profiles.cells.sql import Query, scored_rows
from profiles.pricing.rates import Rate
from profiles.store.store import Store

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]

_QUERIES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Lessons:
    """Scored queries with a prompt, in the order of their ids.

    Attributes:
        workload: Which traffic.
        query_ids: n ids.
        prompts: Their texts.
        labels: The class label that came with the data, None where there is none.
        strategies: S canonical texts, sorted.
        scores: Shape (n, S): mean score over the samples of a query, nan where unmeasured.
        costs: Shape (n, S): mean dollars, nan where unmeasured, or neither recorded nor
            priced.
        without_prompt: Scored queries that were left out.
        vectors: float32[n, D] of the prompts by a sentence encoder; None without one.
    """

    workload: str
    query_ids: list[str]
    prompts: list[str]
    labels: list[str | None]
    strategies: tuple[str, ...]
    scores: Floats
    costs: Floats
    without_prompt: int
    vectors: Vectors | None = None


def read_lessons(store: Store, workload: str, rates: Sequence[Rate] = ()) -> Lessons:
    """Everything of the workload that an estimator can learn from.

    Means are those of `profiles.cells.by_query`.

    Args:
        store: Holds prompts and outcomes.
        workload: Which traffic.
        rates: Price rows that have no dollars but tokens or GPU-seconds.
    """
    rows = scored_rows(workload, None, rates)
    asked = _asked(rows, workload)
    with store.reading() as execute:
        found = execute(f"{asked.sql} ORDER BY query_id", asked.values)
        ids: list[str] = []
        prompts: list[str] = []
        labels: list[str | None] = []
        while part := found.fetchmany(_QUERIES_AT_ONCE):
            ids += [query for query, _, _ in part]
            prompts += [prompt for _, prompt, _ in part]
            labels += [label for _, _, label in part]
        (scored,) = execute(
            f"SELECT count(DISTINCT query_id) FROM ({rows.sql})",  # noqa: S608 - fixed names
            rows.values,
        ).fetchall()[0]
        strategies, scores, costs = mean_outcomes(execute, rows, asked, len(ids))
    return Lessons(workload, ids, prompts, labels, strategies, scores, costs, scored - len(ids))


def _asked(rows: Query, workload: str) -> Query:
    """Queries with a prompt and a scored row."""
    sql = f"""
        SELECT query_id, prompt, class_label FROM queries
        WHERE workload = ? AND prompt IS NOT NULL
            AND query_id IN (SELECT query_id FROM ({rows.sql}))
    """  # noqa: S608 - fixed names
    return Query(sql, (workload, *rows.values))
