"""A session whose answers have a shape: the support is chosen first, then solved for as ever."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planner.integers.choosing import choose
from planner.integers.problem import Shape
from planner.programme.lp_solver import SOLVER
from planner.programme.margin import Margin
from planner.programme.question import Question, Solution
from planner.programme.session import Session
from planner.spec import Allocation
from profiles.errors import UnprovenError

GAP = 3e-5
"""Relative distance to the best plan of the shape that counts as proven."""


KNOWN = 4
"""Supports of earlier answers that the next choice starts from."""


class ShapedSession:
    """Answers questions with allocations of one shape. Not thread-safe.

    Shadow prices are those of the strategies that were chosen: whole numbers have none.

    Args:
        session: The continuous solver.
        margins: The same as the session's.
        class_of: Class per column.
        strategy_of: Strategy per column.
        allocation: The shape, as the spec asks for it.
    """

    def __init__(
        self,
        session: Session,
        margins: dict[str, Margin],
        *,
        class_of: NDArray[np.intp],
        strategy_of: NDArray[np.intp],
        allocation: Allocation,
    ) -> None:
        self._session = session
        self._margins = margins
        self._class_of = class_of
        self._strategy_of = strategy_of
        self._known: deque[NDArray[np.bool_]] = deque(maxlen=KNOWN)
        self._shape = Shape(
            one_per_class=allocation.one_strategy_per_class,
            at_most=allocation.at_most_strategies,
            minimum_share=allocation.minimum_share,
        )

    def solve(self, question: Question) -> Solution:
        """Answer one question.

        Raises:
            InfeasibleError: No allocation of this shape keeps all limits.
            UnprovenError: Time ran out before a proof; with the best plan found and its bound.
        """
        choice = choose(
            self._session.programme,
            self._margins,
            self._class_of,
            self._strategy_of,
            len(self._class_of),
            question,
            self._shape,
            gap=GAP,
            known=self._known,
        )
        if not any(np.array_equal(choice.support, support) for support in self._known):
            self._known.append(choice.support)
        if not choice.proven:
            raise UnprovenError(
                f"{SOLVER} stopped without a proof: Time limit reached",
                incumbent=choice.value,
                bound=choice.bound,
            )
        least = np.where(choice.support, self._shape.least, 0.0)
        return self._session.solve(replace(question, support=choice.support, least=least))
