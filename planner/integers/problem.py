"""One question with a shape, as arrays that can be narrowed to some of its columns.

With shares x, binaries z of columns and y of strategies, a shape says::

    one_per_class     x_ds in {0, 1}
    minimum_share m   m z_ds <= x_ds <= z_ds
    at_most K         z_ds <= y_s  (x_ds <= y_s without z),   sum_s y_s <= K

So one strategy per class is a minimum share of 1, where z is x itself. The links to y are one per
column, not one per strategy: their relaxation is the tighter one (Cornuejols, Nemhauser and Wolsey,
"The uncapacitated facility location problem", in Discrete Location Theory (1990)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from planner.programme.margin import Array, Margin
from planner.programme.model import Programme
from planner.programme.question import Question
from planner.programme.sifting import MAX_DOUBT, TOLERANCE


@dataclass(frozen=True, slots=True)
class Shape:
    """What an allocation may look like.

    Attributes:
        one_per_class: A class is answered by one strategy.
        at_most: Different strategies in the whole plan, None for any number.
        minimum_share: Least share of a class that a strategy answers if it answers any, 0..1.
    """

    one_per_class: bool = False
    at_most: int | None = None
    minimum_share: float | None = None

    @property
    def least(self) -> float:
        """The smallest share that is not 0."""
        return 1.0 if self.one_per_class else self.minimum_share or 0.0


@dataclass(frozen=True)
class Problem:
    """A question about a programme. Points have its columns and behind them the spend's noise.

    Attributes:
        programme: Compiled arrays.
        margins: Those that the question asks for, by limit; any other name is the objective's.
        class_of: Class of each share.
        strategy_of: Strategy of each share.
        question: What is asked.
        shape: What the answer may look like.
    """

    programme: Programme
    margins: Mapping[str, Margin]
    class_of: NDArray[np.intp]
    strategy_of: NDArray[np.intp]
    question: Question
    shape: Shape

    @property
    def columns(self) -> int:
        """How many leading columns are shares."""
        return len(self.class_of)

    @property
    def width(self) -> int:
        """Columns of the programme; the noise has this number."""
        return int(self.programme.matrix.shape[1])

    def costs(self, then: str | None = None) -> Array:
        """Coefficients per column of a point: of the question, or of its second objective."""
        q, objectives = self.question, self.programme.objectives
        costs = np.zeros(self.width + 1)
        if then is not None:
            costs[:-1] = objectives[then]
        elif q.free is not None:
            costs[self.programme.slack_of[q.free]] = 1.0
        else:
            costs[:-1] = objectives[q.objective]
            if q.reward:
                costs[:-1] += q.reward * objectives["accuracy"]
        return costs

    def most(self) -> Array:
        """Upper bound per column of a point."""
        most = np.full(self.width + 1, math.inf)
        most[: self.columns] = 1.0
        most[list(self.programme.slack_of.values())] = 0.0
        most[self.programme.doubt] = MAX_DOUBT
        if self.question.free is not None:
            most[self.programme.slack_of[self.question.free]] = math.inf
        most[-1] = 0.0 if self.question.noise is None else math.inf
        return most

    def rows(self) -> tuple[csr_array, Array, Array]:
        """Rows that bind, without margins, over the columns of a point; lower and upper bounds."""
        p = self.programme
        lower, upper = p.lower.copy(), p.upper.copy()
        binds = np.ones(len(lower), dtype=np.bool_)
        for name, row in p.row_of.items():
            binds[row] = name in self.question.limits
            if binds[row]:
                lower[row], upper[row] = self.sides(name)
        kept = csr_array(p.matrix[binds])
        body = csr_array(
            (kept.data, kept.indices, kept.indptr), shape=(kept.shape[0], self.width + 1)
        )
        return body, lower[binds], upper[binds]

    def sides(self, name: str) -> tuple[float, float]:
        """Lower and upper bound of the row of a limit."""
        value = self.question.limits[name]
        return (value, math.inf) if name in self.programme.floors else (-math.inf, value)

    def noise_row(self) -> Array:
        """At least 0: the noise is what the shares add up to, or more."""
        body = np.zeros(self.width + 1)
        if self.question.noise is not None:
            body[: self.columns], body[-1] = -self.question.noise, 1.0
        return body

    def of_columns(self, keep: NDArray[np.bool_]) -> Problem:
        """The same question to allocations that use no other shares."""
        p, q = self.programme, self.question
        order = np.append(np.flatnonzero(keep), np.arange(self.columns, self.width))
        gone = self.columns - int(keep.sum())
        programme = replace(
            p,
            matrix=csr_array(csc_array(p.matrix)[:, order]),
            objectives={name: costs[order] for name, costs in p.objectives.items()},
            slack_of={name: column - gone for name, column in p.slack_of.items()},
            doubt=p.doubt - gone,
        )
        return replace(
            self,
            programme=programme,
            margins={name: margin.of_columns(keep) for name, margin in self.margins.items()},
            class_of=self.class_of[keep],
            strategy_of=self.strategy_of[keep],
            question=q if q.noise is None else replace(q, noise=q.noise[keep]),
        )

    def alone(self) -> NDArray[np.bool_]:
        """Shares that could be 1 as far as rows about a single class go.

        With one strategy per class such a row is a filter. Margins are left out: they only take
        more away.
        """
        body, lower, upper = self.rows()
        fits = np.ones(self.columns, dtype=np.bool_)
        free = self.question.free
        slack = -1 if free is None else self.programme.slack_of[free]
        for row in range(body.shape[0]):
            own = slice(body.indptr[row], body.indptr[row + 1])
            at, values = body.indices[own], body.data[own]
            shares = at < self.columns
            classes = np.unique(self.class_of[at[shares]])
            if len(classes) == 1 and slack not in at:
                alone = np.where(self.class_of == classes[0], 0.0, np.nan)
                alone[at[shares]] = values[shares]
                fits &= ~((alone < lower[row] - TOLERANCE) | (alone > upper[row] + TOLERANCE))
        return fits
