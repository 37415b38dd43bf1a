"""What is known of every group: its class mix, and its mean score in every cell.

A group's cell rests on few queries, so it borrows: strategies differ within a group about as they
differ in its class. Its mean is pulled towards ``class's cell + the group's own level there``, by
the rule of `profiles.cells.shrinkage` (Fay and Herriot 1979, Morris 1983). The level itself, by how
much a group lies above or below its class over all strategies, is never pulled towards the other
groups: a group that is treated worse than its class must not look like the class because others do.
Its noise is that of the group's own queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from planner.programme.margin import Array, left_unknown, score_variances, z_of
from profiles.cells.by_group import GroupTable
from profiles.profile import Profile

if TYPE_CHECKING:
    from planner.estimating.estimates import Estimates

UNKNOWN_VARIANCE = 1 / 12
"""Of a mean score about which nothing is known: uniform on 0..1."""


@dataclass(frozen=True)
class GroupEstimate:
    """One group. Arrays have one entry per column of the estimates.

    Attributes:
        value: The group.
        queries: Distinct queries behind its class mix.
        share: Its share of traffic, 0..1.
        mix: Share of each class within it, shape (classes,).
        accuracy: Planned mean score.
        careful: What floors start from, never above `accuracy`; see `Estimates.accuracy_careful`.
        bold: The same from above, what caps on gaps start from.
        sd: Standard error of the mean score.
        measured: Queries of the group behind each cell; 0 where the class's cell stands in.
    """

    value: str
    queries: int
    share: float
    mix: Array
    accuracy: Array
    careful: Array
    bold: Array
    sd: Array
    measured: Array


def group_estimates(e: Estimates, profile: Profile, table: GroupTable) -> tuple[GroupEstimate, ...]:
    """Every group of one column, in the order of its values.

    The share of a class within a group follows the planned class mix: where the spec gives another
    mix than the profile's, the groups within each class keep their shares.
    """
    counts = np.array(
        [[table.queries.get((value, name), 0) for name in e.classes] for value in table.values],
        dtype=np.float64,
    )
    seen = dict(zip(profile.classes, profile.class_queries, strict=False))
    in_class = np.maximum([seen.get(name, 0) for name in e.classes], counts.sum(axis=0))
    weighted = counts / np.maximum(in_class, 1.0) * e.weights
    shares = weighted.sum(axis=1)
    means, sds, queries = _seen(e, table)
    accuracy, sd = _accuracies(e, means, sds, queries)
    centre = _centre(e, accuracy, queries)
    careful, bold = np.minimum(accuracy, centre), np.maximum(accuracy, centre)
    return tuple(
        GroupEstimate(
            value=value,
            queries=int(counts[g].sum()),
            share=float(shares[g]),
            mix=weighted[g] / shares[g] if shares[g] > 0 else counts[g] / counts[g].sum(),
            accuracy=accuracy[g],
            careful=careful[g],
            bold=bold[g],
            sd=sd[g],
            measured=queries[g],
        )
        for g, value in enumerate(table.values)
    )


def _centre(e: Estimates, accuracy: Array, queries: Array) -> Array:
    """Wilson's centre of the whole group, spread over its cells.

    ``(n a + z^2 / 2) / (n + z^2)`` with the n queries that the group has under the strategy, in all
    classes: weighted by shares that sum to 1 it is the centre of the group's mean. With the queries
    of each cell it would count the doubt of a small sample once per class.
    """
    z2 = z_of(e.level) ** 2
    total = [np.bincount(e.strategy_of, row, len(e.strategies)) for row in queries]
    own = np.stack(total)[:, e.strategy_of]
    centre = (own * accuracy + z2 / 2) / np.maximum(own + z2, 1e-12)
    return np.where(own + z2 > 0, centre, accuracy)


def _seen(e: Estimates, table: GroupTable) -> tuple[Array, Array, Array]:
    """Measured means, spreads and queries, shape (groups, columns); nan and 0 where unmeasured."""
    shape = (len(table.values), e.columns)
    means, sds, queries = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    for g, value in enumerate(table.values):
        for j, cell in enumerate(e.cells):
            own = table.cells.get((value, cell.class_name, cell.strategy))
            if own is not None:
                means[g, j], sds[g, j] = own.accuracy, own.accuracy_sd
                queries[g, j] = own.queries
    return means, sds, queries


def _accuracies(e: Estimates, means: Array, sds: Array, queries: Array) -> tuple[Array, Array]:
    """Planned means and standard errors; a group that is all of its class has the class's own."""
    known = queries > 0
    row, column = np.nonzero(known)
    accuracy = np.broadcast_to(e.accuracy, means.shape).copy()
    errors = np.full(means.shape, np.sqrt(UNKNOWN_VARIANCE))
    variances = np.zeros(means.shape)
    variances[known] = (
        score_variances(means[known], sds[known], queries[known], e.strategy_of[column])
        / queries[known]
    )
    whole = known & (queries >= np.array([cell.queries for cell in e.cells]))
    if e.level is None:
        accuracy[known], errors[known] = means[known], np.sqrt(variances[known])
    else:
        pair_of = row * len(e.classes) + e.class_of[column]
        pairs = len(means) * len(e.classes)
        pulled = _shrunken(means[known], variances[known], pair_of, column, e=e, pairs=pairs)
        accuracy[known], errors[known] = pulled.means, np.sqrt(pulled.variances)
        _fill(accuracy, errors, known, pulled, e)
    errors[whole] = np.broadcast_to(e.accuracy_sd, means.shape)[whole]
    accuracy[whole] = np.broadcast_to(e.accuracy, means.shape)[whole]
    return accuracy, errors


