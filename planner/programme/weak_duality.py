"""What no allocation can beat, by any prices of the rows: weak duality.

For every y and every x, ``c x = y A x + (c - y A) x``. The first term is at least its least over
the rows' bounds, the second its least over the shares of each class, which sum to 1, and over the
other columns. So a solve that is stopped early, with whatever duals it has, still bounds the
objective from below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from planner.programme.lp_solver import TOLERANCE
from planner.programme.margin import Array


def usable(duals: Array, rows: Array) -> Array:
    """The duals, 0 where a row has no bound on the side that its dual needs.

    Args:
        duals: Per row, positive for lower bounds.
        rows: Lower and upper bound per row, shape (rows, 2).
    """
    met = np.where(duals > 0, rows[:, 0], rows[:, 1])
    return np.where(np.isfinite(met) & np.isfinite(duals), duals, 0.0)


def least_objective(
    duals: Array,
    rows: Array,
    prices: Array,
    *,
    class_of: NDArray[np.integer],
    least: Array,
    most: Array,
) -> float | None:
    """The bound, None where these duals prove nothing.

    Args:
        duals: As `usable` gives them, shape (rows,).
        rows: Lower and upper bound per row, shape (rows, 2).
        prices: ``c - y A`` per column, shares first.
        class_of: Class index per share.
        least: Smallest value of every share.
        most: Largest value of every column; shares of at most 0 stay out, others may be 1.
    """
    shares, others = prices[: len(class_of)], prices[len(class_of) :]
    is_open = most[: len(class_of)] > 0
    best = np.full(int(class_of.max()) + 1, np.inf)
    np.minimum.at(best, class_of[is_open], shares[is_open])
    used, lowering = duals != 0, others < -TOLERANCE
    met = np.where(duals > 0, rows[:, 0], rows[:, 1])
    bound = (
        float(duals[used] @ met[used])
        + float(least @ shares)
        + float((1 - np.bincount(class_of, least)) @ best)
        + float(others[lowering] @ most[len(class_of) :][lowering])
    )
    return bound if np.isfinite(bound) else None
