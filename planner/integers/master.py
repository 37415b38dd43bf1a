"""The integer programme over a few columns, in HiGHS: search, then settle the shares of a support.

Each round searches for the best whole numbers under the cuts so far: its bound holds for every
answer over these columns. Where the cones do not hold the point found, the whole numbers are kept
and the shares settled under more cuts, which gives an answer or shows that the support has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from planner.integers.cones import Cut, doubted, violated, written
from planner.integers.mip_solver import load
from planner.integers.problem import Problem
from planner.programme.lp_solver import INFEASIBLE, OPTIMAL, SOLVER, TOLERANCE
from planner.programme.margin import Array
from planner.programme.session import MAX_ROUNDS
from profiles.errors import UnprovenError

Places = NDArray[np.intp]

COARSE, FINE = 1e-3, 1e-6
"""Gaps of the first search under cones, and of the last before none is left."""

PART_OF_GAP = 0.8
"""Of the gap that a search may leave; settling shares under the cones takes the rest."""

_STOPPED = {highspy.HighsModelStatus.kTimeLimit, highspy.HighsModelStatus.kSolutionLimit}


@dataclass(frozen=True)
class Answer:
    """Shares that keep everything, over the master's columns.

    Attributes:
        point: Shares, other columns, noise.
        value: Objective, with the whole doubt.
        support: Which shares may be used.
    """

    point: Array
    value: float
    support: NDArray[np.bool_]


@dataclass(frozen=True)
class Searched:
    """How a search ended.

    Attributes:
        best: The best answer found, None for none.
        bound: No answer over these columns is below it; infinite if there is none.
        finished: Whether time sufficed.
    """

    best: Answer | None
    bound: float
    finished: bool


class Master:
    """One problem with its whole numbers. Columns: the point's, then z, then y.

    Args:
        problem: Narrowed to few columns.
        then: The question's second objective, to be minimised in place of its own.
        cuts: Known so far; found ones are appended.
        left_s: Seconds that are left.
        cap: Highest value of the question's own objective, None for any.
        nodes: Nodes that one search may take, None for any number.
    """

    def __init__(
        self,
        problem: Problem,
        then: str | None,
        cuts: list[Cut],
        left_s: Callable[[], float],
        *,
        cap: float | None = None,
        nodes: int | None = None,
    ) -> None:
        self._problem = problem
        self._cuts = cuts
        self._left_s = left_s
        self._costs = problem.costs(then)
        least, n, width = problem.shape.least, problem.columns, problem.width + 1
        strategies, place = np.unique(problem.strategy_of, return_inverse=True)
        zs = n if 0 < least < 1 else 0
        ys = 0 if problem.shape.at_most is None else len(strategies)
        self._size = width + zs + ys
        self._whole = np.zeros(self._size, dtype=np.bool_)
        self._whole[width:] = True
        self._whole[:n] = least == 1
        body, lower, upper = problem.rows()
        rows = [(csr_array(body), lower, upper)]
        if problem.question.noise is not None:
            rows.append((csr_array(problem.noise_row()[None]), np.zeros(1), np.full(1, math.inf)))
        if cap is not None:
            own = problem.costs()
            rows.append((csr_array(own[None]), np.full(1, -math.inf), np.full(1, cap)))
        every = np.arange(n)
        at_z = width + every if zs else every
        if zs:
            rows.append(self._above(at_z, every, 1.0))
            rows.append(self._above(every, at_z, least))
        if ys:
            rows.append(self._above(width + zs + place, at_z, 1.0))
            most = float(problem.shape.at_most or 0)
            every_y = csr_array((np.arange(self._size) >= width + zs).astype(np.float64)[None])
            rows.append((every_y, np.full(1, -math.inf), np.full(1, most)))
        self._most = np.append(problem.most(), np.ones(zs + ys))
        self._place_y = width + zs + place
        self._zs, self._ys = zs, ys
        self._out_of_time = False
        self._highs = load(rows, self._costs, self._most, self._whole)
        if nodes is not None:
            self._highs.setOptionValue("mip_max_nodes", nodes)
        for cut in cuts:
            self._add(cut)

    def search(
        self, gap: float, *, bound: float = -math.inf, start: NDArray[np.bool_] | None = None
    ) -> Searched:
        """The best answer, to a share `gap` of its value, or the best until time runs out.

        Where there are cones and no answer is known, a coarse search comes first: few cuts are
        known yet, and a search that is proven to the end under too few of them is wasted.

        Args:
            gap: 0..1.
            bound: What is known to be below every answer.
            start: Support of an answer that is known already.
        """
        best = None if start is None else self.settled(start)
        tried: set[bytes] = set()
        target = PART_OF_GAP * gap
        step = COARSE if self._problem.margins and best is None else target
        for _ in range(MAX_ROUNDS):
            if best is not None:
                self._offer(best)
            x, low, done = self._run(max(step, target))
            bound = max(bound, low)
            if x is None:
                return Searched(best, bound, finished=done and not self._out_of_time)
            numbers = np.round(x[self._whole])
            known = numbers.tobytes() in tried
            tried.add(numbers.tobytes())
            cuts = violated(self._problem, x[: len(self._costs)])
            for cut in cuts:
                self._keep(cut)
            answer = None if known else self._settled(numbers)
            if answer is not None and (best is None or answer.value < best.value):
                best = answer
            done = done and not self._out_of_time
            if not done or (best is not None and best.value - bound <= gap * abs(best.value)):
                return Searched(best, bound, finished=done)
            if known or not cuts:
                if step <= target:
                    return Searched(best, bound, finished=True)
                step = step / 10 if step > FINE else 0.0
        raise UnprovenError(f"the margins did not settle within {MAX_ROUNDS} rounds")

    def settled(self, support: NDArray[np.bool_]) -> Answer | None:
        """The best shares over a support, None where there are none or time is out."""
        return self._settled(self._numbers(support))

    def _settled(self, numbers: Array) -> Answer | None:
        """The best shares with these whole numbers, None where there are none or time is out."""
        columns = np.flatnonzero(self._whole).astype(np.int32)
        self._highs.changeColsBounds(len(columns), columns, numbers, numbers)
        try:
            while True:
                x, _, done = self._run(0.0)
                self._out_of_time |= not done
                if x is None or not done:
                    return None
                point = x[: len(self._costs)]
                cuts = violated(self._problem, point)
                if not cuts:
                    value = float(self._costs @ point)
                    doubt = float(self._costs[self._problem.programme.doubt])
                    value += doubt * doubted(self._problem, point)
                    x[self._whole] = numbers
                    return Answer(x, value, self._support(x))
                for cut in cuts:
                    self._keep(cut)
        finally:
            none, most = np.zeros(len(columns)), self._most[columns]
            self._highs.changeColsBounds(len(columns), columns, none, most)

    def _run(self, gap: float) -> tuple[Array | None, float, bool]:
        """The best point, None for none; what nothing is below; whether it was not stopped."""
        self._highs.setOptionValue("time_limit", self._highs.getRunTime() + self._left_s())
        self._highs.setOptionValue("mip_rel_gap", gap)
        self._highs.run()
        status = self._highs.getModelStatus()
        if status in INFEASIBLE:
            return None, math.inf, True
        done = status == OPTIMAL
        if not done and status not in _STOPPED:
            said = self._highs.modelStatusToString(status)
            raise UnprovenError(f"{SOLVER} stopped without a proof: {said}")
        info = self._highs.getInfo()
        bound = float(info.mip_dual_bound)
        if not math.isfinite(info.objective_function_value):
            return None, bound, False
        return np.array(self._highs.getSolution().col_value), bound, done

    def _support(self, x: Array) -> NDArray[np.bool_]:
        n = self._problem.columns
        used = x[:n] > TOLERANCE
        if self._zs:
            return np.asarray(x[len(self._costs) : len(self._costs) + n] > 0.5)
        if self._ys and self._problem.shape.least == 0:
            chosen = np.zeros(self._size, dtype=np.bool_)
            chosen[self._place_y[used]] = True
            return np.asarray(chosen[self._place_y])
        return np.asarray(used)

    def _numbers(self, support: NDArray[np.bool_]) -> Array:
        """The whole numbers of a support."""
        x = np.zeros(self._size)
        n = self._problem.columns
        x[:n] = support
        if self._zs:
            x[len(self._costs) : len(self._costs) + n] = support
        if self._ys:
            x[self._place_y[support]] = 1.0
        return x[self._whole]

    def _offer(self, answer: Answer) -> None:
        solution = highspy.HighsSolution()
        solution.col_value = list(answer.point)
        self._highs.setSolution(solution)

    def _keep(self, cut: Cut) -> None:
        self._cuts.append(cut)
        self._add(cut)

    def _add(self, cut: Cut) -> None:
        body, low, high = written(self._problem, cut)
        where = np.flatnonzero(body).astype(np.int32)
        self._highs.addRow(low, high, len(where), where, body[where])

    def _above(self, high: Places, low: Places, factor: float) -> tuple[csr_array, Array, Array]:
        """Rows ``high - factor low >= 0``, one per share."""
        n = self._problem.columns
        every = np.arange(n)
        body = coo_array(
            (np.append(np.ones(n), np.full(n, -factor)), (np.tile(every, 2), np.append(high, low))),
            shape=(n, self._size),
        )
        return csr_array(body), np.zeros(n), np.full(n, math.inf)
