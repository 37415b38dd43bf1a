"""A linear programme in HiGHS that holds only the columns it needs, and proves that it does.

Few of many columns carry a plan: one or two per class. Sifting (Bixby, Gregory, Lustig, Marsten
and Shanno, "Very large-scale linear programming: a case study in combining interior point and
simplex methods", Operations Research 40 (1992)) solves over some columns and prices the others by
the duals y: column j would lower the objective only if ``c_j - y A_j < 0``. The best such columns
of each class come in and the programme is solved again. Where none is left, the optimum is that of
all columns, by the same test as the simplex method's own.

Where the columns at hand allow no point, the solver has a ray y that proves it: no x >= 0 over them
reaches the rows' bounds. It proves so for all columns unless some ``y A_j`` has the other sign;
those come in (Farkas pricing). A small programme holds all its columns from the start.

A solve that is stopped early says what is known, see `planner.programme.weak_duality`.
"""

from __future__ import annotations

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, vstack

from planner.programme.lp_solver import INFEASIBLE, OPTIMAL, SOLVER, TOLERANCE, load, solve
from planner.programme.margin import Array
from planner.programme.model import Programme
from planner.programme.weak_duality import least_objective, usable
from profiles.errors import InfeasibleError, UnprovenError

__all__ = ["GONE", "SOLVER", "TOLERANCE", "WHOLE", "Sifted"]

MAX_DOUBT = 1e3
"""Bound of the doubt column, far beyond any margin of a score in 0..1: no ray is unbounded."""

WHOLE = 2_000
"""Shares up to which all columns are held: sifting them would gain nothing."""

TAKEN = 3
"""Columns of a class that come in at once."""

GONE = -1
"""In place of the number of a row that was forgotten."""

_BASIC = highspy.HighsBasisStatus.kBasic
_FREE = (-highspy.kHighsInf, highspy.kHighsInf)


