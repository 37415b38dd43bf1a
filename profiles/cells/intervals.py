"""Confidence intervals of cell means: accuracies whose samples share queries, and skewed costs.

* `wilson`: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
  (1927), with Poisson's limit for at most three successes or failures (Brown, Cai and DasGupta,
  "Interval estimation for a binomial proportion", Statistical Science 16 (2001)), where Wilson's
  own lies too near to what was seen. Covers its level on average over true values.
* `clopper_pearson`: Clopper and Pearson, Biometrika 26 (1934). Never covers less than its level.
* `effective_size`: Korn and Graubard, Survey Methodology 24 (1998): how many independent 0-or-1
  queries would leave the mean as uncertain as it is. Both intervals take it in place of a count.
* `mean_interval`: Hall, "On the removal of skewness by transformation", JRSS B 54 (1992): a t
  interval bent by the third moment, because the cost of a request has a long right tail and a
  symmetric interval then ends too low. It needs three moments and no bootstrap.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from scipy.special import betaincinv, gammaincinv, stdtrit

MOST_GAIN = 16.0
"""A query counts for at most this many 0-or-1 scores, or for its samples where they are more."""

FEW = 3.0
"""Successes or failures up to which Poisson's limit takes the place of Wilson's."""

_SPREAD_DOUBT = 1 / 3


def wilson(mean: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a mean of `count` values in 0..1; (0, 1) without values.

    `count` may be an `effective_size`. Wider than needed for values between 0 and 1 otherwise.
    """
    if count == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(mean * (1 - mean) / count + (z / count / 2) ** 2)
    return (
        max(0.0, min(centre - half, _poisson_limit(mean, count, confidence))),
        min(1.0, max(centre + half, 1 - _poisson_limit(1 - mean, count, confidence))),
    )


def _poisson_limit(mean: float, count: float, confidence: float) -> float:
    """Lower limit of a share of few successes, one-sided at `confidence`; 1 for more of them."""
    if mean * count > FEW + 1e-9:
        return 1.0
    return float(gammaincinv(mean * count, 1 - confidence)) / count if mean > 0 else 0.0


def clopper_pearson(mean: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a mean of `count` values in 0..1 that covers at least `confidence`."""
    if count == 0:
        return 0.0, 1.0
    good, alpha = mean * count, (1 - confidence) / 2
    low = betaincinv(good, count - good + 1, alpha) if mean > 0 else 0.0
    high = betaincinv(good + 1, count - good, 1 - alpha) if mean < 1 else 1.0
    return float(low), float(high)


def effective_size(
    mean: float, sd: float, queries: int, observations: int, confidence: float = 0.95
) -> float:
    """How many independent 0-or-1 queries a cell is worth; `queries` where each gave one of those.

    ``mean (1 - mean) / (sd^2 / queries)``, less what an estimated variance costs in degrees of
    freedom, and with a variance larger by a third over the square root of the failures (or of the
    successes, the fewer): seen in few queries, the spread is that of luck, and as a rule too small.
    At most `MOST_GAIN` per query: a measured spread of zero is not certainty.

    Args:
        mean: Mean score in 0..1.
        sd: Standard deviation of a query's mean score between queries (ddof=1).
        queries: Distinct queries.
        observations: Rows; several of one query are no independent evidence.
        confidence: Of the interval it is for.
    """
    binary = mean * (1 - mean)
    if queries < 2 or binary <= 0:
        return float(queries)
    variance = sd * sd * (queries - 1) / queries
    if variance >= binary * (1 - 1e-9):
        return float(queries)
    most = max(MOST_GAIN, observations / queries)
    gain = min(binary / variance if variance > 0 else math.inf, most)
    rarer = queries * min(mean, 1 - mean)
    gain /= 1 + _SPREAD_DOUBT / math.sqrt(rarer)
    level = (1 + confidence) / 2
    freedom = (NormalDist().inv_cdf(level) / float(stdtrit(queries - 1, level))) ** 2
    return max(1.0, gain * freedom) * queries


def mean_interval(
    mean: float, sd: float, skewness: float | None, count: int, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval for the mean of `count` amounts, never below 0; None for fewer than two.

    Without a skewness it is the t interval.
    """
    if count < 2:
        return None
    t = float(stdtrit(count - 1, (1 + confidence) / 2))
    error = sd / math.sqrt(count)
    low = mean - error * _straightened(t, skewness or 0.0, count)
    high = mean - error * _straightened(-t, skewness or 0.0, count)
    return max(0.0, low), high


def _straightened(t: float, skewness: float, count: int) -> float:
    """The studentised mean at which Hall's monotone cubic reaches t.

    ``g(x) = x + a x^2 + a^2 x^3 / 3 + b`` with ``a = skewness / (3 sqrt(n))`` and
    ``b = skewness / (6 sqrt(n))``, so ``x = (cbrt(1 + 3 a (t - b)) - 1) / a``.
    """
    bend = skewness / (3 * math.sqrt(count))
    if abs(bend) < 1e-9:
        return t
    return (math.cbrt(1 + 3 * bend * (t - bend / 2)) - 1) / bend
