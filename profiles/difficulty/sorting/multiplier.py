"""Prices of a dollar: the one at which per-query choices keep a budget, and some for a frontier."""

from __future__ import annotations

import math

import numpy as np

from profiles.difficulty.grid import STEPS_PER_POINT, Floats, as_served, on_grid
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.classes import Indices
from profiles.errors import InputError

_RELATIVE_ERROR = 1e-12


def multiplier_for_budget(
    predictions: Predictions, budget: float, mean_costs: Floats | None = None
) -> float:
    """The lowest multiplier whose choices cost at most the budget, above it by 1e-12 of itself.

    Spend falls as the multiplier rises, in steps. The dual of the linear programme that gives every
    query shares of strategies under the budget, min over the multiplier of
    multiplier * budget + mean over queries of max over s of (score - multiplier * cost),
    is convex and has its minimum at this step, so bisection finds the programme's price. Queries
    that choose alike at both ends choose so in between and are settled.

    Args:
        predictions: Of n queries.
        budget: Dollars per request.
        mean_costs: float64[S]; to be given where `predictions` has no costs.

    Returns:
        Points of score per dollar. Above 0 even where the budget binds nothing: then too low to
        change any choice but that between equal scores, where it takes the cheaper.

    Raises:
        InputError: No costs, or the cheapest choice of every query costs more than the budget.
    """
    steps = on_grid(predictions.scores)
    costs = dollars(predictions, mean_costs)
    least = float(costs.min(axis=1).mean())
    if least > budget:
        raise InputError(
            "no choice of strategies keeps this budget",
            expected=f"at least {least:.6g} USD per request, the cheapest strategy of every query",
            got=f"{budget:.6g} USD per request",
        )
    left = budget * len(steps)
    low, high = _ends(steps, costs)
    at_low, spent = choices_at(steps, costs, low)
    if spent.sum() <= left:
        return low
    at_high, spent = choices_at(steps, costs, high)
    while high > low * (1 + _RELATIVE_ERROR):
        unsettled = at_low != at_high
        left -= spent[~unsettled].sum()
        steps, costs = steps[unsettled], costs[unsettled]
        at_low, at_high, spent = at_low[unsettled], at_high[unsettled], spent[unsettled]
        middle = math.sqrt(low * high)
        chosen, pays = choices_at(steps, costs, middle)
        if pays.sum() <= left:
            high, at_high, spent = middle, chosen, pays
        else:
            low, at_low = middle, chosen
    return high


def frontier(
    predictions: Predictions, count: int, mean_costs: Floats | None = None
) -> tuple[float, ...]:
    """At most `count` rising multipliers whose budgets divide the range of spend evenly.

    The range goes from the cheapest strategy for every query to the best one. It is divided in
    equal ratios; where the cheapest costs nothing, in equal parts.

    Args:
        predictions: Of n queries.
        count: How many.
        mean_costs: float64[S]; to be given where `predictions` has no costs.

    Returns:
        Points of score per dollar; none where no query gains by a dearer strategy.

    Raises:
        InputError: No costs.
    """
    costs = dollars(predictions, mean_costs)
    steps = on_grid(predictions.scores)
    least = float(costs.min(axis=1).mean())
    most = float(choices_at(steps, costs, _ends(steps, costs)[0])[1].mean())
    if most <= least:
        return ()
    shares = np.arange(1, count + 1) / (count + 1)
    budgets = least * (most / least) ** shares if least > 0 else most * shares
    found = {multiplier_for_budget(predictions, float(b), mean_costs) for b in budgets}
    return tuple(sorted(found))


def dollars(predictions: Predictions, mean_costs: Floats | None) -> Floats:
    """float64[n, S]: what a query's strategies cost: the given means, or its own predictions.

    Raises:
        InputError: Neither is there.
    """
    if mean_costs is not None:
        return np.broadcast_to(mean_costs, predictions.scores.shape)
    if predictions.costs is None:
        raise InputError(
            "a price rule needs costs",
            expected="predicted dollars of every strategy, or mean dollars",
            got="scores alone",
            next_step="import costs, or a price list and token counts",
        )
    return as_served(predictions.costs)


def worth(steps: Floats, costs: Floats, multiplier: float) -> Floats:
    """float64[n, S]: score - multiplier * cost, in steps of the grid."""
    return np.asarray(steps - costs * (multiplier * STEPS_PER_POINT))


def choices_at(steps: Floats, costs: Floats, multiplier: float) -> tuple[Indices, Floats]:
    """The strategy that is worth most to every query, the first on ties, and its dollars."""
    chosen = worth(steps, costs, multiplier).argmax(axis=1)
    return chosen, costs[np.arange(len(costs)), chosen]


def _ends(steps: Floats, costs: Floats) -> tuple[float, float]:
    """A multiplier below all that change a choice, and one above them."""
    dearest = float(costs.max())
    low = 0.5 / STEPS_PER_POINT / dearest if dearest > 0 else 1.0
    cheapest = costs.argmin(axis=1)[:, None]
    dearer = costs - np.take_along_axis(costs, cheapest, axis=1)
    better = steps - np.take_along_axis(steps, cheapest, axis=1)
    ratio = np.divide(better, dearer, out=np.zeros_like(better), where=dearer > 0)
    return low, max(2 * float(ratio.max()) / STEPS_PER_POINT, low)
