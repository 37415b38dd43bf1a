"""Outcomes query by query: mean score and dollars of every query under every strategy.

DuckDB groups the rows and numbers queries and strategies, so that what crosses into Python is one
line of numbers per query and strategy, never a row of the store as an object. Means do not depend
on the order of the stored rows: they are quotients of exact sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.cells.answers import Answers, Labels, read_answers, read_labels
from profiles.cells.sql import Query, classed, classes_of, scored_rows
from profiles.errors import InputError
from profiles.pricing.rates import Rate
from profiles.store.session import Execute
from profiles.store.store import Store

Floats = NDArray[np.float64]

# The largest value takes so many bits, so any value down to 2^-47 of it is summed whole.
_BITS = 100
_SMALLEST = -200  # requests of fewer than 2^-300 dollars cost nothing
_QUERIES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class QueryOutcomes:
    """Scored queries of a workload in the order of their ids.

    Attributes:
        workload: Which traffic.
        query_ids: n ids.
        class_names: Class of every query, None where it has none.
        strategies: S canonical texts, sorted.
        scores: Shape (n, S): mean score over the samples of a query, nan where unmeasured.
        costs: Shape (n, S): mean dollars, nan where unmeasured, or neither recorded nor
            priced.
        answers: What these are means of, where somebody asked for it.
        labels: Groups of the queries, of the columns that somebody asked for.
    """

    workload: str
    query_ids: tuple[str, ...]
    class_names: tuple[str | None, ...]
    strategies: tuple[str, ...]
    scores: Floats
    costs: Floats
    answers: Answers | None = None
    labels: Mapping[str, Labels] = field(default_factory=dict)


def read_by_query(
    store: Store,
    workload: str,
    *,
    estimator_digest: str | None = None,
    rates: Sequence[Rate] = (),
    answers: bool = False,
    groups: Sequence[str] = (),
) -> QueryOutcomes:
    """Every scored query of the workload, those with a prompt where an estimator sorts them.

    Args:
        store: Holds the outcomes.
        workload: Which traffic.
        estimator_digest: Whose classes; labels where absent.
        rates: Price rows that have no dollars but tokens or GPU-seconds.
        answers: Whether to read single answers as well.
        groups: Columns to read the queries' groups of.

    Raises:
        InputError: There is none.
    """
    rows, classes = scored_rows(workload, None, rates), classes_of(workload, estimator_digest)
    source = classed(rows, classes, inner=estimator_digest is not None)
    asked = Query(f"SELECT DISTINCT query_id, class_name FROM ({source.sql})", source.values)  # noqa: S608 - fixed names
    ids: list[str] = []
    names: list[str | None] = []
    with store.reading() as execute:
        found = execute(f"{asked.sql} ORDER BY query_id", asked.values)
        while part := found.fetchmany(_QUERIES_AT_ONCE):
            ids += [query for query, _ in part]
            names += [name for _, name in part]
        if not ids:
            raise InputError(
                "no scored observation is stored for this workload",
                where=f"workload {workload}",
                next_step="import or measure some, or check the workload's name",
            )
        strategies, scores, costs = mean_outcomes(execute, rows, asked, len(ids))
        single = read_answers(execute, rows, asked) if answers else None
        labels = read_labels(execute, workload, groups, ids)
    return QueryOutcomes(
        workload, tuple(ids), tuple(names), strategies, scores, costs, single, labels
    )


def mean_outcomes(
    execute: Execute, rows: Query, asked: Query, count: int
) -> tuple[tuple[str, ...], Floats, Floats]:
    """Strategies, sorted, and mean scores and dollars of some queries, nan where there is none.

    Args:
        execute: Runs a statement.
        rows: Those of `profiles.cells.sql.scored_rows`.
        asked: Has a `query_id` for every query to be told of, each once.
        count: How many these are, n.

    Returns:
        S texts and two tables of shape (n, S), queries in the order of their ids.
    """
    strategies = tuple(
        name
        for (name,) in execute(
            f"SELECT DISTINCT strategy FROM ({rows.sql}) SEMI JOIN ({asked.sql}) "  # noqa: S608 - fixed names
            "USING (query_id) ORDER BY strategy",
            (*rows.values, *asked.values),
        ).fetchall()
    )
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
    shape, cells = (count, len(strategies)), (columns["place"], columns["number"])
    scores, costs = (_table(shape, cells, columns[name]) for name in ("score", "cost_usd"))
    return strategies, scores, costs


def _mean(measure: str, largest: float) -> str:
    """SQL of a mean: a sum of whole numbers, which has no order, brought back to its unit."""
    unit = math.ldexp(1.0, _BITS - max(math.frexp(largest)[1], _SMALLEST))
    return f"sum(CAST({measure} * {unit!r}::DOUBLE AS HUGEINT))::DOUBLE / {unit!r} / count(*)"


def _table(shape: tuple[int, int], cells: tuple[Any, Any], values: Any) -> Floats:
    table = np.full(shape, np.nan)
    table[cells] = np.ma.filled(values, np.nan)
    return table
