"""Single answers behind the means of `profiles.cells.by_query`, and the groups of their queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from profiles.cells.sql import Query
from profiles.store.session import Execute

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

AMOUNTS = ("calls", "tokens_in", "tokens_out", "gpu_s", "energy_j")
"""Measures of which a cell of a profile has the mean."""


@dataclass(frozen=True)
class Answers:
    """Every scored answer, in the order of query and strategy.

    Attributes:
        query: Position of its query, shape (m,).
        strategy: Position of its strategy, shape (m,).
        scores: 0..1, shape (m,).
        costs: Dollars, nan where unknown, shape (m,).
        latencies_s: Seconds, nan where not recorded, shape (m,).
        amounts: Of `AMOUNTS`, those that any answer has; nan where not recorded, shape (m,).
    """

    query: Indices
    strategy: Indices
    scores: Floats
    costs: Floats
    latencies_s: Floats
    amounts: Mapping[str, Floats]

    @property
    def timed(self) -> NDArray[np.bool_]:
        """Which have a latency, shape (m,)."""
        return np.isfinite(self.latencies_s)

    def of_queries(self, rows: Indices, count: int) -> Answers:
        """Those of some queries, which are then numbered by their place in `rows`.

        Args:
            rows: Positions of queries, each once.
            count: How many queries there are.
        """
        place = np.full(count, -1, dtype=np.intp)
        place[rows] = np.arange(len(rows))
        return self._kept(replace(self, query=place[self.query]))

    def under(self, columns: Sequence[int], count: int) -> Answers:
        """Those of some strategies, likewise, of `count`."""
        place = np.full(count, -1, dtype=np.intp)
        place[list(columns)] = np.arange(len(columns))
        return self._kept(replace(self, strategy=place[self.strategy]))

    @staticmethod
    def _kept(renumbered: Answers) -> Answers:
        own = (renumbered.query >= 0) & (renumbered.strategy >= 0)
        order = np.flatnonzero(own)
        order = order[np.lexsort((renumbered.strategy[own], renumbered.query[own]))]
        return Answers(
            renumbered.query[order],
            renumbered.strategy[order],
            renumbered.scores[order],
            renumbered.costs[order],
            renumbered.latencies_s[order],
            {name: values[order] for name, values in renumbered.amounts.items()},
        )


@dataclass(frozen=True)
class Labels:
    """Which group of one column every query belongs to.

    Attributes:
        values: The groups, sorted.
        of: Index into `values` per query, -1 without a group, shape (n,).
    """

    values: tuple[str, ...]
    of: Indices

    def without(self, lost: Sequence[str]) -> Labels:
        """The same where queries of some groups belong to none."""
        kept = tuple(value for value in self.values if value not in lost)
        place = [kept.index(value) if value in kept else -1 for value in self.values]
        return Labels(kept, np.array([*place, -1], dtype=np.intp)[self.of])


def read_answers(execute: Execute, rows: Query, asked: Query) -> Answers:
    """The answers to some queries.

    Args:
        execute: Runs a statement.
        rows: Those of `profiles.cells.sql.scored_rows`.
        asked: Has a `query_id` for every query to be told of, each once.

    Returns:
        Answers in an order that does not depend on that of the stored rows.
    """
    amounts = ", ".join(f"{name}::DOUBLE AS {name}" for name in AMOUNTS)
    found = execute(
        f"""
        WITH places AS (
            SELECT query_id, row_number() OVER (ORDER BY query_id) - 1 AS place
            FROM ({asked.sql})
        )
        SELECT place, dense_rank() OVER (ORDER BY strategy) - 1 AS number, sample,
            score, cost_usd, latency_s, {amounts}
        FROM ({rows.sql}) JOIN places USING (query_id) ORDER BY ALL
        """,  # noqa: S608 - fixed names
        (*asked.values, *rows.values),
    ).fetchnumpy()
    known = {name: _filled(found[name]) for name in AMOUNTS}
    return Answers(
        query=np.asarray(found["place"], dtype=np.intp),
        strategy=np.asarray(found["number"], dtype=np.intp),
        scores=_filled(found["score"]),
        costs=_filled(found["cost_usd"]),
        latencies_s=_filled(found["latency_s"]),
        amounts={name: values for name, values in known.items() if np.isfinite(values).any()},
    )


def read_labels(
    execute: Execute, workload: str, names: Sequence[str], query_ids: Sequence[str]
) -> dict[str, Labels]:
    """The groups of some queries by column."""
    sql = "SELECT query_id, value FROM query_groups WHERE workload = ? AND name = ?"
    tables = {name: dict(execute(sql, (workload, name)).fetchall()) for name in names}
    return {
        name: _labels([table.get(query) for query in query_ids]) for name, table in tables.items()
    }


def _labels(given: Sequence[str | None]) -> Labels:
    values = tuple(sorted({value for value in given if value is not None}))
    place = {value: at for at, value in enumerate(values)}
    return Labels(values, np.array([-1 if v is None else place[v] for v in given], dtype=np.intp))


def _filled(column: NDArray[np.float64]) -> Floats:
    return np.ma.filled(column, np.nan).astype(np.float64)
