"""From observations to cells: one SQL pass in a fixed order, then arithmetic on columns.

The rows come sorted by class, strategy, query and sample, so the same observations give the same
sums and the same digest whatever order they were stored in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from profiles.digest import digest
from profiles.errors import InputError
from profiles.profile import Cell, Profile

if TYPE_CHECKING:
    import duckdb

    Execute = Callable[[str, Sequence[Any]], duckdb.DuckDBPyConnection]

Floats = NDArray[np.float64]
GRID_POINTS = 60
ONE_CLASS = "all"
_WORST_SD = 0.5  # of a score in 0..1, Popoviciu's inequality
_MEASURES = ("score", "cost_usd", "latency_s", "tokens_in", "tokens_out", "calls")

_BY_LABEL = "SELECT query_id, class_label AS class_name FROM queries WHERE workload = ?"
_BY_ESTIMATOR = """
    SELECT query_id, class_name FROM queries LEFT JOIN (
        SELECT query_id, class_name FROM classes WHERE workload = ? AND estimator_digest = ?
    ) USING (query_id)
    WHERE workload = ? AND prompt IS NOT NULL
"""
_ROWS = """
    SELECT class_name, strategy, query_id, score, cost_usd, latency_s, tokens_in, tokens_out,
        calls, evidence
    FROM (SELECT * FROM observations WHERE workload = ? AND score IS NOT NULL)
    {join} JOIN ({classes}) USING (query_id)
    ORDER BY class_name, strategy, query_id, sample
"""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns of equal length, sorted by class, strategy, query, sample; nan where unknown."""

    class_name: NDArray[np.object_]
    strategy: NDArray[np.object_]
    query_id: NDArray[np.object_]
    evidence: NDArray[np.object_]
    measures: dict[str, Floats]

    def part(self, rows: slice) -> _Rows:
        return _Rows(
            self.class_name[rows],
            self.strategy[rows],
            self.query_id[rows],
            self.evidence[rows],
            {name: column[rows] for name, column in self.measures.items()},
        )


def build_profile(
    execute: Execute,
    workload: str,
    *,
    estimator_digest: str | None,
    class_names: Sequence[str] | None,
    latency_limits: Sequence[float],
) -> Profile:
    """The profile of a workload; see `Store.profile`, which is the way in."""
    rows = _read(execute, workload, estimator_digest)
    grid = latency_grid(rows.measures["latency_s"], latency_limits)
    cells = {}
    for group in _groups(rows.class_name, rows.strategy):
        cell = _cell(rows.part(group), grid)
        cells[cell.class_name, cell.strategy] = cell
    counts = _queries_per_class(rows)
    names = _class_order(cells, counts, class_names, workload)
    total = sum(counts.values())
    class_queries = tuple(counts.get(name, 0) for name in names)
    weights = tuple(count / total for count in class_queries)
    strategies = tuple(sorted({strategy for _, strategy in cells}))
    content = {
        "workload": workload,
        "classes": names,
        "weights": weights,
        "strategies": strategies,
        "cells": [asdict(cells[key]) for key in sorted(cells)],
        "latency_grid_s": grid,
        "queries": total,
        "estimator_digest": estimator_digest,
        "class_queries": class_queries,
    }
    return Profile(
        workload=workload,
        classes=names,
        weights=weights,
        strategies=strategies,
        cells=cells,
        latency_grid_s=grid,
        queries=total,
        digest=digest(content),
        estimator_digest=estimator_digest,
        class_queries=class_queries,
    )


def latency_grid(latency_s: Floats, limits: Sequence[float]) -> tuple[float, ...]:
    """About 60 log-spaced seconds from the fastest to the slowest row, and every limit asked for.

    Inner points have four significant digits: readable, and equal on every platform.
    """
    measured = latency_s[np.isfinite(latency_s) & (latency_s > 0)]
    points = {float(limit) for limit in limits}
    if measured.size:
        low, high = float(measured.min()), float(measured.max())
        inner = (float(f"{point:.4g}") for point in np.geomspace(low, high, GRID_POINTS))
        points |= {low, high} | {point for point in inner if low < point < high}
    return tuple(sorted(points))


def _read(execute: Execute, workload: str, estimator_digest: str | None) -> _Rows:
    if estimator_digest is None:
        sql, values = _ROWS.format(join="LEFT", classes=_BY_LABEL), [workload, workload]
    else:  # a query without a prompt cannot be predicted and is no part of this profile
        sql = _ROWS.format(join="INNER", classes=_BY_ESTIMATOR)
        values = [workload, workload, estimator_digest, workload]
    columns = execute(sql, values).fetchnumpy()
    if not len(columns["query_id"]):
        raise InputError(
            "no scored observation is stored for this workload"
            if estimator_digest is None
            else "no scored observation with a prompt is stored for this workload",
            where=f"workload {workload}",
            next_step="import or measure some, or check the workload's name",
        )
    rows = _Rows(
        class_name=_texts(columns["class_name"]),
        strategy=_texts(columns["strategy"]),
        query_id=_texts(columns["query_id"]),
        evidence=_texts(columns["evidence"]),
        measures={
            name: np.ma.filled(np.ma.asarray(columns[name]).astype(np.float64), np.nan)
            for name in _MEASURES
        },
    )
    return _classified(rows, workload, estimator_digest)


def _texts(column: NDArray[np.object_]) -> NDArray[np.object_]:
    texts = np.array(np.ma.getdata(column), dtype=object)
    texts[np.ma.getmaskarray(column)] = None
    return texts


