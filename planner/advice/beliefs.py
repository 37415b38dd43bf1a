"""What is believed about every (class, strategy) cell, and what more queries would change.

A mean with posterior variance P becomes, after k more queries of variance q each, a mean with
variance ``P' = 1 / (1 / P + k / q)``; seen from today, the new mean lies around today's with
variance ``P - P'`` (Raiffa and Schlaifer, "Applied statistical decision theory", 1961, preposterior
analysis). A cell that was never measured starts from its class and strategy effects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.estimating.estimates import Estimates, floor_alphas
from planner.programme.margin import (
    SHARED_NOISE,
    Array,
    left_unknown,
    lower_bounds,
    score_variances,
)
from planner.spec import Spec

UNKNOWN_VARIANCE = 1 / 12
"""Of a mean score about which nothing is known: uniform on 0..1."""


@dataclass(frozen=True)
class Outlook:
    """Cells after more queries, as expected today. Every array has the shape of the question.

    Attributes:
        accuracy_sd: Standard error that certificates will use.
        careful: Mean that floors will start from.
        seen: Measured mean, for `Beliefs.floor`.
        queries: Queries behind it.
        cost_sd: Standard error of the mean cost.
        slow_sd: Standard error of the share of slow requests.
        accuracy_swing: Standard deviation of the move of the estimated accuracy.
        cost_swing: The same of the mean cost.
        slow_swing: The same of the share of slow requests.
    """

    accuracy_sd: Array
    careful: Array
    seen: Array
    queries: Array
    cost_sd: Array
    slow_sd: Array
    accuracy_swing: Array
    cost_swing: Array
    slow_swing: Array


@dataclass(frozen=True)
class Beliefs:
    """One entry per cell: the measured columns of the estimates, then the cells never measured.

    Attributes:
        class_of: Class index per entry.
        strategy_of: Strategy index per entry.
        measured: How many leading entries were measured.
        queries: Queries per entry; 0 where never measured.
        latencies: Latencies per entry.
        accuracy: Expected mean score.
        seen: Measured mean score; the expected one where never measured.
        score_variance: Of one query's score.
        doubt: Posterior variance of the mean score.
        share: The class's share of traffic.
        covered: Traffic's share of the other classes in which the strategy was measured.
        covered_noise: Sum of ``share^2 / queries`` over those.
        cost_usd: Expected dollars per request, nan where unknown.
        cost_variance: Of one request's dollars.
        slow: Careful share of requests beyond the latency limit, as the plan counts it; nan where
            unknown or unasked.
        z2: Square of the quantile of accuracy's promises; 0 for point estimates.
        floor_alpha: Level of a class floor's bound, by entry; 1 for point estimates.
    """

    class_of: NDArray[np.intp]
    strategy_of: NDArray[np.intp]
    measured: int
    queries: Array
    latencies: Array
    accuracy: Array
    seen: Array
    score_variance: Array
    doubt: Array
    share: Array
    covered: Array
    covered_noise: Array
    cost_usd: Array
    cost_variance: Array
    slow: Array
    z2: float
    floor_alpha: Array

    def after(self, extra: Array | float) -> Outlook:
        """Every entry after `extra` more queries of it; shape (entries,) or broadcast to it."""
        total = np.maximum(self.queries + extra, 1e-9)
        left = 1 / (1 / self.doubt + extra / self.score_variance)
        seen = (self.queries * self.seen + extra * self.accuracy) / total
        n = (self.covered + self.share) ** 2 / (self.covered_noise + self.share**2 / total)
        careful = (n * self.accuracy + self.z2 / 2) / np.maximum(n + self.z2, 1e-12)
        cost_doubt, cost_left = _plain(self.cost_variance, self.queries, extra)
        slow_doubt, slow_left = _plain(self.slow * (1 - self.slow), self.latencies, extra)
        return Outlook(
            accuracy_sd=_certified(left, self.score_variance / total),
            careful=np.minimum(self.accuracy, careful),
            seen=seen,
            queries=total,
            cost_sd=np.sqrt(cost_left),
            slow_sd=np.sqrt(slow_left),
            accuracy_swing=np.sqrt(np.maximum(self.doubt - left, 0.0)),
            cost_swing=np.sqrt(cost_doubt - cost_left),
            slow_swing=np.sqrt(slow_doubt - slow_left),
        )

    def floor(self, outlook: Outlook) -> Array:
        """Lower bound of every entry, for floors held class by class."""
        if (self.floor_alpha == 1.0).all():
            return outlook.seen
        spread = np.sqrt(self.score_variance)
        return lower_bounds(outlook.seen, spread, outlook.queries, self.floor_alpha)


def _certified(doubt: Array, sampling: Array) -> Array:
    """Standard error that certificates use, of posterior and sampling variances.

    `left_unknown` after a pull of ``B = 1 - doubt / sampling``: what the queries have in common is
    not lessened by it.
    """
    kept = np.minimum(doubt / sampling, 1.0)
    return np.sqrt(np.maximum(sampling * left_unknown(1 - kept), doubt))


def _doubt(certified: Array, sampling: Array) -> Array:
    """The posterior variance behind the square of a certificate's standard error."""
    r = SHARED_NOISE
    beyond = np.clip(certified / sampling - r, 0.0, 1 - r)
    kept = (1 - np.sqrt(np.maximum(1 - 4 * r * beyond, 0.0))) / (2 * r)
    return np.maximum(np.where(certified < sampling, kept * sampling, certified), 1e-15)


