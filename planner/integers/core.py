"""The search: a core of few columns, grown until nothing outside it can be better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.integers.cones import Cut
from planner.integers.master import Answer, Master, Searched
from planner.integers.problem import Problem
from planner.integers.relaxing import Relaxed, relax
from planner.integers.together import go_together
from planner.programme.lp_solver import SOLVER, TOLERANCE
from planner.programme.margin import Array
from profiles.errors import InfeasibleError, UnprovenError

CORE = 5
"""Columns per class that the first core holds."""

CORE_STRATEGIES = 12
"""The same where strategies are limited."""

GROWTH = 8
"""A core without an answer grows so many times."""

TIE_NODES = 200
"""Nodes that the search for a tie may take: there may be none, and that is hard to prove."""


@dataclass(frozen=True)
class Found:
    """The best support found, its value, what no other is below, and whether that is a proof."""

    support: NDArray[np.bool_]
    value: float
    bound: float
    proven: bool


class Core:
    """One problem and what is known about it.

    Args:
        problem: What is asked.
        gap: Share of its value by which an answer may be too high.
        left_s: Seconds that are left.
    """

    def __init__(self, problem: Problem, gap: float, left_s: Callable[[], float]) -> None:
        self._problem = problem
        self._gap = gap
        self._left_s = left_s
        self._cuts: list[Cut] = []

    def search(self, known: Sequence[NDArray[np.bool_]] = ()) -> Found:
        """The best support.

        Args:
            known: Supports of answers to like questions.

        Raises:
            InfeasibleError: No allocation of this shape keeps all limits.
            UnprovenError: Time ran out before any was found.
        """
        relaxed = relax(self._problem, self._left_s)
        self._cuts = relaxed.cuts
        settled = filter(None, map(self._settled, known))
        best = min(settled, key=lambda answer: answer.value, default=None)
        core = self._first(relaxed) if best is None else self._better(best, relaxed)
        while True:
            outside = float(relaxed.added[~core].min(initial=math.inf))
            found = self._searched(core, relaxed.value, best)
            if found.best is not None:
                wider = _wider(found.best, core)
                best = wider if best is None or wider.value <= best.value else best
            bound = min(found.bound, relaxed.value + outside)
            if best is None:
                if not found.finished:
                    raise UnprovenError(
                        f"{SOLVER} found no allocation of this shape in time",
                        bound=bound,
                    )
                if outside == math.inf:
                    raise InfeasibleError("no allocation of this shape keeps all limits")
                core = core | _least(relaxed.added, GROWTH * int(core.sum()))
                continue
            wanted = self._wanted(best)
            if relaxed.value + outside >= wanted or not found.finished:
                tied = self._tied(best, relaxed)
                proven = found.finished or bound >= wanted
                return Found(tied.support, best.value, min(bound, best.value), proven)
            core = self._better(best, relaxed)

    def _searched(self, core: NDArray[np.bool_], bound: float, best: Answer | None) -> Searched:
        """The best answer over a core; none, where it is empty."""
        if not core.any():
            return Searched(None, math.inf, finished=True)
        start = None if best is None else best.support[core]
        return self._master(core).search(self._gap, bound=bound, start=start)

    def _settled(self, support: NDArray[np.bool_]) -> Answer | None:
        """The best answer over a support, None where there is none."""
        answer = self._master(support).settled(support[support]) if support.any() else None
        return None if answer is None else _wider(answer, support)

    def _wanted(self, best: Answer) -> float:
        """Whatever is not below this is no better."""
        return best.value - self._gap * abs(best.value)

    def _better(self, best: Answer, relaxed: Relaxed) -> NDArray[np.bool_]:
        """Columns that could be in a better answer."""
        return np.asarray(relaxed.added < self._wanted(best) - relaxed.value)

    def _first(self, relaxed: Relaxed) -> NDArray[np.bool_]:
        at_most = self._problem.shape.at_most
        if at_most is None:
            return _least(relaxed.added, CORE * len(np.unique(self._problem.class_of)))
        return go_together(self._problem, relaxed.prices, at_most, CORE_STRATEGIES)

    def _tied(self, best: Answer, relaxed: Relaxed) -> Answer:
        """Of equally good answers the best one by the question's second objective."""
        question = self._problem.question
        if question.then is None or question.free is not None:
            return best
        cap = best.value + TOLERANCE * max(1.0, abs(best.value))
        core = relaxed.added <= cap - relaxed.value
        master = self._master(core, question.then, cap)
        tied = master.search(self._gap, start=best.support[core]).best
        return best if tied is None else _wider(tied, core)

    def _master(
        self, core: NDArray[np.bool_], then: str | None = None, cap: float | None = None
    ) -> Master:
        narrowed = self._problem.of_columns(core)
        nodes = None if cap is None else TIE_NODES
        return Master(narrowed, then, self._cuts, self._left_s, cap=cap, nodes=nodes)


def _least(added: Array, count: int) -> NDArray[np.bool_]:
    """So many columns that add least, and those that add the same."""
    return np.asarray(added <= np.sort(added)[min(count, len(added)) - 1])


def _wider(answer: Answer, core: NDArray[np.bool_]) -> Answer:
    """The answer over all columns."""
    support = np.zeros(len(core), dtype=np.bool_)
    support[np.flatnonzero(core)] = answer.support
    return replace(answer, support=support)
