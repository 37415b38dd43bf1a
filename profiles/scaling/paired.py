"""Is one strategy worse than another beyond noise? Tests over the same queries, and Holm's rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

FEWEST_DIFFERENCES = 10


def worse_p_value(before: Floats, after: Floats) -> float:
    """One-sided p-value of "`after` is not worse than `before`", scores of the same queries.

    Outcomes of 0 and 1 are compared by the exact test of McNemar (1947): under the null a query
    that changed is as likely to have improved as to have become worse. Scores between (means of
    samples, expectations) are compared by a paired t-test, which needs at least
    `FEWEST_DIFFERENCES` queries that differ; with fewer nothing is shown and the value is 1.
    """
    difference = after - before
    changed = difference[difference != 0]
    if np.isin(before, (0.0, 1.0)).all() and np.isin(after, (0.0, 1.0)).all():
        worse = int((changed < 0).sum())
        return float(stats.binom.sf(worse - 1, changed.size, 0.5)) if changed.size else 1.0
    if changed.size < FEWEST_DIFFERENCES:
        return 1.0
    error = float(difference.std(ddof=1)) / math.sqrt(difference.size)
    if error == 0:
        return 0.0 if difference[0] < 0 else 1.0
    return float(stats.t.cdf(float(difference.mean()) / error, difference.size - 1))


def worse_p_value_unpaired(before: float, queries_before: int, after: float, queries: int) -> float:
    """The same from two published means: a pooled z-test of two shares.

    It takes the means for independent. Where the same queries stand behind both, which a table of
    means cannot show, it finds less than the paired test would.
    """
    pooled = (before * queries_before + after * queries) / (queries_before + queries)
    error = math.sqrt(pooled * (1 - pooled) * (1 / queries_before + 1 / queries))
    return NormalDist().cdf((after - before) / error) if error else 1.0


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
