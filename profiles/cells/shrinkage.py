"""What measured means are worth: cells lend each other strength.

A ranking of noisy averages picks the cells that looked good by luck. Fay and Herriot, "Estimates
of income for small places", JASA 74 (1979): a cell's mean is pulled towards class effect +
strategy effect, the more so the fewer queries it rests on, by ``B = (df - 2) / df * v / (v +
tau2)`` (Morris, "Parametric empirical Bayes inference", JASA 78 (1983), for the factor; moments
for tau2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import csr_array

Array = NDArray[np.float64]

SHARED_NOISE = 0.5
"""Share of a cell's sampling variance that may be common to all strategies of its class: they were
measured on the same queries, and an easy draw of queries flatters them all. Comparing strategies
cannot shrink common noise, so this much stays on top of the posterior variance. The pull itself is
reckoned as if all noise were each cell's own: where that is too strong, it is too careful about
exactly the cells that look good."""

MAX_EFFECTIVE_QUERIES = 4.0
"""A graded score counts for at most this many 0-or-1 queries; a spread of zero is not certainty."""


def score_variances(
    means: Array, sds: Array, queries: Array, strategy_of: NDArray[np.intp]
) -> Array:
    """Variance of one query's score, stabilised: ``phi * p (1 - p)``, p = (n a + 1) / (n + 2).

    ``phi``, the spread relative to a 0-or-1 score of the same mean, is pooled over a strategy's
    classes. A cell where every query went well keeps some doubt, and a lucky mean does not bring
    along a lucky spread.
    """
    smooth = (queries * means + 1) / (queries + 2)
    phi = np.ones(len(means))
    for strategy in np.unique(strategy_of):
        own = strategy_of == strategy
        binary = float(np.sum(queries[own] * means[own] * (1 - means[own])))
        measured = float(np.sum(np.maximum(queries[own] - 1, 0) * sds[own] ** 2))
        if binary > 0 and queries[own].max() > 1:
            phi[own] = np.clip(measured / binary, 1 / MAX_EFFECTIVE_QUERIES, 1.0)
    return np.asarray(phi * smooth * (1 - smooth))


def shrink(
    means: Array, variances: Array, class_of: NDArray[np.intp], strategy_of: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Empirical-Bayes means of all cells and the standard deviation of what remains unknown.

    Args:
        means: Measured mean per cell.
        variances: Sampling variance of each mean (already divided by its queries).
        class_of: Class index per cell.
        strategy_of: Strategy index per cell.

    Returns:
        Shrunken means in 0..1 and their posterior standard deviations, common noise included.
    """
    design = _design(class_of, strategy_of)
    freedom = len(means) - int(np.linalg.matrix_rank((design.T @ design).toarray()))
    if freedom < 3:
        return means, np.sqrt(variances)
    tau2 = _between_variance(means, variances, design, freedom)
    fitted, fitted_variance = _fit(means, variances + tau2, design)
    pull = (freedom - 2) / freedom * variances / (variances + tau2)
    shrunken = pull * fitted + (1 - pull) * means
    remaining = (1 - pull) * variances + pull**2 * fitted_variance
    return np.clip(shrunken, 0.0, 1.0), np.sqrt(SHARED_NOISE * variances + remaining)


def _design(class_of: NDArray[np.intp], strategy_of: NDArray[np.intp]) -> csr_array:
    """Class and strategy effects; one class alone has only a common mean."""
    if len(np.unique(class_of)) == 1:
        return csr_array(np.ones((len(class_of), 1)))
    by_class = np.equal.outer(class_of, np.unique(class_of))
    by_strategy = np.equal.outer(strategy_of, np.unique(strategy_of)[1:])
    return csr_array(np.hstack([by_class, by_strategy]).astype(np.float64))


def _fit(means: Array, variances: Array, design: csr_array) -> tuple[Array, Array]:
    """Weighted least squares: fitted means and their variances."""
    weighted = design.multiply(1 / variances[:, None]).tocsr()
    inverse = np.linalg.pinv((design.T @ weighted).toarray(), hermitian=True)
    spread = design @ inverse
    fitted = spread @ (weighted.T @ means)
    return fitted, np.asarray(design.multiply(spread).sum(axis=1)).ravel()


def _between_variance(means: Array, variances: Array, design: csr_array, freedom: int) -> float:
    """The tau2 at which weighted squared residuals equal their degrees of freedom."""

    def excess(tau2: float) -> float:
        fitted, _ = _fit(means, variances + tau2, design)
        return float(np.sum((means - fitted) ** 2 / (variances + tau2))) - freedom

    if excess(0.0) <= 0:
        return 0.0
    return 1.0 if excess(1.0) > 0 else float(brentq(excess, 0.0, 1.0, xtol=1e-9))
