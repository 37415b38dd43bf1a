"""Whether a budget adds up, and is for the money and the traffic that the policy speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from policies.decimals import exact
from policies.policy import Budget, Policy

BUDGET_TOLERANCE = Decimal("1e-9")
"""Relative: means of budgets are stated to twelve digits."""


def budget_problems(budget: Budget, policy: Policy) -> Iterator[str]:
    """What is wrong with one budget, in words."""
    for problem in (_spend_problem(budget, policy), _traffic_problem(budget, policy)):
        if problem:
            yield problem


def _spend_problem(budget: Budget, policy: Policy) -> str | None:
    spend = policy.limits.spend
    if budget.limit_usd is None or budget.requests is None:
        if (budget.limit_usd is None) != (budget.requests is None):
            return "limit_usd and requests belong together"
    else:
        limit, product = exact(budget.limit_usd), exact(budget.usd_per_request) * budget.requests
        if abs(product - limit) > limit * BUDGET_TOLERANCE:
            return f"usd_per_request x requests is {product:f}, but limit_usd is {limit:f}"
    if spend and spend.usd is not None:
        if (budget.limit_usd, budget.window) != (spend.usd, spend.per):
            return f"limits.spend gives {spend.usd} USD per {spend.per}"
    elif spend and budget.usd_per_request != spend.usd_per_request:
        return f"limits.spend gives {spend.usd_per_request} USD per request"
    return None


def _traffic_problem(budget: Budget, policy: Policy) -> str | None:
    """A budget is for the fullest window of the traffic; format 1.0 did not record traffic."""
    traffic = policy.traffic
    if traffic is None:
        recorded = policy.classes.weights is not None
        return "requests are forecast, but no traffic is" if recorded and budget.requests else None
    if (budget.requests, budget.window) != (traffic.most, traffic.per):
        return f"the traffic has up to {traffic.most:,} requests per {traffic.per}"
    return None