class Sifted:
    """The warm solver of one programme. Columns keep their numbers among all. Not thread-safe.

    The last column, behind the programme's own, is 0 until it is opened; only added rows have it.

    Args:
        programme: Compiled arrays; the only equations are those of the classes' shares.
        shares: How many leading columns are shares; the others are always held.
        whole: Shares up to which all columns are held.
    """

    def __init__(self, programme: Programme, shares: int, *, whole: int = WHOLE) -> None:
        own = programme.matrix
        wider = (own.shape[0], own.shape[1] + 1)
        self._matrix = csc_array(csr_array((own.data, own.indices, own.indptr), shape=wider))
        self._shares = shares
        ones = csc_array(self._matrix[programme.lower == programme.upper])
        self._class_of = ones.indices[:shares]
        self._costs = np.zeros(wider[1])
        self._added: list[tuple[NDArray[np.intp], Array]] = []
        bounds = zip(programme.lower.tolist(), programme.upper.tolist(), strict=True)
        self._row_bounds = dict(enumerate(bounds))
        self._least = np.zeros(shares)
        self._closed = np.zeros(shares, dtype=np.bool_)
        self._bounded = False
        self._held = np.ones(wider[1], dtype=np.bool_)
        if shares > whole:
            self._held[:shares] = False
            for costs in programme.objectives.values():
                order = np.lexsort((costs[:shares], self._class_of))
                _, first = np.unique(self._class_of[order], return_index=True)
                self._held[order[first]] = True
        self._order = np.flatnonzero(self._held)
        self._place = np.cumsum(self._held) - 1
        self._most = np.full(wider[1], highspy.kHighsInf)
        self._most[[*programme.slack_of.values(), wider[1] - 1]] = 0.0
        self._most[programme.doubt] = MAX_DOUBT
        self._highs = load(
            csr_array(self._matrix[:, self._order]),
            programme.lower,
            programme.upper,
            self._most[self._order],
        )

    @property
    def rows(self) -> int:
        """How many rows there are; a new one gets this number."""
        return int(self._matrix.shape[0]) + len(self._added)

    @property
    def columns_held(self) -> int:
        """How many columns the solver holds."""
        return len(self._order)

    @property
    def objective(self) -> float:
        """The objective of the last run."""
        return float(self._highs.getObjectiveValue())

    @property
    def duals(self) -> Array:
        """Change of the objective per unit of each row's bound, of the last run."""
        return np.array(self._highs.getSolution().row_dual)

    def add_row(self, body: Array) -> int:
        """A row without bounds; its number."""
        where = np.flatnonzero(body)
        return self.add_sparse_row(where, body[where])

    def add_sparse_row(self, where: NDArray[np.intp], values: Array) -> int:
        """A row without bounds that has these values at these columns; its number."""
        held = self._held[where]
        at = self._place[where[held]].astype(np.int32)
        self._highs.addRow(*_FREE, len(at), at, values[held])
        self._row_bounds[self.rows] = _FREE
        self._added.append((where, values))
        return self.rows - 1

    def add_sparse_rows(self, where: NDArray[np.intp], values: Array) -> NDArray[np.intp]:
        """The same of several rows at once, shape (rows, values in each); their numbers.

        All their columns are held: shares may not be among them.
        """
        count, wide = where.shape
        free = np.full(count, highspy.kHighsInf)
        starts = wide * np.arange(count, dtype=np.int32)
        at = self._place[where].astype(np.int32).ravel()
        self._highs.addRows(count, -free, free, at.size, starts, at, values.ravel())
        first = self.rows
        self._row_bounds |= dict.fromkeys(range(first, first + count), _FREE)
        self._added += zip(where, values, strict=True)
        return first + np.arange(count)

    def idle_rows(self) -> NDArray[np.bool_]:
        """Of every row, whether the last optimum does not rest on it; none without an optimum."""
        basis = self._highs.getBasis()
        if not basis.valid:
            return np.zeros(self.rows, dtype=np.bool_)
        return np.array([status == _BASIC for status in basis.row_status])

    def forget(self, rows: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Forget added rows, all of them idle; the number of every row from then on, or `GONE`."""
        if rows.any():
            basis, gone = self._highs.getBasis(), np.flatnonzero(rows).astype(np.int32)
            self._highs.deleteRows(len(gone), gone)
            # Without rows that it did not rest on, the last optimum is one still.
            kept = zip(basis.row_status, rows.tolist(), strict=True)
            basis.row_status = [status for status, is_gone in kept if not is_gone]
            self._highs.setBasis(basis)
        added = zip(self._added, rows[self._matrix.shape[0] :].tolist(), strict=True)
        self._added = [row for row, is_gone in added if not is_gone]
        numbers = np.where(rows, GONE, np.cumsum(~rows) - 1)
        bounds = self._row_bounds.items()
        self._row_bounds = {int(numbers[row]): b for row, b in bounds if not rows[row]}
        return numbers

    def add_columns(self, count: int) -> int:
        """Columns of 0 or more that only added rows have, behind all others; the first's number."""
        first, none = len(self._held), np.zeros(count)
        most = np.full(count, highspy.kHighsInf)
        empty = np.zeros(0, dtype=np.int32)
        starts = np.zeros(count, dtype=np.int32)
        self._highs.addCols(count, none, none, most, 0, starts, empty, np.zeros(0))
        new = first + np.arange(count)
        self._place = np.append(self._place, len(self._order) + np.arange(count))
        self._order = np.append(self._order, new)
        self._held = np.append(self._held, np.ones(count, dtype=np.bool_))
        self._costs, self._most = np.append(self._costs, none), np.append(self._most, most)
        return first

    def bound_row(self, row: int, low: float = _FREE[0], high: float = _FREE[1]) -> None:
        """Hold a row between two values; without them it is free."""
        if self._row_bounds[row] != (low, high):
            self._row_bounds[row] = low, high
            self._highs.changeRowBounds(row, low, high)

    def bound_column(self, column: int, high: float) -> None:
        """Hold a column that is no share between 0 and this."""
        if self._most[column] != high:
            self._most[column] = high
            self._highs.changeColBounds(int(self._place[column]), 0.0, high)

    def bound_shares(self, least: Array, most: Array) -> None:
        """Hold every share between two values; a share of at most 0 stays out."""
        self._least, self._closed = least, most <= 0
        self._bounded = True
        self._take_in(np.flatnonzero((least > 0) & ~self._held[: self._shares]))
        own = np.flatnonzero(self._held[: self._shares])
        self._highs.changeColsBounds(
            len(own), self._place[own].astype(np.int32), least[own], most[own]
        )

    def free_shares(self) -> None:
        """Let go of all shares."""
        if self._bounded:
            self.bound_shares(np.zeros(self._shares), np.full(self._shares, highspy.kHighsInf))
            self._bounded = False

    def set_costs(self, costs: Array) -> None:
        """Minimise ``costs x``; what costs leave out at the end is 0."""
        self._costs[: len(costs)] = costs
        held = self._costs[self._order]
        self._highs.changeColsCost(len(held), np.arange(len(held), dtype=np.int32), held)

    def run(self, time_limit_s: float, *, still_feasible: bool = False) -> Array:
        """Solve; a value per column.

        Args:
            time_limit_s: Seconds that the solver may take for all columns together.
            still_feasible: The last point still keeps all bounds: costs alone have moved.

        Raises:
            InfeasibleError: No point keeps all rows, whatever columns are used.
            UnprovenError: The solver stopped early, or found no proof by any method. Its incumbent
                keeps the rows that are known here: it need not keep a margin that rows approximate.
        """
        until_s = self._highs.getRunTime() + time_limit_s
        incumbent: float | None = None
        while True:
            status = solve(self._highs, until_s, still_feasible=still_feasible)
            still_feasible = status == OPTIMAL
            if status == OPTIMAL:
                if self._held.all() or not self._take(self._reduced(self._costs, self.duals)):
                    x = np.zeros(len(self._held))
                    x[self._order] = self._highs.getSolution().col_value
                    return x
                incumbent = self.objective
            elif status in INFEASIBLE:
                if self._held.all() or not self._take(self._unproven()):
                    raise InfeasibleError("no allocation keeps all limits")
            else:
                raise self._stopped(self._highs.modelStatusToString(status), incumbent)

    def _stopped(self, said: str, before: float | None) -> UnprovenError:
        """What a stopped solve still knows; `before` is the best value of fewer columns."""
        at = self._highs.getInfo().primal_solution_status
        found = [before, self.objective if at == int(highspy.kSolutionStatusFeasible) else None]
        return UnprovenError(
            f"{SOLVER} stopped without a proof: {said}",
            incumbent=min((value for value in found if value is not None), default=None),
            bound=self._bound(),
        )

    def _bound(self) -> float | None:
        """What no point's objective is below, over all columns; None where nothing is proven."""
        rows = np.array([self._row_bounds[row] for row in range(self.rows)])
        solution = self._highs.getSolution()
        duals = np.array(solution.row_dual) if solution.dual_valid else np.zeros(self.rows)
        y, most = usable(duals, rows), self._most.copy()
        most[: self._shares][self._closed] = 0.0
        prices = self._prices(self._costs, y)
        return least_objective(
            y, rows, prices, class_of=self._class_of, least=self._least, most=most
        )

    def _reduced(self, costs: Array, duals: Array) -> Array:
        """``c - y A`` of every share."""
        return self._prices(costs, duals)[: self._shares]

    def _prices(self, costs: Array, duals: Array) -> Array:
        """``c - y A`` of every column."""
        own, wide = self._matrix.shape
        prices: Array = costs.copy()
        prices[:wide] -= self._matrix.T @ duals[:own]
        binding = np.flatnonzero(duals[own:])
        if len(binding):
            rows = [self._added[row] for row in binding.tolist()]
            where = np.concatenate([where for where, _ in rows])
            values = np.concatenate([values for _, values in rows])
            each = np.repeat(duals[own + binding], [len(where) for where, _ in rows])
            prices -= np.bincount(where, each * values, len(prices))
        return prices

    def _unproven(self) -> Array:
        """Negative for shares that the proof of infeasibility does not cover; all, if none is."""
        _, has_ray, ray = self._highs.getDualRay()
        if not has_ray:
            return np.full(self._shares, -1.0)
        ray = np.asarray(ray) / np.abs(ray).max()
        return self._reduced(np.zeros(len(self._held)), ray)

    def _take(self, reduced: Array) -> bool:
        """Take in the shares with the most negative numbers, a few per class; whether any were."""
        out = ~self._held[: self._shares] & ~self._closed
        wanted = np.flatnonzero((reduced < -TOLERANCE) & out)
        order = wanted[np.lexsort((reduced[wanted], self._class_of[wanted]))]
        of = self._class_of[order]
        new = order[np.arange(len(order)) - np.searchsorted(of, of) < TAKEN]
        self._take_in(new)
        return bool(len(new))

    def _take_in(self, new: NDArray[np.intp]) -> None:
        """Hold these shares as well."""
        if not len(new):
            return
        block = csc_array(
            vstack([self._matrix[:, new], self._below(new)])
            if self._added
            else self._matrix[:, new]
        )
        none, most = np.zeros(len(new)), np.full(len(new), highspy.kHighsInf)
        starts, rows = block.indptr[:-1].astype(np.int32), block.indices.astype(np.int32)
        self._highs.addCols(
            len(new), self._costs[new], none, most, block.nnz, starts, rows, block.data
        )
        self._place[new] = len(self._order) + np.arange(len(new))
        self._order = np.concatenate([self._order, new])
        self._held[new] = True

    def _below(self, columns: NDArray[np.intp]) -> csr_array:
        """What the added rows have in these columns."""
        place = np.full(len(self._held), -1)
        place[columns] = np.arange(len(columns))
        found = np.zeros((len(self._added), len(columns)))
        for row, (where, values) in enumerate(self._added):
            at = place[where]
            found[row, at[at >= 0]] = values[at >= 0]
        return csr_array(found)
