"""HiGHS over the compiled fleet: a proven optimum, or the best found with the gap that is left."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from planner.fleet.model import Arrays, Floats
from planner.programme.lp_solver import SOLVER
from profiles.errors import InfeasibleError, UnprovenError


@dataclass(frozen=True)
class Found:
    """What the solver came back with.

    Attributes:
        x: Value per column.
        value: Objective, model units.
        bound: No solution can be below it.
        proven: Whether the gap closed to what was asked.
    """

    x: Floats
    value: float
    bound: float
    proven: bool

    @property
    def gap(self) -> float:
        """By how much of its own value the solution may be too dear, 0..1."""
        return max(0.0, (self.value - self.bound) / abs(self.value)) if self.value else 0.0


def minimise(
    arrays: Arrays,
    *,
    whole: bool = True,
    costs: Floats | None = None,
    time_limit_s: float = 60.0,
    max_gap: float = 0.0,
) -> Found:
    """Solve.

    Args:
        arrays: The programme.
        whole: Keep whole numbers; otherwise solve the relaxation.
        costs: Another objective.
        time_limit_s: Seconds.
        max_gap: Share of the cost by which the answer may be too dear and still count as proven.

    Raises:
        InfeasibleError: Nothing keeps all rows.
        UnprovenError: Time ran out with nothing found.
    """
    highs = _load(arrays, arrays.costs if costs is None else costs, whole=whole)
    highs.setOptionValue("time_limit", time_limit_s)
    highs.setOptionValue("mip_rel_gap", max_gap)
    highs.run()
    status = highs.getModelStatus()
    if status in {
        highspy.HighsModelStatus.kInfeasible,
        highspy.HighsModelStatus.kUnboundedOrInfeasible,
    }:
        raise InfeasibleError("no fleet keeps all limits")
    info = highs.getInfo()
    value = float(info.objective_function_value)
    proven = status == highspy.HighsModelStatus.kOptimal
    if not proven and (status != highspy.HighsModelStatus.kTimeLimit or not np.isfinite(value)):
        words = highs.modelStatusToString(status)
        raise UnprovenError(
            f"{SOLVER} found no fleet within {time_limit_s:g} s: {words}\n"
            "  next: give it more time with --time-limit, or fewer plans or shapes to choose from"
        )
    x = np.array(highs.getSolution().col_value)
    bound = float(info.mip_dual_bound) if whole and arrays.whole.any() else value
    return Found(x, value, min(bound, value), proven)


def _load(arrays: Arrays, costs: Floats, *, whole: bool) -> highspy.Highs:
    highs = highspy.Highs()
    for option, value in {
        "output_flag": False,
        "threads": 1,
        "mip_abs_gap": 0.0,
        "mip_feasibility_tolerance": 1e-9,
        "primal_feasibility_tolerance": 1e-9,
    }.items():
        highs.setOptionValue(option, value)
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = arrays.matrix.shape
    lp.col_cost_ = costs
    lp.col_lower_, lp.col_upper_ = arrays.column_lower, arrays.column_upper
    lp.row_lower_, lp.row_upper_ = arrays.lower, arrays.upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = arrays.matrix.indptr
    lp.a_matrix_.index_ = arrays.matrix.indices
    lp.a_matrix_.value_ = arrays.matrix.data
    if whole:
        lp.integrality_ = [
            highspy.HighsVarType.kInteger if one else highspy.HighsVarType.kContinuous
            for one in arrays.whole
        ]
    highs.passModel(lp)
    return highs
