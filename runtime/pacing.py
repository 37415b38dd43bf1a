"""Pacing: the rungs of the ladder that the money left can carry to the window's end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from planner.spec import Window
from policies.policy import Budget, Policy
from profiles.money import NANO_PER_USD
from runtime.ledger import ScopeState
from runtime.ledger.windows import Span

# A plan that spends its budget exactly must not fall a rung because of the last digits of a float.
_TOLERANCE = 1e-6


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
    cheapest = len(costs_nano_usd) - 1
    if remaining_nano_usd is None or requests_left is None:
        return 0
    if requests_left <= 0:
        return cheapest
    pace = (remaining_nano_usd - reserve_nano_usd) / requests_left * (1 + _TOLERANCE)
    dearer: tuple[int, float] | None = None
    for index, cost in enumerate(costs_nano_usd):
        if cost is None:
            continue
        if cost <= pace:
            if dearer and uniform * (dearer[1] - cost) < pace - cost:
                return dearer[0]
            return index
        dearer = index, cost
    return cheapest


def rung_of_all(
    costs_nano_usd: Sequence[float | None],
    forecasts: Mapping[str, float | None],
    state: Callable[[str], ScopeState],
    *,
    now_s: float,
    uniform: float,
    reserve_nano_usd: int = 0,
) -> int:
    """Index of the rung for one request under several budgets: of all of them, the cheapest.

    Args:
        costs_nano_usd: As for `rung`.
        forecasts: By budget, requests per window; None where nobody forecast them.
        state: How a budget stands now.
        now_s: Unix time in seconds.
        uniform: A random number in [0, 1), one for all budgets.
        reserve_nano_usd: Set aside of each.
    """
    found = 0
    for name, requests in forecasts.items():
        now = state(name)
        step = rung(
            costs_nano_usd,
            remaining_nano_usd=now.remaining,
            requests_left=requests_left(requests, now, now_s),
            uniform=uniform,
            reserve_nano_usd=reserve_nano_usd,
        )
        found = max(found, step)
    return found


def requests_left(forecast: float | None, state: ScopeState, now_s: float) -> float | None:
    """Requests that still share the window's money, this one included.

    By clock for calendar windows: the forecast's share of the time that is left, at least 1. By
    count for `total`: the forecast less the requests that were admitted; 0 once it is used up.
    """
    if forecast is None:
        return None
    if state.window is Window.TOTAL:
        return max(forecast - state.requests, 0.0)
    share = Span(state.epoch_start_s, state.epoch_end_s).share_left(now_s)
    return max(forecast * share, 1.0)


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
