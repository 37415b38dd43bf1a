"""What a difficulty estimator learns from: prompts, labels and outcomes of a workload."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.store.schema import ALL_OBSERVATIONS
from profiles.store.store import Store

Floats = NDArray[np.float64]


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
        costs: Shape (n, S): mean dollars, nan where unmeasured or not recorded.
        without_prompt: Scored queries that were left out.
    """

    workload: str
    query_ids: list[str]
    prompts: list[str]
    labels: list[str | None]
    strategies: tuple[str, ...]
    scores: Floats
    costs: Floats
    without_prompt: int


def read_lessons(store: Store, workload: str) -> Lessons:
    """Everything of the workload that an estimator can learn from."""
    with store.reading() as execute:
        asked = execute(
            "SELECT query_id, prompt, class_label FROM queries "
            "WHERE workload = ? AND prompt IS NOT NULL ORDER BY query_id",
            [workload],
        ).fetchall()
        costs = execute(
            f"SELECT query_id, strategy, avg(cost_usd) FROM {ALL_OBSERVATIONS} "  # noqa: S608 - fixed name
            "WHERE workload = ? AND score IS NOT NULL GROUP BY query_id, strategy "
            "HAVING count(cost_usd) = count(*)",
            [workload],
        ).fetchall()
        means = store.mean_scores(workload)
    scored = {query for query, _, _ in means}
    known = [row for row in asked if row[0] in scored]
    place = {query: index for index, (query, _, _) in enumerate(known)}
    strategies = tuple(sorted({s for query, s, _ in means if query in place}))
    return Lessons(
        workload,
        [query for query, _, _ in known],
        [prompt for _, prompt, _ in known],
        [label for _, _, label in known],
        strategies,
        _table(means, place, strategies),
        _table(costs, place, strategies),
        len(scored) - len(known),
    )


def _table(
    values: list[tuple[str, str, float]], place: dict[str, int], strategies: tuple[str, ...]
) -> Floats:
    column = {strategy: index for index, strategy in enumerate(strategies)}
    table = np.full((len(place), len(strategies)), np.nan)
    for query, strategy, value in values:
        if query in place:
            table[place[query], column[strategy]] = value
    return table
