"""How many strategies compete: among so many lucky choices a plan can pick.

A plan takes the strategies with the most value, accuracy less price times cost, at some price.
Strategies that are clearly worse at every price are never picked, by luck or otherwise; those that
the data cannot tell from the best one are. Counting the latter is a subset selection (Gupta, "On
some multiple decision (selection and ranking) rules", Technometrics 7 (1965)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from planner.frontiers.hulls import exact_frontier
from planner.programme.margin import Array, z_of_chosen

if TYPE_CHECKING:
    from planner.estimating.estimates import Estimates

NEAR = 2.0
"""Standard errors of a difference within which a strategy counts as a choice for a class floor.

A floor asks whether a strategy is above it, not which one is best: what is truly further behind
passes by luck far less often than ``alpha``, and hardly adds to the error of all. In the worst
simulated worlds 7.3 % of plans broke a floor with 1.645, and 5.4 +- 1.3 % with 2 (decision 0017).
"""


def choices_of(e: Estimates) -> int:
    """Strategies that compete at the price of accuracy where most of them do, less one.

    At such a price two neighbours on the frontier of single strategies are equally good, and a plan
    between them takes both: that is no choice. A strategy competes where its value lies within z
    standard errors of the best one, errors of two strategies counted as independent. Strategies of
    which some class or some cost was not measured always compete.
    """
    count, share = len(e.strategies), e.traffic_share
    accuracy, cost, variance = (
        np.bincount(e.strategy_of, values, count)
        for values in (share * e.accuracy, share * e.cost_usd, (share * e.accuracy_sd) ** 2)
    )
    classes = np.bincount(e.strategy_of, minlength=count)
    known = np.isfinite(cost) & (classes == len(e.classes))
    if not known.any():
        return count
    z = z_of_chosen(e.level, count)
    most = _competing(accuracy[known], cost[known], variance[known], z)
    return max(most - 1, 1) + int(np.count_nonzero(~known))


def choices_by_class(e: Estimates) -> NDArray[np.intp]:
    """The same within each class, shape (classes,), for floors that are held class by class.

    There one class's strategies and their prices count, each within `NEAR` standard errors of the
    best one. A strategy whose cost is unknown always competes.
    """
    found = np.ones(len(e.classes), dtype=np.intp)
    for d in range(len(found)):
        own = e.class_of == d
        at = np.flatnonzero(own & np.isfinite(e.cost_usd))
        unknown = int(np.count_nonzero(own)) - len(at)
        if len(at):
            most = _competing(e.accuracy[at], e.cost_usd[at], e.accuracy_sd[at] ** 2, NEAR)
            found[d] = max(most - 1, 1) + unknown
        else:
            found[d] = max(unknown, 1)
    return found


def _competing(accuracy: Array, cost: Array, variance: Array, z: float) -> int:
    """The most that compete at any price.

    The distance to the best value is convex in the price and bends where the best one changes, so
    it is least there, or where cost does not count.
    """
    prices = np.append(exact_frontier(cost[None], accuracy[None]).slopes, 0.0)
    value = accuracy - prices[:, None] * cost
    best = value.argmax(axis=1)
    behind = value.max(axis=1)[:, None] - value
    near = behind <= z * np.sqrt(variance[best][:, None] + variance)
    return int(near.sum(axis=1).max())
