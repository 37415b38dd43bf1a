"""What measured means are worth: shrinkage, per-cell bounds and one margin on the aggregate.

An optimiser that trusts noisy averages picks the cells that looked good by luck. Three tools:

* `shrink` of `profiles.cells.shrinkage`, which cells of all classes and strategies share.
* `Margin`: ``z * |M x + k|``, one second-order cone over the whole allocation, because errors of
  different classes average out.
* `lower_bounds`: Clopper and Pearson (1934) at the effective sample size of Korn and Graubard,
  Survey Methodology 24 (1998), which turns into the plain one for scores that are 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from planner.programme.rows import Rows
from profiles.cells.shrinkage import (
    MAX_EFFECTIVE_QUERIES,
    SHARED_NOISE,
    Array,
    left_unknown,
    score_variances,
    shrink,
)

__all__ = [
    "MAX_EFFECTIVE_QUERIES",
    "SHARED_NOISE",
    "Array",
    "Margin",
    "aggregate_matrix",
    "left_unknown",
    "lower_bounds",
    "score_variances",
    "shrink",
    "z_of",
    "z_of_chosen",
]


_LEAST_ERROR = 1e-300


def z_of(level: float | None) -> float:
    """One-sided standard normal quantile of a confidence; 0 for point estimates."""
    return 0.0 if level is None else NormalDist().inv_cdf(level)


def lower_bounds(means: Array, sds: Array, queries: Array, alpha: Array | float) -> Array:
    """One-sided lower confidence bounds of cell means, each at its level ``1 - alpha``."""
    binary = means * (1 - means)
    spread = np.maximum(sds**2 * np.maximum(queries - 1, 0) / queries, 1e-12)
    usable = (binary > 0) & (queries > 1)
    gain = np.where(usable, np.clip(binary / spread, 1.0, MAX_EFFECTIVE_QUERIES), 1.0)
    effective = queries * gain
    good = means * effective
    bounds = betaincinv(np.maximum(good, 1e-9), effective - good + 1, alpha)
    return np.where(good > 0, bounds, 0.0)


def z_of_chosen(level: float | None, choices: int) -> float:
    """Bonferroni's quantile: the best looking of many choices looks good by luck alone."""
    if level is None:
        return 0.0
    return -NormalDist().inv_cdf(max((1 - level) / choices, _LEAST_ERROR))


@dataclass(frozen=True, slots=True)
class Margin:
    """``z * |M x + k|``: what an aggregate may miss at a confidence.

    The offset k is given anew at every use, so that one matrix and its cuts serve every limit.

    Attributes:
        z: Standard normal quantile; 0 means no margin.
        matrix: M, shape (components, columns).
    """

    z: float
    matrix: Rows

    def value(self, x: Array, offset: Array | float = 0.0) -> float:
        """The margin at an allocation."""
        if self.z == 0:
            return 0.0
        return self.z * float(np.linalg.norm(self.matrix.times(x) + offset))

    def direction(self, x: Array, offset: Array) -> Array | None:
        """Unit vector u whose cut ``z * u (M x + k)`` touches the margin at x; None at its apex."""
        vector = self.matrix.times(x) + offset
        length = float(np.linalg.norm(vector))
        return vector / length if length > 1e-12 else None

    def slope(self, direction: Array) -> Array:
        """``z * u M``: what a share adds to the margin in a direction u."""
        return self.z * self.matrix.combined(direction)

    def of_columns(self, keep: NDArray[np.bool_]) -> Margin:
        """The margin of allocations that use no other columns."""
        return Margin(self.z, self.matrix.of_columns(keep))


def aggregate_matrix(
    values: Array, sds: Array, weights: Array, class_of: NDArray[np.intp], mix_queries: int | None
) -> Rows:
    """Rows whose length is the standard error of ``sum_d w_d sum_s x_ds value_ds``.

    One row per class, ``w_d sum_s x_ds sd_ds``: strategies of a class share their queries, so their
    errors are taken to be perfectly correlated, which can only overstate (and stays convex). Where
    the class mix was itself counted from `mix_queries` queries, one more row per class,
    ``sqrt(w_d / n) (v_d - sum_e w_e v_e)``, the multinomial variance of that mix. The last row is
    free for a constant.
    """
    classes, columns = len(weights), np.arange(len(class_of))
    share = weights[class_of]
    if mix_queries is None:
        return Rows.of_entries((classes + 1, len(columns)), class_of, columns, share * sds)
    root = np.sqrt(weights / mix_queries)
    return Rows(
        shape=(2 * classes + 1, len(columns)),
        component=np.concatenate([class_of, class_of + classes]),
        column=np.concatenate([columns, columns]),
        entry=np.concatenate([share * sds, root[class_of] * values]),
        left=np.concatenate([np.zeros(classes), root, [0.0]])[:, None],
        right=(share * values)[None, :],
    )
