"""Requests drawn from measured outcomes: a class, a strategy by rung, and one of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from planner.programme.margin import Array
from planner.sorting.cells_of_outcomes import Indices, Outcomes
from profiles.cells.answers import Labels
from profiles.errors import InputError

if TYPE_CHECKING:
    from planner.plan import Rung
    from planner.sorting.plans_by_fold import Classes


@dataclass(frozen=True)
class Drawn:
    """What requests would get. Tables have shape (rungs, n), or (n,) once a rung is chosen.

    Attributes:
        class_names: Class per request, shape (n,).
        uniform: A number in [0, 1) per request, shape (n,).
        scores: 0..1.
        costs: Dollars, nan where unknown.
        latencies_s: Seconds, nan where not recorded.
        queries: Position of the query that stands for the request.
        labels: Groups of the queries.
    """

    class_names: NDArray[np.str_]
    uniform: Array
    scores: Array
    costs: Array
    latencies_s: Array
    queries: Indices
    labels: Mapping[str, Labels]

    def under(self, rung: Indices) -> Drawn:
        """What they get on their rungs, shape (n,); refused ones (-1) are left out."""
        own = np.flatnonzero(rung >= 0)
        at = rung[own], own
        return Drawn(
            self.class_names[own],
            self.uniform[own],
            self.scores[at],
            self.costs[at],
            self.latencies_s[at],
            self.queries[at],
            self.labels,
        )

    def in_class(self, name: str) -> NDArray[np.bool_]:
        """Which requests are of a class."""
        return np.asarray(self.class_names == name)

    def groups(self, column: str) -> Iterator[NDArray[np.bool_]]:
        """Which requests belong to each group of a column."""
        label = self.labels[column]
        return (label.of[self.queries] == at for at in range(len(label.values)))

    def in_group(self, name: str) -> NDArray[np.bool_]:
        """Which belong to the group ``COLUMN.VALUE``."""
        for column, label in self.labels.items():
            for value, own in zip(label.values, self.groups(column), strict=True):
                if f"{column}.{value}" == name:
                    return own
        return np.zeros(len(self.queries), dtype=bool)


class Pools:
    """Measured answers by class and strategy, every query as likely as any other.

    Args:
        outcomes: Of n queries, with single answers.
        sorted_by: Their classes.

    Raises:
        InputError: There are no single answers.
    """

    def __init__(self, outcomes: Outcomes, sorted_by: Classes) -> None:
        if outcomes.answers is None:
            raise InputError("answers are drawn from single outcomes", where=outcomes.workload)
        self._answers, self._labels = outcomes.answers, outcomes.labels
        self._strategies, self._names = outcomes.strategies, sorted_by.names
        pair = self._answers.query * len(outcomes.strategies) + self._answers.strategy
        self._starts = np.flatnonzero(np.diff(pair, prepend=-1))
        self._sizes = np.diff(self._starts, append=len(pair))
        self._class_of = sorted_by.classes[self._answers.query[self._starts]]

    def draw(
        self,
        rungs: Sequence[Rung],
        weights: Mapping[str, float],
        count: int,
        rng: np.random.Generator,
    ) -> Drawn:
        """What `count` requests would get on every rung; the same luck on all of them.

        Raises:
            InputError: No answer is known of a cell that a rung uses.
        """
        share = np.array([weights.get(name, 0.0) for name in self._names])
        classes = rng.choice(len(share), size=count, p=share / share.sum())
        luck = rng.random((4, count))
        at = np.stack([self._places(rung, classes, luck) for rung in rungs])
        answers = self._answers
        return Drawn(
            np.array(self._names)[classes],
            luck[3],
            answers.scores[at],
            answers.costs[at],
            answers.latencies_s[at],
            answers.query[at],
            self._labels,
        )

    def _places(self, rung: Rung, classes: Indices, luck: Array) -> Indices:
        """Position of an answer per request."""
        found = np.zeros(len(classes), dtype=np.intp)
        for d, name in enumerate(self._names):
            own = np.flatnonzero(classes == d)
            if not len(own):
                continue
            shares = rung.allocation[name]
            ends = np.cumsum(list(shares.values()))
            place = np.searchsorted(ends, luck[0, own] * ends[-1], side="right")
            for number, strategy in enumerate(shares):
                mine = own[np.minimum(place, len(ends) - 1) == number]
                pool = self._pool(d, strategy)
                if len(mine):
                    pair = pool[(luck[1, mine] * len(pool)).astype(np.intp)]
                    sample = (luck[2, mine] * self._sizes[pair]).astype(np.intp)
                    found[mine] = self._starts[pair] + sample
        return found

    def _pool(self, d: int, strategy: str) -> Indices:
        """Positions of queries of a class that a strategy answered."""
        known = strategy in self._strategies
        s = self._strategies.index(strategy) if known else -1
        pool = np.flatnonzero((self._class_of == d) & (self._answers.strategy[self._starts] == s))
        if not len(pool):
            raise InputError(
                "no answer is stored of a strategy that the plan uses",
                where=f"class {self._names[d]}, strategy {strategy}",
                next_step="measure it there, or leave the strategy out of the spec",
            )
        return pool
