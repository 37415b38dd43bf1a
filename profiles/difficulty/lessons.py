"""What a difficulty estimator learns from: prompts, labels and outcomes of a workload.

DuckDB groups the outcomes and numbers queries and strategies, so that what crosses into Python is
one line of numbers per query and strategy, never a row of the store as an object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.cells.sql import Query, scored_rows
from profiles.pricing.rates import Rate
from profiles.store.session import Execute
from profiles.store.store import Store

Floats = NDArray[np.float64]

# The largest value takes so many bits, so any value down to 2^-47 of it is summed whole.
_BITS = 100
_SMALLEST = -200  # requests of fewer than 2^-300 dollars cost nothing
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
    """

    workload: str
    query_ids: list[str]
    prompts: list[str]
    labels: list[str | None]
    strategies: tuple[str, ...]
    scores: Floats
    costs: Floats
    without_prompt: int


def read_lessons(store: Store, workload: str, rates: Sequence[Rate] = ()) -> Lessons:
    """Everything of the workload that an estimator can learn from.

    Means do not depend on the order of the stored rows: they are quotients of exact sums.

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
        strategies = [
            name
            for (name,) in execute(
                f"SELECT DISTINCT strategy FROM ({rows.sql}) SEMI JOIN ({asked.sql}) "  # noqa: S608 - fixed names
                "USING (query_id) ORDER BY strategy",
                (*rows.values, *asked.values),
            ).fetchall()
        ]
        scores, costs = _means(execute, rows, asked, (len(ids), len(strategies)))
    return Lessons(
        workload, ids, prompts, labels, tuple(strategies), scores, costs, scored - len(ids)
    )


def _asked(rows: Query, workload: str) -> Query:
    """Queries with a prompt and a scored row."""
    sql = f"""
        SELECT query_id, prompt, class_label FROM queries
        WHERE workload = ? AND prompt IS NOT NULL
            AND query_id IN (SELECT query_id FROM ({rows.sql}))
    """  # noqa: S608 - fixed names
    return Query(sql, (workload, *rows.values))


def _means(
    execute: Execute, rows: Query, asked: Query, shape: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Mean scores and dollars, shape (n, S) each, nan where there is none."""
    ((largest,),) = execute(
        f"SELECT max(cost_usd) FROM ({rows.sql})",  # noqa: S608 - fixed names
        rows.values,
    ).fetchall()
    columns = execute(
        f"""
        WITH rows AS ({rows.sql}),
        places AS (
            SELECT query_id, row_number() OVER (ORDER BY query_id) - 1 AS place
            FROM ({asked.sql})
        ),
        cells AS (
            SELECT place, strategy, {_mean("score", 1.0)} AS score,
                CASE WHEN count(cost_usd) = count(*) THEN {_mean("cost_usd", largest or 0.0)} END
                    AS cost_usd
            FROM rows JOIN places USING (query_id) GROUP BY place, strategy
        )
        SELECT place, dense_rank() OVER (ORDER BY strategy) - 1 AS number, score, cost_usd
        FROM cells
        """,  # noqa: S608 - fixed names
        (*rows.values, *asked.values),
    ).fetchnumpy()
    cells = columns["place"], columns["number"]
    return _table(shape, cells, columns["score"]), _table(shape, cells, columns["cost_usd"])


def _mean(measure: str, largest: float) -> str:
    """SQL of a mean: a sum of whole numbers, which has no order, brought back to its unit."""
    unit = math.ldexp(1.0, _BITS - max(math.frexp(largest)[1], _SMALLEST))
    return f"sum(CAST({measure} * {unit!r}::DOUBLE AS HUGEINT))::DOUBLE / {unit!r} / count(*)"


def _table(shape: tuple[int, int], cells: tuple[Any, Any], values: Any) -> Floats:
    table = np.full(shape, np.nan)
    table[cells] = np.ma.filled(values, np.nan)
    return table
