"""Choose the support of a plan: which columns may be used, at which least share.

The programme with whole numbers is too wide to be searched at once, and need not be (Balas and
Zemel, "An algorithm for large zero-one knapsack problems", Operations Research 28 (1980); Geoffrion
and Marsten, "Integer programming algorithms", Management Science 18 (1972)):

1. With one strategy per class, floors of single classes are a filter.
2. The relaxation bounds every answer, and tells how much each column adds to that bound at least.
3. The core, those columns that add least, is searched with whole numbers.
4. Nothing outside the core is better than the relaxation plus the least that a column there adds.
   While that does not prove the answer, the core grows: to all columns that could still be in a
   better answer, which are few once a good answer is known.

Shares, margins and shadow prices come from the continuous session, with all other columns closed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.integers.core import Core
from planner.integers.problem import Problem, Shape
from planner.programme.margin import Margin
from planner.programme.model import Programme
from planner.programme.question import Question
from profiles.errors import InfeasibleError


@dataclass(frozen=True, slots=True)
class Choice:
    """The best support found.

    Attributes:
        support: Which columns may be used; with a minimum share, those that are.
        value: Objective of the best allocation over it, minimised, model units.
        bound: No allocation of this shape is below it.
        gap: ``(value - bound) / |value|``.
        proven: Whether the gap is what was asked for.
    """

    support: NDArray[np.bool_]
    value: float
    bound: float
    gap: float
    proven: bool


def choose(  # noqa: PLR0917 - one question's parts, as the session has them
    programme: Programme,
    margins: Mapping[str, Margin],
    class_of: NDArray[np.intp],
    strategy_of: NDArray[np.intp],
    columns: int,
    question: Question,
    shape: Shape,
    *,
    gap: float,
    known: Sequence[NDArray[np.bool_]] = (),
) -> Choice:
    """The best support of a shape.

    Args:
        programme: Compiled arrays.
        margins: By limit name; any other name is a margin of the accuracy objective.
        class_of: Class of each share.
        strategy_of: Strategy of each share.
        columns: How many leading columns are shares.
        question: What is asked. Its second objective decides between equally good supports; its
            own support and least shares are what is sought, and are not read.
        shape: What the allocation may look like.
        gap: Share of its value by which the answer may be too high and still count as proven.
        known: Supports of answers to like questions, to start from. They need not keep this
            question's limits.

    Raises:
        InfeasibleError: No allocation of this shape keeps all limits.
        UnprovenError: Time ran out before any was found.
    """
    asked = {
        name: margin
        for name, margin in margins.items()
        if margin.z > 0 and (name in question.limits or name == question.doubt)
    }
    whole = Problem(programme, asked, class_of[:columns], strategy_of[:columns], question, shape)
    fits = whole.alone() if shape.one_per_class else np.ones(columns, dtype=np.bool_)
    if len(np.unique(class_of[:columns][fits])) < len(np.unique(class_of[:columns])):
        raise InfeasibleError("no allocation of this shape keeps all limits")
    problem = whole.of_columns(fits)
    core = Core(problem, gap, lambda: max(question.until_s - time.monotonic(), 0.0))
    found = core.search([support[fits] for support in known])
    support = np.zeros(columns, dtype=np.bool_)
    support[np.flatnonzero(fits)] = found.support
    left = (found.value - found.bound) / abs(found.value) if found.value else 0.0
    return Choice(support, found.value, found.bound, left, found.proven)
