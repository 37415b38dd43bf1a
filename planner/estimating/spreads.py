"""How far single requests stray from the mean of their cell, in dollars or in what they use.

A cell looks cheap and steady at once where its dear requests are not in the sample, and then an
optimiser takes it and trusts it. All classes of a strategy tell how far its requests stray, as a
part of their mean: a cell counts as no steadier than they do together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from planner.programme.margin import Array


def spreads_of(
    mean: Array, measured: Array, queries: Array, strategy_of: NDArray[np.intp]
) -> Array:
    """The larger of a cell's own spread and its mean times the relative spread of its strategy.

    The relative spread is the root of the mean square over the strategy's queries. A spread that
    was not measured is taken as the mean.

    Args:
        mean: Mean of a request per cell, nan where unknown.
        measured: Standard deviation of it, nan where not measured.
        queries: Queries behind them.
        strategy_of: Strategy index per cell.
    """
    known = np.isfinite(measured) & (mean > 0) & (queries > 0)
    relative = np.divide(measured, mean, out=np.zeros_like(mean), where=known)
    weight = np.where(known, queries, 0.0)
    total = np.bincount(strategy_of, weight)
    squares = np.bincount(strategy_of, weight * relative**2)
    together = np.sqrt(np.divide(squares, total, out=np.zeros_like(total), where=total > 0))
    own = np.where(np.isnan(measured), mean, measured)
    return np.asarray(np.maximum(own, mean * together[strategy_of]))
