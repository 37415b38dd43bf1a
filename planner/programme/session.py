"""One HiGHS session over the compiled programme: limits move, coefficients never.

A limit with a margin, ``a x >= floor + z |M x + k|``, is a second-order cone. It is met by outer
approximation (Kelley, "The cutting-plane method", 1960): solve, and where the cone is violated add
the cut that touches it there. A cut ``a x - z u M x >= floor + z u k`` holds for every floor and
every offset k, so later solves keep them and only move right-hand sides. A margin that many rounds
do not settle is split by component, see `planner.programme.split_cone`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.limit_names import SPEND
from planner.programme.margin import Array, Margin
from planner.programme.model import Programme
from planner.programme.question import BeatenError, Question, Solution
from planner.programme.sifting import GONE, TOLERANCE, WHOLE, Sifted
from planner.programme.split_cone import SplitCone
from profiles.errors import InfeasibleError, UnprovenError

DEPTH = 1e-7
"""Cuts of a limit lie this much inside its cone: the rounds end, and they end on the safe side."""

DOUBT_TOLERANCE = 1e-6
"""By how much the doubt of an objective may be too small; no promise rests on it."""

MAX_ROUNDS = 500
SPLIT_AFTER = 20
"""Rounds after which a margin that is still missed is split by component; most never are."""

MAX_KEPT_CUTS = 40
"""With more rows than this, the next question keeps those alone that the last one rested on."""


@dataclass(slots=True)
class _Cut:
    row: int
    margin: str
    direction: Array


@dataclass(slots=True)
class _Split:
    row: int
    cone: SplitCone


class Session:
    """A warm solver. Not thread-safe.

    Args:
        programme: Compiled arrays.
        margins: By limit name; any other name is a margin of the accuracy objective.
        columns: How many leading columns the margins speak about.
        whole: Columns up to which all of them are held, see `planner.programme.sifting`.
    """

    def __init__(
        self,
        programme: Programme,
        margins: Mapping[str, Margin],
        columns: int,
        *,
        whole: int = WHOLE,
    ) -> None:
        self.programme = programme
        self._margins = {name: margin for name, margin in margins.items() if margin.z > 0}
        self._columns = columns
        self._cuts: list[_Cut] = []
        self._splits: dict[str, _Split] = {}
        self._caps: dict[str, int] = {}
        self._lp = Sifted(programme, columns, whole=whole)
        for name, coefficients in programme.objectives.items():
            self._caps[name] = self._lp.add_row(self._wide(coefficients))
        self._first_cut = self._lp.rows
        self._noise = programme.matrix.shape[1]
        self._noise_row: int | None = None

    def solve(self, question: Question) -> Solution:
        """Answer one question.

        Raises:
            InfeasibleError: No allocation keeps all limits.
            BeatenError: None of those that do reaches the value asked for.
            UnprovenError: Time or rounds ran out before a proof; its bound is in model units.
        """
        self._set_noise(question.noise)
        self._set_limits(question)
        self._set_shares(question)
        try:
            return self._solved(question)
        finally:
            self._forget_idle(question)

    def _solved(self, question: Question) -> Solution:
        costs = self._costs_of(question)
        self._lp.set_costs(costs)
        x = self._converge(question)
        solution = Solution(x, self._lp.objective, self._duals(question.limits))
        if question.then is None:
            return solution
        cap = solution.value + TOLERANCE * max(1.0, abs(solution.value))
        row = self._cap_of(question, costs)
        self._lp.bound_row(row, high=cap)
        self._lp.set_costs(self.programme.objectives[question.then])
        try:
            tie = self._converge(question, still_feasible=True)
        except (InfeasibleError, UnprovenError):  # what comes first is proven already
            return solution
        else:
            return Solution(tie, solution.value, solution.duals)
        finally:
            self._lp.bound_row(row)

    def _set_noise(self, noise: Array | None) -> None:
        """One row holds the noise column up; a row of earlier questions lets go of it."""
        if self._noise_row is not None:
            self._lp.bound_row(self._noise_row)
            self._noise_row = None
        self._lp.bound_column(self._noise, 0.0 if noise is None else math.inf)
        if noise is not None:
            body = np.zeros(self._noise + 1)
            body[: self._columns], body[self._noise] = -noise, 1.0
            self._noise_row = self._lp.add_row(body)
            self._lp.bound_row(self._noise_row, low=0.0)

    def _set_limits(self, question: Question) -> None:
        for name, row in self.programme.row_of.items():
            self._bound(row, name, question.limits.get(name), 0.0)
        for cut in self._cuts:
            self._set_cut(cut, question)
        for name in self._splits:
            self._set_split(name, question)
        for name, column in self.programme.slack_of.items():
            self._lp.bound_column(column, math.inf if name == question.free else 0.0)

    def _set_cut(self, cut: _Cut, question: Question) -> None:
        margin = self._margins[cut.margin]
        offset = margin.z * float(cut.direction @ self._offset(cut.margin, question))
        self._bound_margin(cut.row, cut.margin, question, offset)

    def _set_split(self, name: str, question: Question) -> None:
        split = self._splits[name]
        split.cone.move(self._offset(name, question))
        self._bound_margin(split.row, name, question, 0.0)

    def _bound_margin(self, row: int, name: str, question: Question, offset: float) -> None:
        """Hold a row that stands for a margin, its constant part apart."""
        if name in self.programme.row_of:
            self._bound(row, name, question.limits.get(name), offset + DEPTH)
        else:
            self._lp.bound_row(row, low=offset if name == question.doubt else -math.inf)

    def _forget_idle(self, question: Question) -> None:
        """Where there are many rows, those that an answer did not rest on.

        A margin that it did not ask for rested on nothing: its rows stay.
        """
        if self._lp.rows - self._first_cut <= MAX_KEPT_CUTS:
            return
        idle = self._lp.idle_rows()
        idle[: self._first_cut] = False
        asked = {*question.limits, question.doubt}
        lasting = [cut.row for cut in self._cuts if cut.margin not in asked]
        for name, split in self._splits.items():
            lasting += [split.row, *split.cone.lasting_rows]
            lasting += [] if name in asked else split.cone.planes
        lasting += [] if self._noise_row is None else [self._noise_row]
        idle[lasting] = False
        numbers = self._lp.forget(idle)
        for cut in self._cuts:
            cut.row = int(numbers[cut.row])
        self._cuts = [cut for cut in self._cuts if cut.row != GONE]
        for split in self._splits.values():
            split.row = int(numbers[split.row])
            split.cone.renumber(numbers)
        if self._noise_row is not None:
            self._noise_row = int(numbers[self._noise_row])

    def _offset(self, margin: str, question: Question) -> Array:
        given = question.offsets.get(margin)
        return np.zeros(len(self._margins[margin].matrix)) if given is None else given

    def _bound(self, row: int, limit: str, value: float | None, offset: float) -> None:
        if value is None:
            self._lp.bound_row(row)
        elif limit in self.programme.floors:
            self._lp.bound_row(row, low=value + offset)
        else:
            self._lp.bound_row(row, high=value - offset)

    def _costs_of(self, question: Question) -> Array:
        """What the first solve of a question minimises."""
        costs = self.programme.objectives[question.objective]
        if question.free is not None:
            alone = np.zeros_like(costs)
            alone[self.programme.slack_of[question.free]] = 1.0
            return alone
        if question.reward:
            return np.asarray(costs + question.reward * self.programme.objectives["accuracy"])
        return costs

    def _cap_of(self, question: Question, costs: Array) -> int:
        """The row that holds what a question minimised."""
        if question.reward:
            return self._lp.add_row(self._wide(costs))
        return self._caps[question.objective]

    def _set_shares(self, question: Question) -> None:
        """Close the columns outside the support, and hold others up."""
        if question.support is None and question.least is None:
            self._lp.free_shares()
            return
        least = np.zeros(self._columns) if question.least is None else question.least
        most = np.full(self._columns, math.inf)
        if question.support is not None:
            most[~question.support] = 0.0
        self._lp.bound_shares(least, most)

    def _converge(self, question: Question, *, still_feasible: bool = False) -> Array:
        """Solve and cut until no margin is missed. Before that every point may miss one."""
        for number in range(MAX_ROUNDS):
            left_s = max(question.until_s - time.monotonic(), 0.0)
            try:
                x = self._lp.run(left_s, still_feasible=still_feasible and number == 0)
            except UnprovenError as error:
                raise UnprovenError(error.what, bound=error.bound) from error
            if not still_feasible and self._lp.objective > question.beats:
                raise BeatenError
            if not self._cut_off(x, question, split=number >= SPLIT_AFTER):
                return x
        raise UnprovenError(
            f"the margins did not settle within {MAX_ROUNDS} rounds", bound=self._lp.objective
        )

    def _cut_off(self, x: Array, question: Question, *, split: bool) -> bool:
        """Add the cuts that x violates; whether there were any."""
        found = False
        for name, margin in self._margins.items():
            if name not in question.limits and name != question.doubt:
                continue
            offset = self._offset(name, question).copy()
            offset[-1] += x[self._noise] if name == SPEND else 0.0
            shares = x[: self._columns]
            missed = margin.value(shares, offset) - self._room(name, x, question)
            if missed <= (DOUBT_TOLERANCE if name == question.doubt else 0.0):
                continue
            direction = margin.direction(shares, offset)
            if direction is None:
                continue
            self._add_cut(name, direction)
            self._set_cut(self._cuts[-1], question)
            if split and name not in self._splits:
                self._split(name)
                self._set_split(name, question)
            if name in self._splits:
                self._splits[name].cone.cut(direction)
            found = True
        return found

    def _room(self, name: str, x: Array, question: Question) -> float:
        """How much margin the row leaves at x."""
        if name not in self.programme.row_of:
            return float(x[self.programme.doubt])
        matrix, row = self.programme.matrix, self.programme.row_of[name]
        own = slice(matrix.indptr[row], matrix.indptr[row + 1])
        body = float(matrix.data[own] @ x[matrix.indices[own]])
        limit = question.limits[name]
        return body - limit if name in self.programme.floors else limit - body

    def _add_cut(self, name: str, direction: Array) -> None:
        margin = self._margins[name]
        body, sign = self._bounded_by(name)
        if name == SPEND:
            body[self._noise] = margin.z * direction[-1]
        body[: self._columns] += sign * margin.slope(direction)
        self._cuts.append(_Cut(self._lp.add_row(body), name, direction))

    def _split(self, name: str) -> None:
        margin = self._margins[name]
        cone = SplitCone(self._lp, margin, self._noise if name == SPEND else None)
        body, sign = self._bounded_by(name)
        where = np.flatnonzero(body)
        row = self._lp.add_sparse_row(
            np.append(where, cone.length), np.append(body[where], sign * margin.z)
        )
        self._splits[name] = _Split(row, cone)

    def _bounded_by(self, name: str) -> tuple[Array, float]:
        """What leaves room for a margin, and the margin's sign in a row beside it."""
        body = np.zeros(self._noise + 1)
        if name not in self.programme.row_of:
            body[self.programme.doubt] = 1.0
            return body, -1.0
        matrix, row = self.programme.matrix, self.programme.row_of[name]
        own = slice(matrix.indptr[row], matrix.indptr[row + 1])
        body[matrix.indices[own]] = matrix.data[own]
        return body, -1.0 if name in self.programme.floors else 1.0

    def _wide(self, coefficients: Array) -> Array:
        """With the noise behind them."""
        return np.append(coefficients, 0.0)

    def _duals(self, limits: Mapping[str, float]) -> dict[str, float]:
        values = self._lp.duals
        duals = {name: values[self.programme.row_of[name]] for name in limits}
        for cut in self._cuts:
            if cut.margin in duals:
                duals[cut.margin] += values[cut.row]
        for name, split in self._splits.items():
            if name in duals:
                duals[name] += values[split.row]
        return duals
