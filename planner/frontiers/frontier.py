"""The exchange rate between money and accuracy, from the cheapest plan to the most accurate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.frontiers.hulls import exact_frontier
from planner.limit_names import OVERALL, SPEND
from planner.limits import LimitSet
from planner.plan import Figures, Rung
from planner.planner import Answer, Planner
from planner.spec import Objective
from profiles.errors import InfeasibleError, UnprovenError


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """The most accurate plan at one budget.

    Attributes:
        usd_per_request: Expected dollars per request.
        promised_usd_per_request: Dollars per request that hold with the spec's confidence.
        accuracy: Expected mean score, 0..1.
        promised_accuracy: Mean score that holds with the spec's confidence.
        allocation: Share by class and strategy.
        accuracy_per_usd: What a further dollar per request buys from here, in points of accuracy;
            None where the budget does not bind, as at both ends of a certified frontier.
    """

    usd_per_request: float
    promised_usd_per_request: float
    accuracy: float
    promised_accuracy: float
    allocation: dict[str, dict[str, float]]
    accuracy_per_usd: float | None = None


def frontier(
    planner: Planner, points: int = 25, time_limit_s: float | None = None
) -> list[FrontierPoint]:
    """Plans at budgets from the cheapest to the most accurate, in rising order of both.

    Class floors and the latency limit of the spec are kept; the overall floor and the spend limit
    are what the frontier moves along. Budgets that buy nothing are left out.

    On point estimates without such limits the points are breakpoints of the exact frontier
    (`planner.frontiers.hulls`), between which it is straight; all of them, if `points` is as many.

    Args:
        planner: Built once for a profile and a spec.
        points: Budgets to solve, or breakpoints to tell, at least 2, spaced evenly in ratio.
        time_limit_s: Seconds for all of them together: those between the two ends that were not
            proven by then are left out. Without it every point is solved.

    Raises:
        InfeasibleError: Class floors and latency clash at any price.
        UnprovenError: The solver stopped early at an end, or without `time_limit_s` anywhere.
        UnknownValueError: A cost is unknown.
    """
    planner.estimates.require_costs("a frontier")
    until_s = None if time_limit_s is None else time.monotonic() + time_limit_s
    limits = planner.limits.without(OVERALL, SPEND)
    if not limits.values and planner.is_plain:
        return _rising(_breakpoints(planner, points))
    cheapest = planner.rung(
        planner.answer(Objective.MINIMIZE_COST, limits), Objective.MINIMIZE_COST
    )
    best = planner.rung(
        planner.answer(Objective.MAXIMIZE_ACCURACY, limits), Objective.MAXIMIZE_ACCURACY
    )
    low, high = (_usd(rung.promised) for rung in (cheapest, best))
    spaced = np.geomspace if low > 0 else np.linspace
    budgets = spaced(low, max(high, low), max(points, 2))[1:-1].tolist()
    return _rising([cheapest, *_between(planner, limits, budgets, until_s), best])


def _between(
    planner: Planner, limits: LimitSet, budgets: Sequence[float], until_s: float | None
) -> list[Rung]:
    """Plans at these budgets, those in the middle of what is not known yet first."""
    found: dict[float, Rung] = {}
    for usd in budgets if until_s is None else _halving(budgets):
        left_s = None if until_s is None else until_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            break
        hurried = planner.under(limits, left_s)
        try:
            answer = hurried.answer(Objective.MAXIMIZE_ACCURACY, limits.moved(SPEND, usd))
        except InfeasibleError:
            continue  # nearer to the cheapest than the solver can tell
        except UnprovenError:
            if until_s is None:
                raise
            break
        found[usd] = planner.rung(answer, Objective.MAXIMIZE_ACCURACY)
    return [found[usd] for usd in sorted(found)]


def _halving(budgets: Sequence[float]) -> list[float]:
    """The middle one, then the middles of both halves, and so on."""
    halves, order = [(0, len(budgets))], []
    for low, high in halves:
        if low < high:
            middle = (low + high) // 2
            order.append(budgets[middle])
            halves += [(low, middle), (middle + 1, high)]
    return order


def _breakpoints(planner: Planner, points: int) -> list[Rung]:
    """Some corners of the frontier where nothing but the spend ties the classes together."""
    e = planner.estimates
    costs, values = (np.full((len(e.classes), len(e.strategies)), np.nan) for _ in range(2))
    costs[e.class_of, e.strategy_of] = e.cost_usd
    values[e.class_of, e.strategy_of] = e.accuracy
    found = exact_frontier(costs, values, e.weights)
    rungs = []
    for at in found.thinned(points):
        mix = found.at_breakpoint(int(at))
        x = (mix.choices[e.class_of] == e.strategy_of).astype(np.float64)
        prices = {SPEND: float(f"{found.slopes[at]:.9g}")} if at < len(found.slopes) else {}
        answer = Answer(x, mix.value, prices)
        rungs.append(planner.rung(answer, Objective.MAXIMIZE_ACCURACY))
    return rungs


def _usd(figures: Figures) -> float:
    """Dollars per request; every cost is known here."""
    return figures.cost_usd_per_request or 0.0


def _rising(rungs: list[Rung]) -> list[FrontierPoint]:
    points: list[FrontierPoint] = []
    for rung in rungs:
        usd = _usd(rung.expected)
        point = FrontierPoint(
            usd_per_request=usd,
            promised_usd_per_request=_usd(rung.promised),
            accuracy=rung.expected.accuracy,
            promised_accuracy=rung.promised.accuracy,
            allocation=rung.allocation,
            accuracy_per_usd=rung.shadow_prices.get(SPEND),
        )
        if not points or (
            usd > points[-1].usd_per_request and point.accuracy > points[-1].accuracy
        ):
            points.append(point)
    return points
