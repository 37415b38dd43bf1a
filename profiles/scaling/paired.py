"""Is one strategy worse than another beyond noise? Tests over the same queries, and Holm's rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]

_SMALLEST = float(np.finfo(float).tiny)  # a p-value may be too small to write, never 0
_STEP = 0.1
_ALONG = np.sinh(np.arange(0.0, 20.0, _STEP))
_STRETCH = np.cosh(np.arange(0.0, 20.0, _STEP))


def worse_p_value(before: Floats, after: Floats) -> float:
    """One-sided p-value of "`after` is not worse than `before`", scores of the same queries.

    Gaffke's test of the mean of bounded values ("Three test statistics for a nonparametric
    one-sided hypothesis on the mean of a nonnegative variable", Math. Methods Statist. 14, 2005):
    the chance that ``sum(E_i * d_i) + E_0 >= 0``, where d are the differences, E are independent
    standard exponentials, and E_0 stands for one more query, at the best that a difference can be.
    For scores of 0 and 1 this is the exact test of McNemar (1947). For scores between, a t-test
    would take a rare large gain that was not drawn for one that does not exist; here a loss shows
    only where it adds up to several whole answers. That the test holds its level for every bounded
    distribution is a conjecture; it is simulated in `benchmarks/shape_of_compute.py`.
    """
    difference = after - before
    changed = difference[difference != 0]
    if not (changed < 0).any():
        return 1.0
    values, counts = np.unique(np.append(changed, 1.0), return_counts=True)
    return min(1.0, max(_chance_above_zero(values, counts.astype(np.float64)), _SMALLEST))


def _chance_above_zero(values: Floats, counts: Floats) -> float:
    """P(sum of `counts` exponentials of each scale > 0); the largest value is 1.

    The inversion integral of ``exp(-sum(counts * log(1 - t * values))) / t``, taken through the
    saddle point, where it does not oscillate; the trapezoidal rule is then exact to rounding.
    """

    def slope(t: float) -> float:
        return float((counts * values / (1 - t * values)).sum()) - 1 / t

    saddle = float(optimize.brentq(slope, 1e-12, 1 - 1e-12))
    bend = float((counts * (values / (1 - saddle * values)) ** 2).sum()) + saddle**-2
    t = saddle + 1j * _ALONG / math.sqrt(bend)
    power = np.log(1 - t[:, None] * values) @ counts + np.log(t)
    heights = np.exp(-power).real * _STRETCH
    return float(heights.sum() - heights[0] / 2) * _STEP / math.sqrt(bend) / math.pi


def worse_p_value_unpaired(before: float, queries_before: int, after: float, queries: int) -> float:
    """The same from two published means: a pooled z-test of two shares.

    It takes the means for independent. Where the same queries stand behind both, which a table of
    means cannot show, it finds less than the paired test would.
    """
    pooled = (before * queries_before + after * queries) / (queries_before + queries)
    error = math.sqrt(pooled * (1 - pooled) * (1 / queries_before + 1 / queries))
    return max(NormalDist().cdf((after - before) / error), _SMALLEST) if error else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: the chance of any false finding stays below the level (Holm 1979)."""
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def fieller(
    over: float,
    under: float,
    *,
    variance_over: float,
    variance_under: float,
    covariance: float,
    quantile: float,
) -> tuple[float, float | None]:
    """Interval of a ratio of two means that are not negative (Fieller 1954).

    Args:
        over: Mean above the line.
        under: Mean below it.
        variance_over: Squared standard error of `over`.
        variance_under: Squared standard error of `under`.
        covariance: Of the two means; they come from the same queries.
        quantile: Of the normal or t distribution, e.g. 1.96.

    Returns:
        Lower and upper end. The upper end is None where `under` cannot be told from 0: then the
        ratio has no bound, and a bootstrap would hide that.
    """
    square = quantile**2
    a = under**2 - square * variance_under
    b = over * under - square * covariance
    c = over**2 - square * variance_over
    root = math.sqrt(max(b * b - a * c, 0.0))
    if a > 0:
        return max((b - root) / a, 0.0), (b + root) / a
    # everything above the positive root; everything at all where `over` may be 0 as well
    return ((b - root) / a if a < 0 < c else 0.0), None
