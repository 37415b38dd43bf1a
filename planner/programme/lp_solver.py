"""HiGHS, and what to try where it loses its way.

A warm simplex can end without a verdict, most often where no point is feasible or where costs lie
many powers of ten apart. Then the same programme is solved from nothing, by one method after the
other, until one of them ends in a proof.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import highspy
import numpy as np
from scipy.sparse import csr_array

from planner.programme.margin import Array

TOLERANCE = 1e-9
"""By how much a row, or the price of a column, may be missed, in its own units (all of order 1)."""


def _silently_made() -> highspy.Highs:
    """The first solver of a process: HiGHS 1.16 prints a banner then, before options can be set."""
    try:
        stdout = os.dup(1)
    except OSError:  # it is closed: nobody hears
        return highspy.Highs()
    flush = ctypes.CDLL(None).fflush
    flush(None)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        return highspy.Highs()
    finally:
        flush(None)
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)


SOLVER = f"HiGHS {_silently_made().version()}"

OPTIMAL = highspy.HighsModelStatus.kOptimal
INFEASIBLE = frozenset(
    {highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible}
)
"""What a programme without a point ends in: none of ours is unbounded."""

_OUT_OF_TIME = highspy.HighsModelStatus.kTimeLimit
_DUAL, _PRIMAL, _UNSCALED = 1, 4, 0
_USUAL = {
    "presolve": "off",
    "solver": "simplex",
    "simplex_strategy": _DUAL,
    "simplex_scale_strategy": 2,
}
_COLD: tuple[dict[str, Any], ...] = (
    {"presolve": "on"},
    {"presolve": "on", "solver": "ipm"},
    {"simplex_strategy": _PRIMAL, "simplex_scale_strategy": _UNSCALED},
)
"""The fastest first; an interior point ends in a vertex too, HiGHS crosses over to one."""


def load(matrix: csr_array, lower: Array, upper: Array, most: Array) -> highspy.Highs:
    """A solver of ``lower <= matrix x <= upper, 0 <= x <= most``, all costs 0."""
    highs = highspy.Highs()
    for option, value in {
        "output_flag": False,
        "threads": 1,
        "primal_feasibility_tolerance": TOLERANCE,
        "dual_feasibility_tolerance": TOLERANCE,
        **_USUAL,
    }.items():
        highs.setOptionValue(option, value)
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.col_cost_ = lp.col_lower_ = np.zeros(matrix.shape[1])
    lp.col_upper_ = most
    lp.row_lower_, lp.row_upper_ = lower, upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = matrix.indptr
    lp.a_matrix_.index_ = matrix.indices
    lp.a_matrix_.value_ = matrix.data
    highs.passModel(lp)
    return highs


def solve(
    highs: highspy.Highs, until_s: float, *, still_feasible: bool = False
) -> highspy.HighsModelStatus:
    """Solve warm, and where that ends in no verdict cold; the status.

    Args:
        highs: The solver; its clock counts the seconds that it has worked so far.
        until_s: Where on that clock to stop.
        still_feasible: Since the last optimum costs moved or columns came in, no bounds: it is a
            point to go on from by the primal method.
    """
    highs.setOptionValue("time_limit", until_s)
    highs.setOptionValue("simplex_strategy", _PRIMAL if still_feasible else _DUAL)
    highs.run()
    for options in _COLD:
        if highs.getModelStatus() in {OPTIMAL, _OUT_OF_TIME, *INFEASIBLE}:
            break
        highs.clearSolver()
        for option, value in {**_USUAL, **options}.items():
            highs.setOptionValue(option, value)
        highs.run()
    for option, value in _USUAL.items():
        highs.setOptionValue(option, value)
    status: highspy.HighsModelStatus = highs.getModelStatus()
    return status
