"""HiGHS with whole numbers: one thread, a fixed seed, no absolute gap."""

from __future__ import annotations

from collections.abc import Sequence

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from planner.programme.lp_solver import TOLERANCE
from planner.programme.margin import Array


def load(
    rows: Sequence[tuple[csr_array, Array, Array]],
    costs: Array,
    most: Array,
    whole: NDArray[np.bool_],
) -> highspy.Highs:
    """A solver of ``lower <= body x <= upper, 0 <= x <= most``.

    Args:
        rows: Bodies with their bounds; columns that a body does not reach are 0 in it.
        costs: Of the leading columns; the others cost nothing.
        most: Upper bound per column.
        whole: Which columns are whole numbers.
    """
    highs = highspy.Highs()
    for option, value in {
        "output_flag": False,
        "threads": 1,
        "random_seed": 0,
        "mip_abs_gap": 0.0,
        "mip_feasibility_tolerance": TOLERANCE,
        "primal_feasibility_tolerance": TOLERANCE,
    }.items():
        highs.setOptionValue(option, value)
    size = len(whole)
    wide = [csr_array((b.data, b.indices, b.indptr), shape=(b.shape[0], size)) for b, _, _ in rows]
    matrix = csr_array(vstack(wide))
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.col_cost_ = np.append(costs, np.zeros(size - len(costs)))
    lp.col_lower_, lp.col_upper_ = np.zeros(size), most
    lp.row_lower_ = np.concatenate([lower for _, lower, _ in rows])
    lp.row_upper_ = np.concatenate([upper for _, _, upper in rows])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = matrix.indptr
    lp.a_matrix_.index_ = matrix.indices
    lp.a_matrix_.value_ = matrix.data
    kinds = highspy.HighsVarType
    lp.integrality_ = [kinds.kInteger if one else kinds.kContinuous for one in whole]
    highs.passModel(lp)
    return highs
