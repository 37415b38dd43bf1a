"""Money: the rungs that what is left of a budget can carry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from planner.spec import Window
from policies.policy import Budget, Policy
from profiles.money import NANO_PER_USD
from runtime.ledger import ScopeState, Unit
from runtime.pacing.arrivals import Recent, Shape, requests_left

SPARE = 0.4
"""Further requests, over those expected, that the cheapest rung is kept for where money is scarce:
a refused request costs far more accuracy than a step of the ladder."""
# A plan that spends its budget exactly must not fall a rung because of the last digits of a float.
_ROUNDED_UP = 1 + 1e-6
_DOLLARS, _TOTAL = Unit.NANO_USD, Window.TOTAL


def rung(
    costs_nano_usd: Sequence[float | None],
    *,
    remaining_nano_usd: int | None,
    requests_left: float | None,
    uniform: float,
    reserve_nano_usd: int = 0,
) -> int:
    """Index of the rung for one request: on average the money left is spent, and never outpaced.

    Between two rungs the dearer one is drawn as often as the money allows, so that a little bad
    luck costs a little accuracy and not a whole step of the ladder.

    Args:
        costs_nano_usd: Expected nano-dollars per request of each rung, dearest first; None where
            unknown, and such a rung is taken only where no budget asks.
        remaining_nano_usd: Limit less spent and held; None without a limit.
        requests_left: Requests still expected, this one included; None where nobody forecast them.
            At most 0 means traffic beyond the forecast: the cheapest rung.
        uniform: A random number in [0, 1).
        reserve_nano_usd: Set aside, so that the last requests still find room for their holds.
    """
    if remaining_nano_usd is None or requests_left is None:
        return 0
    if requests_left <= 0:
        return len(costs_nano_usd) - 1
    pace = (remaining_nano_usd - reserve_nano_usd) / requests_left
    return _drawn(costs_nano_usd, pace * _ROUNDED_UP, uniform)


def rung_of_all(
    costs_nano_usd: Sequence[float | None],
    forecasts: Mapping[str, float | None],
    state: Callable[[str], ScopeState],
    *,
    now_s: float,
    uniform: float,
    reserve_nano_usd: int = 0,
    cost_ratio: float = 1.0,
    shape: Shape | None = None,
    recent: dict[str, Recent] | None = None,
) -> int:
    """Index of the rung for one request under several budgets: of all of them, the cheapest.

    It depends on the clock and on how the budgets stand, which replicas share: they decide alike
    and need not agree on anything else.

    Args:
        costs_nano_usd: As for `rung`.
        forecasts: By budget, requests per window; None where nobody forecast them: then as many as
            the limit pays for on the first rung, until the clock tells better.
        state: How a budget stands now. One in another unit than nano-dollars is left to the ledger.
        now_s: Unix time in seconds.
        uniform: A random number in [0, 1), one for all budgets.
        reserve_nano_usd: Set aside of each.
        cost_ratio: What requests really cost over what was expected, above 0.
        shape: When requests come; evenly where absent.
        recent: By budget how fast requests came lately, kept up to date here; where they come
            faster than the window so far says, they count. None to go by the window alone.
    """
    dearest, cheapest = _ends(costs_nano_usd)
    tightest = math.inf
    for name, requests in forecasts.items():
        now = state(name)
        if now.unit is not _DOLLARS or now.remaining is None:
            continue
        asked = _forecast(requests, now, dearest)
        left = requests_left(asked, now, now_s, shape=shape, recent=recent)
        if left is None:
            continue
        if left <= 0:
            return len(costs_nano_usd) - 1
        pace = (now.remaining - reserve_nano_usd) / (left * cost_ratio) * _ROUNDED_UP
        if pace < dearest and now.window is not _TOTAL:
            pace -= SPARE * _scarce(pace, dearest, cheapest)
        tightest = min(tightest, pace)
    return 0 if tightest == math.inf else _drawn(costs_nano_usd, tightest, uniform)


def _drawn(costs_nano_usd: Sequence[float | None], pace: float, uniform: float) -> int:
    """Of the two rungs around a pace one, so that their mean is the pace."""
    dearer: tuple[int, float] | None = None
    for index, cost in enumerate(costs_nano_usd):
        if cost is None:
            continue
        if cost <= pace:
            if dearer and uniform * (dearer[1] - cost) < pace - cost:
                return dearer[0]
            return index
        dearer = index, cost
    return len(costs_nano_usd) - 1


def _ends(costs_nano_usd: Sequence[float | None]) -> tuple[float, float]:
    """Costs of the dearest and the cheapest rung of those known, 0 where none is."""
    dearest, cheapest = costs_nano_usd[0], costs_nano_usd[-1]
    if dearest is None or cheapest is None:
        known = [cost for cost in costs_nano_usd if cost is not None]
        return (known[0], known[-1]) if known else (0.0, 0.0)
    return dearest, cheapest


def _scarce(pace: float, dearest: float, cheapest: float) -> float:
    """The cheapest rung's cost where money carries no more, 0 where it carries the dearest."""
    if pace <= cheapest:
        return cheapest
    return cheapest * (dearest - pace) / (dearest - cheapest)


def _forecast(given: float | None, state: ScopeState, dearest: float) -> float | None:
    """Requests per window, or where nobody forecast them as many as the first rung affords."""
    if given is not None or state.window is _TOTAL or not state.limit or not dearest:
        return given
    return state.limit / dearest


def forecast(budget: Budget) -> float | None:
    """Requests per window that share a budget: as planned, or as many as its mean pays for.

    None where the budget is only a mean; such a one is replayed, never served.
    """
    if budget.requests is not None:
        return float(budget.requests)
    return None if budget.limit_usd is None else budget.limit_usd / budget.usd_per_request


def rung_costs_nano_usd(policy: Policy) -> tuple[float | None, ...]:
    """Expected nano-dollars per request of each rung, dearest first; None where unknown."""
    costs = (rung.expected.cost_usd_per_request for rung in policy.rungs)
    return tuple(None if cost is None else cost * NANO_PER_USD for cost in costs)