def _plain(variance: Array, count: Array, extra: Array | float) -> tuple[Array, Array]:
    """Variance of a plain mean now and after more; one outcome's where none is known."""
    now = variance / np.maximum(count, 1.0)
    return now, np.minimum(now, variance / np.maximum(count + extra, 1.0))


def beliefs(estimates: Estimates, spec: Spec, latency_row: int | None) -> Beliefs:
    """Beliefs behind a planner's estimates.

    Args:
        estimates: Numbers per measured cell.
        spec: For the number of class floors.
        latency_row: Grid limit of the latency row, None without one.
    """
    e = estimates
    seen = np.array([cell.accuracy for cell in e.cells])
    queries = np.array([float(cell.queries) for cell in e.cells])
    spread = np.array([cell.accuracy_sd for cell in e.cells])
    variance = score_variances(seen, spread, queries, e.strategy_of)
    doubt = _doubt(e.accuracy_sd**2, variance / queries)
    slow = np.full(e.columns, np.nan)
    if latency_row is not None:
        slow = e.exceedance_careful[latency_row]
    missing_class, missing_strategy = _missing(e)
    blank = np.zeros(len(missing_class))
    mean, mean_variance = _additive(e, seen, missing_class, missing_strategy)
    log_cost, _ = _additive(
        e, np.log(np.maximum(e.cost_usd, 1e-12)), missing_class, missing_strategy
    )
    slow_there, _ = _additive(e, slow, missing_class, missing_strategy)
    mean, cost = np.clip(mean, 0.01, 0.99), np.exp(log_cost)
    class_of = np.concatenate([e.class_of, missing_class])
    strategy_of = np.concatenate([e.strategy_of, missing_strategy])
    covered, covered_noise = (
        np.bincount(e.strategy_of, values, len(e.strategies))[strategy_of]
        - np.concatenate([values, blank])
        for values in (e.traffic_share, e.traffic_share**2 / queries)
    )
    return Beliefs(
        class_of=class_of,
        strategy_of=strategy_of,
        measured=e.columns,
        queries=np.concatenate([queries, blank]),
        latencies=np.concatenate(
            [np.array([float(cell.latency_queries) for cell in e.cells]), blank]
        ),
        accuracy=np.concatenate([e.accuracy, mean]),
        seen=np.concatenate([seen, mean]),
        score_variance=np.concatenate([variance, mean * (1 - mean)]),
        doubt=np.concatenate([doubt, np.full(len(mean), mean_variance)]),
        share=e.weights[class_of],
        covered=covered,
        covered_noise=covered_noise,
        cost_usd=np.concatenate([e.cost_usd, cost]),
        cost_variance=np.concatenate([e.cost_spread**2, cost**2]),
        slow=np.concatenate([slow, np.clip(slow_there, 0.01, 0.99)]),
        z2=e.accuracy_z**2,
        floor_alpha=floor_alphas(e, spec)[class_of],
    )


def _missing(e: Estimates) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Class and strategy indices of the pairs that were never measured."""
    there = np.zeros((len(e.classes), len(e.strategies)), dtype=bool)
    there[e.class_of, e.strategy_of] = True
    rows, columns = np.nonzero(~there)
    return rows.astype(np.intp), columns.astype(np.intp)


def _additive(
    e: Estimates, values: Array, classes: NDArray[np.intp], strategies: NDArray[np.intp]
) -> tuple[Array, float]:
    """Class effect plus strategy effect at other cells, and how far cells lie from such a sum."""
    known = np.isfinite(values)
    if not len(classes) or not known.any():
        return np.full(len(classes), np.nan), UNKNOWN_VARIANCE

    def design(d: NDArray[np.intp], s: NDArray[np.intp]) -> Array:
        by_class = np.equal.outer(d, np.arange(len(e.classes)))
        by_strategy = np.equal.outer(s, np.arange(len(e.strategies)))
        return np.hstack([by_class, by_strategy]).astype(np.float64)

    measured = design(e.class_of, e.strategy_of)[known]
    effects, _, rank, _ = np.linalg.lstsq(measured, values[known], rcond=None)
    freedom = int(known.sum()) - int(rank)
    residual = float(np.sum((values[known] - measured @ effects) ** 2))
    variance = residual / freedom if freedom > 0 else UNKNOWN_VARIANCE
    return design(classes, strategies) @ effects, min(variance, UNKNOWN_VARIANCE)
