"""What measured means are worth: cells lend each other strength.

A ranking of noisy averages picks the cells that looked good by luck. Fay and Herriot, "Estimates of
income for small places", JASA 74 (1979): a cell's mean is pulled towards class effect + strategy
effect, the more so the fewer queries it rests on, by ``B = (df - 2) / df * v / (v + tau2)``
(Morris, "Parametric empirical Bayes inference", JASA 78 (1983), for the factor; restricted maximum
likelihood for tau2). Strategy effects are noisy averages too: they are pulled towards each other by
the same rule one level up, as random effects with a variance (Henderson, "Best linear unbiased
estimation and prediction under a selection model", Biometrics 31 (1975)). Strategies that differ by
no more than their noise count as equal; class effects are never pulled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import brentq
from scipy.sparse import csr_array, hstack
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]

SHARED_NOISE = 0.5
"""Share of a cell's sampling variance that may be common to all strategies of its class: they were
measured on the same queries, and an easy draw of queries flatters them all. Comparing strategies
cannot shrink common noise, so this much stays on top of the posterior variance. The pull itself is
reckoned as if all noise were each cell's own: where that is too strong, it is too careful about
exactly the cells that look good."""

MAX_EFFECTIVE_QUERIES = 4.0
"""A graded score counts for at most this many 0-or-1 queries in a bound of one cell; a spread of
zero is not certainty."""

UNSEEN_QUERIES = 10.0
"""How far scores spread is measured as if so many queries more had had scores of 0 or 1."""

_LEAST_VARIANCE = 1e-9
"""Of strategy effects; a standard deviation below 0.003 points is none."""


def score_variances(
    means: Array, sds: Array, queries: Array, strategy_of: NDArray[np.intp]
) -> Array:
    """Variance of one query's score, stabilised: ``phi * p (1 - p)``, p = (n a + 1) / (n + 2).

    ``phi``, the spread relative to a 0-or-1 score of the same mean, is pooled over a strategy's
    classes, with `UNSEEN_QUERIES` more of which phi is 1. A cell where every query went well keeps
    some doubt, and a lucky mean does not bring along a lucky spread.
    """
    smooth = (queries * means + 1) / (queries + 2)
    phi = np.ones(len(means))
    for strategy in np.unique(strategy_of):
        own = strategy_of == strategy
        binary = float(np.sum(queries[own] * means[own] * (1 - means[own])))
        measured = float(np.sum(np.maximum(queries[own] - 1, 0) * sds[own] ** 2))
        if binary > 0 and queries[own].max() > 1:
            unseen = UNSEEN_QUERIES * binary / float(queries[own].sum())
            phi[own] = min((measured + unseen) / (binary + unseen), 1.0)
    return np.asarray(phi * smooth * (1 - smooth))


def left_unknown(pull: Array) -> Array:
    """Error variance of a mean pulled by B towards a known fit, over its sampling variance v.

    Of v a share r is common to the strategies (`SHARED_NOISE`): the fit takes it in whole, so no
    pull lessens it. With the cells' own spread tau2 the error's variance is ``r v + B^2 tau2 +
    (1 - B)^2 (1 - r) v``, which for ``B = v / (v + tau2)`` is ``v (r (1 - (1 - B)^2) + 1 - B)``:
    v without a pull, r v with all of it.
    """
    return np.asarray(SHARED_NOISE * (1 - (1 - pull) ** 2) + (1 - pull))


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
    freedom = len(means) - design.shape[1]
    if freedom < 3:
        return means, np.sqrt(variances)
    tau2 = _between_variance(means, variances, design)
    fit = _effects(means, variances + tau2, design, class_of, strategy_of)
    pull = (freedom - 2) / freedom * variances / (variances + tau2)
    shrunken = pull * fit.means + (1 - pull) * means
    remaining = left_unknown(pull) * variances + pull**2 * fit.variances()
    return np.clip(shrunken, 0.0, 1.0), np.sqrt(remaining)


def _design(class_of: NDArray[np.intp], strategy_of: NDArray[np.intp]) -> csr_array:
    """Class and strategy effects without redundant columns: at most two ones per row.

    One class alone has only a common mean. Cells that hang together by common classes and
    strategies form a part, and in each part one strategy's effect could be moved into those of the
    classes. So the first strategy of a part has none of its own.
    """
    by_class = _indicators(class_of)
    if by_class.shape[1] == 1:
        return by_class
    every = _every_effect(class_of, strategy_of)
    _, part = connected_components(every.T @ every, directed=False)
    classes = by_class.shape[1]
    _, first = np.unique(part[classes:], return_index=True)
    return csr_array(every[:, np.delete(np.arange(every.shape[1]), classes + first)])


def _every_effect(class_of: NDArray[np.intp], strategy_of: NDArray[np.intp]) -> csr_array:
    return csr_array(hstack([_indicators(class_of), _indicators(strategy_of)]))


def _indicators(of: NDArray[np.intp]) -> csr_array:
    """One column per distinct index, a single one in each row."""
    found, place = np.unique(of, return_inverse=True)
    rows = np.arange(len(of))
    return csr_array((np.ones(len(of)), (rows, place)), shape=(len(of), len(found)))


class _Fit:
    """Weighted least squares by its normal equations; `design` has full column rank.

    Effects with a penalty p cost ``p effect^2``: they have the prior variance 1 / p around zero.

    Attributes:
        means: Fitted means.
        loss: Weighted squared residuals and penalties.
    """

    def __init__(
        self, means: Array, variances: Array, design: csr_array, penalty: Array | float = 0.0
    ) -> None:
        weighted = design.multiply(1 / variances[:, None]).tocsr()
        self._design = design
        penalties = np.broadcast_to(penalty, design.shape[1])
        self._factor = cho_factor((design.T @ weighted).toarray() + np.diag(penalties))
        effects = cho_solve(self._factor, weighted.T @ means)
        self.means: Array = design @ effects
        left = float(np.sum((means - self.means) ** 2 / variances))
        self.loss = left + float(penalties @ effects**2)

    def variances(self) -> Array:
        """Variances of the fitted means: a class effect's, a strategy effect's, their covariance.

        A row of the design has at most two ones, so it meets at most four numbers of the inverse.
        """
        design = self._design
        inverse = cho_solve(self._factor, np.eye(design.shape[1]))
        first, last = design.indices[design.indptr[:-1]], design.indices[design.indptr[1:] - 1]
        both = inverse[first, first] + 2 * inverse[first, last] + inverse[last, last]
        return np.asarray(np.where(first == last, inverse[first, first], both))


def _effects(
    means: Array,
    variances: Array,
    design: csr_array,
    class_of: NDArray[np.intp],
    strategy_of: NDArray[np.intp],
) -> _Fit:
    """Class effects and strategy effects, the latter with the variance that they show.

    At that variance their penalised squares equal their degrees of freedom less 2, which pulls as
    much as James and Stein's rule does. Fewer than 3 degrees of freedom are too few to learn it.
    """
    fixed = _Fit(means, variances, design)
    every = _every_effect(class_of, strategy_of)
    strategies = len(np.unique(strategy_of))
    classes = every.shape[1] - strategies
    freedom = design.shape[1] - classes
    if freedom < 3:
        return fixed

    def fit(variance: float) -> _Fit:
        penalty = np.concatenate([np.zeros(classes), np.full(strategies, 1 / variance)])
        return _Fit(means, variances, every, penalty)

    def excess(variance: float) -> float:
        return fit(variance).loss - fixed.loss - (freedom - 2)

    if excess(_LEAST_VARIANCE) <= 0:
        return _Fit(means, variances, _indicators(class_of))
    return fit(1.0 if excess(1.0) > 0 else float(brentq(excess, _LEAST_VARIANCE, 1.0, xtol=1e-9)))


def _between_variance(means: Array, variances: Array, design: csr_array) -> float:
    """The tau2 under which the residuals are most likely (restricted maximum likelihood).

    Patterson and Thompson, "Recovery of inter-block information when block sizes are unequal",
    Biometrika 58 (1971). With precisions ``p = 1 / (v + tau2)``, residuals r and leverages h it is
    where ``sum p^2 r^2 = sum p (1 - h)``. Equal variances give ``sum r^2 / df - v``. After adaptive
    measuring a few cells rest on many queries and most on ten. Paule and Mandel's rule, ``sum p r^2
    = df``, near tau2 = 0 lets all of them say as much, and the luck of the many hides what the few
    show; a squared precision does not. Veroniki et al., "Methods to estimate the between-study
    variance", Research Synthesis Methods 7 (2016), prefer either to DerSimonian and Laird's.
    """

    def excess(tau2: float) -> float:
        fit = _Fit(means, variances + tau2, design)
        precision = 1 / (variances + tau2)
        left = precision * (means - fit.means)
        return float(left @ left - precision @ (1 - precision * fit.variances()))

    if excess(0.0) <= 0:
        return 0.0
    return 1.0 if excess(1.0) > 0 else float(brentq(excess, 0.0, 1.0, xtol=1e-9))
