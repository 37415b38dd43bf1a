"""What the pages ask of a planner: built once for a view, asked for every move of a slider."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from planner.frontiers.frontier import FrontierPoint, frontier
from planner.limits import LimitSet

if TYPE_CHECKING:
    from app.planning import Question
    from app.views import View
    from planner.plan import Rung
    from planner.planner import Planner

POINTS = 30
"""Of a frontier on a page."""


@dataclass
class Solving:
    """A question with its planner and frontier. One solve at a time: the solver keeps state.

    Attributes:
        question: Spec and profile.
        planner: Warm.
        points: The frontier; empty where costs are unknown or no plan keeps the other limits.
    """

    question: Question
    planner: Planner
    points: list[FrontierPoint]
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, view: View) -> Solving:
        """Read, build and solve the frontier.

        Raises:
            InferbudgetError: As `inferbudget plan` says it.
        """
        from profiles.errors import InfeasibleError, UnknownValueError

        question = view.ask()
        planner = question.planner()
        try:
            points = frontier(planner, POINTS)
        except (InfeasibleError, UnknownValueError):
            points = []
        return cls(question, planner, points)

    @property
    def limits(self) -> LimitSet:
        """Those of the view, fixed costs paid."""
        return self.planner.limits

    def rung(self, moves: Mapping[str, float | None]) -> Rung:
        """The best allocation with some limits at other values; None takes one away.

        Raises:
            LimitsClashError: No allocation keeps them; says which clash and what would help.
            UnprovenError: The solver stopped early.
        """
        limits = self.limits
        for name, value in moves.items():
            limits = limits.without(name) if value is None else limits.moved(name, value)
        with self.lock:
            return self.planner.rung(self.planner.explained(limits), self.planner.spec.objective)
