"""A profile from outcomes in memory, of any part of the queries and by any classes.

`Store.profile` reads a store and classes that were saved in it. Here the same cells come from
tables of outcomes, so that a plan can be made from some of the queries and judged on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.programme.margin import Array
from planner.sorting.cell_figures import of_answers, of_scores
from profiles.cells.answers import Answers, Labels
from profiles.cells.by_group import GroupTable, having
from profiles.cells.content import profile_digest
from profiles.errors import InputError
from profiles.profile import Cell, Profile

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Outcomes:
    """What every strategy achieved and cost on every query; samples of a query are averaged.

    Attributes:
        workload: Name of the traffic.
        strategies: S canonical texts, sorted.
        scores: Shape (n, S), 0..1, nan where unmeasured.
        costs: Shape (n, S), dollars, nan where unmeasured or unknown.
        answers: What these are means of, where latencies, tokens or GPU-seconds matter.
        grid_s: Ascending latency limits that cells count slow answers beyond, seconds.
        labels: Groups of the queries, of columns that matter.

    Raises:
        InputError: The shapes differ, or the strategies are not sorted.
    """

    workload: str
    strategies: tuple[str, ...]
    scores: Array
    costs: Array
    answers: Answers | None = None
    grid_s: tuple[float, ...] = ()
    labels: Mapping[str, Labels] = field(default_factory=dict)

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

    @property
    def recorded(self) -> frozenset[str]:
        """Measures beyond scores and dollars that some answer has: fields of `Cell`."""
        if self.answers is None:
            return frozenset()
        timed = {"exceeded"} if self.answers.timed.any() and self.grid_s else set()
        return frozenset({*self.answers.amounts, *timed})

    def part(self, rows: Indices) -> Outcomes:
        """Of some of the queries, each once."""
        answers = self.answers and self.answers.of_queries(rows, len(self.scores))
        labels = {name: Labels(own.values, own.of[rows]) for name, own in self.labels.items()}
        scores, costs = self.scores[rows], self.costs[rows]
        return replace(self, scores=scores, costs=costs, answers=answers, labels=labels)

    def labelled(self, labels: Mapping[str, Labels]) -> Outcomes:
        """With other groups."""
        return replace(self, labels=labels)


def profile_of(
    outcomes: Outcomes, classes: Indices, names: Sequence[str], rows: Indices
) -> Profile:
    """The profile of some queries, by the definitions of `profiles.cells` for one row per query.

    A query without a score under a strategy is no part of that cell, and one without any score no
    part of the profile; so a class without queries is left out, and so is a strategy. Where samples
    were averaged, `score_sd` lacks the spread between samples of one query. Tails, tokens, calls,
    GPU-seconds and joules come from `Outcomes.answers` and are None without them, as are figures
    that no limit rests on (measured percentiles, skewness). Cells by group come from the labels.

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
    columns = _columns(outcomes, own, class_of, len(names))
    used = _used(outcomes, own, class_of)
    present = [d for d in range(len(names)) if counts[d]]
    cells = {
        (names[d], strategy): Cell(
            class_name=names[d], strategy=strategy, **column[d] | used.get((d, s), {})
        )
        for d in present
        for s, (strategy, column) in enumerate(zip(outcomes.strategies, columns, strict=True))
        if d in column
    }
    class_queries = tuple(int(counts[d]) for d in present)
    about: dict[str, Any] = {
        "workload": outcomes.workload,
        "classes": tuple(names[d] for d in present),
        "weights": tuple(count / len(own) for count in class_queries),
        "strategies": tuple(sorted({strategy for _, strategy in cells})),
        "latency_grid_s": outcomes.grid_s,
        "queries": len(own),
        "estimator_digest": None,
        "class_queries": class_queries,
        "concurrency": None,
    }
    in_order = [cells[key] for key in sorted(cells)]
    found = Profile(**about, cells=cells, digest=profile_digest(about, in_order))
    if not outcomes.labels:
        return found
    tables = {
        name: _group_table(outcomes, name, own, class_of, names) for name in sorted(outcomes.labels)
    }
    return having(found, tables)


def _columns(
    outcomes: Outcomes, own: Indices, class_of: Indices, count: int
) -> list[dict[int, Any]]:
    """Fields that scores and dollars tell, by strategy and class index."""
    return [
        of_scores(outcomes.scores[own, s], outcomes.costs[own, s], class_of, count)
        for s in range(len(outcomes.strategies))
    ]


def _used(
    outcomes: Outcomes, own: Indices, class_of: Indices
) -> dict[tuple[int, int], dict[str, Any]]:
    if outcomes.answers is None:
        return {}
    class_at = np.full(len(outcomes.scores), -1, dtype=np.intp)
    class_at[own] = class_of
    return of_answers(outcomes.answers, outcomes.grid_s, class_at, len(outcomes.strategies))


def _group_table(
    outcomes: Outcomes, name: str, own: Indices, class_of: Indices, names: Sequence[str]
) -> GroupTable:
    """Cells of every group of a column that any of the queries belongs to."""
    label = outcomes.labels[name].of[own]
    of_group = label >= 0
    values, place = np.unique(label[of_group], return_inverse=True)
    pair_of, pairs = place * len(names) + class_of[of_group], len(values) * len(names)
    columns = _columns(outcomes, own[of_group], pair_of, pairs)
    texts = [outcomes.labels[name].values[value] for value in values]
    keys = [(value, class_name) for value in texts for class_name in names]
    counts = np.bincount(pair_of, minlength=pairs)
    cells = {
        (*keys[pair], strategy): Cell(class_name=keys[pair][1], strategy=strategy, **fields)
        for strategy, column in zip(outcomes.strategies, columns, strict=True)
        for pair, fields in column.items()
    }
    return GroupTable(
        name=name,
        values=tuple(texts),
        cells={key: cells[key] for key in sorted(cells)},
        queries={key: int(n) for key, n in sorted(zip(keys, counts, strict=True)) if n},
        without=int(np.count_nonzero(~of_group)),
    )


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