@dataclass(frozen=True)
class _Pulled:
    """Shrunken cells, and per (group, class) pair its level above the class and its variance."""

    means: Array
    variances: Array
    levels: Array
    level_variances: Array


def _shrunken(
    means: Array,
    variances: Array,
    pair_of: NDArray[np.intp],
    column: NDArray[np.intp],
    *,
    e: Estimates,
    pairs: int,
) -> _Pulled:
    """Cells around the class's cells, raised or lowered by the level of their pair.

    The level takes in what the noise of its cells has in common, see `left_unknown`.
    """
    target, target_variance = e.accuracy[column], e.accuracy_sd[column] ** 2
    apart = means - target
    variances = np.maximum(variances, 1e-12)
    freedom = len(means) - len(np.unique(pair_of))

    def levels(tau2: float) -> tuple[Array, Array]:
        weights = 1 / (variances + tau2)
        total = np.bincount(pair_of, weights, pairs)
        summed = np.bincount(pair_of, weights * apart, pairs)
        safe = np.where(total > 0, total, 1.0)
        return np.where(total > 0, summed / safe, 0.0), np.where(total > 0, 1 / safe, np.inf)

    def excess(tau2: float) -> float:
        left = apart - levels(tau2)[0][pair_of]
        return float(np.sum(left**2 / (variances + tau2))) - freedom

    noise = np.zeros(pairs)
    np.maximum.at(noise, pair_of, variances)
    if freedom < 3:
        level, _ = levels(0.0)
        return _Pulled(means, variances, level, np.where(noise > 0, noise, np.inf))
    tau2 = 0.0 if excess(0.0) <= 0 else 1.0 if excess(1.0) > 0 else brentq(excess, 0.0, 1.0)
    level, level_variance = levels(float(tau2))
    pull = (freedom - 2) / freedom * variances / (variances + tau2)
    around = target + level[pair_of]
    left = left_unknown(pull) * variances + pull**2 * (level_variance[pair_of] + target_variance)
    return _Pulled(
        np.clip(pull * around + (1 - pull) * means, 0.0, 1.0),
        left,
        level,
        np.where(noise > 0, noise + tau2, np.inf),
    )


def _fill(
    accuracy: Array, errors: Array, known: NDArray[np.bool_], pulled: _Pulled, e: Estimates
) -> None:
    """Cells that a group was not measured in: the class's cell at the group's level there."""
    row, column = np.nonzero(~known)
    pair_of = row * len(e.classes) + e.class_of[column]
    variance = pulled.level_variances[pair_of] + e.accuracy_sd[column] ** 2
    accuracy[row, column] = np.clip(e.accuracy[column] + pulled.levels[pair_of], 0.0, 1.0)
    errors[row, column] = np.sqrt(np.minimum(variance, UNKNOWN_VARIANCE))