def _classified(rows: _Rows, workload: str, estimator_digest: str | None) -> _Rows:
    """Refuses queries without a class; where no query has a label, all are one class."""
    missing = np.array([name is None for name in rows.class_name])
    if not missing.any():
        return rows
    if estimator_digest is None and missing.all():
        return replace(rows, class_name=np.full(len(missing), ONE_CLASS, dtype=object))
    without = len(set(rows.query_id[missing]))
    in_all = len(set(rows.query_id))
    if estimator_digest is None:
        raise InputError(
            f"{without} of {in_all} queries have no class label",
            where=f"workload {workload}, e.g. query {rows.query_id[missing][0]}",
            next_step="import labels for all of them or use a difficulty estimator",
        )
    raise InputError(
        f"{without} of {in_all} queries have no class from this estimator",
        where=f"workload {workload}, estimator {estimator_digest[:19]}",
        expected="an estimator that was fitted on this store after its last import",
        next_step="fit the estimator again",
    )


def _groups(*columns: NDArray[np.object_]) -> Iterator[slice]:
    """Runs of equal values in columns that are sorted together."""
    size = len(columns[0])
    changed = np.zeros(size, dtype=bool)
    changed[0] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(changed)
    for start, end in zip(starts, [*starts[1:], size], strict=True):
        yield slice(int(start), int(end))


def _cell(rows: _Rows, grid: Sequence[float]) -> Cell:
    starts = np.array([group.start for group in _groups(rows.query_id)])
    counts = np.diff([*starts, len(rows.query_id)])
    score = _Spread.of(rows.measures["score"], starts, counts)
    cost = _known(rows.measures["cost_usd"])
    cost_spread = _Spread.of(cost, starts, counts) if cost is not None else None
    tokens_out = _known(rows.measures["tokens_out"])
    timed = np.isfinite(rows.measures["latency_s"])
    latency = np.sort(rows.measures["latency_s"][timed])
    slower = latency.size - np.searchsorted(latency, np.asarray(grid), side="right")
    return Cell(
        class_name=str(rows.class_name[0]),
        strategy=str(rows.strategy[0]),
        queries=len(starts),
        observations=len(rows.query_id),
        accuracy=score.mean,
        accuracy_sd=_WORST_SD if score.sd_of_means is None else score.sd_of_means,
        score_sd=_WORST_SD if score.sd_of_one is None else score.sd_of_one,
        cost_usd=cost_spread.mean if cost_spread else None,
        cost_sd_usd=cost_spread.sd_of_one if cost_spread else None,
        cost_max_usd=float(cost.max()) if cost is not None else None,
        tokens_in=_mean(rows.measures["tokens_in"], starts, counts),
        tokens_out=_mean(rows.measures["tokens_out"], starts, counts),
        tokens_out_max=int(tokens_out.max()) if tokens_out is not None else None,
        calls=_mean(rows.measures["calls"], starts, counts),
        exceeded=tuple(int(n) for n in slower) if latency.size else None,
        latency_observations=int(latency.size),
        latency_p95_s=float(np.quantile(latency, 0.95, method="inverted_cdf"))
        if latency.size
        else None,
        evidence=tuple(sorted(set(rows.evidence))),
        latency_queries=int(np.logical_or.reduceat(timed, starts).sum()),
    )


@dataclass(frozen=True, slots=True)
class _Spread:
    """Mean and deviations where every query weighs the same; None for a single query."""

    mean: float
    sd_of_means: float | None
    sd_of_one: float | None

    @classmethod
    def of(cls, values: Floats, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> _Spread:
        means = np.add.reduceat(values, starts) / counts
        mean = float(means.mean())
        if len(means) < 2:
            return cls(mean, None, None)
        # one served answer: a query at random, then one of its samples at random
        squares = np.add.reduceat((values - mean) ** 2, starts) / counts
        one = math.sqrt(float(squares.sum()) / (len(means) - 1))
        return cls(mean, float(means.std(ddof=1)), one)


def _known(values: Floats) -> Floats | None:
    """The column, or None where any row lacks its value."""
    return values if np.isfinite(values).all() else None


def _mean(values: Floats, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> float | None:
    known = _known(values)
    return None if known is None else _Spread.of(known, starts, counts).mean


def _queries_per_class(rows: _Rows) -> dict[str, int]:
    queries: dict[str, set[str]] = {}
    for group in _groups(rows.class_name):
        queries[str(rows.class_name[group.start])] = set(rows.query_id[group])
    return {name: len(members) for name, members in queries.items()}


def _class_order(
    cells: dict[tuple[str, str], Cell],
    counts: dict[str, int],
    class_names: Sequence[str] | None,
    workload: str,
) -> tuple[str, ...]:
    """The caller's order, or the easiest class first by mean score, ties by name.

    Classes are compared on the strategies that all of them were measured with, if there are any.
    """
    if class_names is not None:
        unknown = sorted(set(counts) - set(class_names))
        if unknown:
            raise InputError(
                f"queries have classes that were not named: {', '.join(unknown[:5])}",
                where=f"workload {workload}",
                expected=f"classes {', '.join(class_names)}",
                next_step="fit the estimator again, or name every class",
            )
        return tuple(class_names)
    measured = {name: {s for c, s in cells if c == name} for name in counts}
    shared = set.intersection(*measured.values())

    def difficulty(name: str) -> float:
        used = sorted(shared or measured[name])
        return -math.fsum(cells[name, strategy].accuracy for strategy in used) / len(used)

    return tuple(sorted(counts, key=lambda name: (difficulty(name), name)))
