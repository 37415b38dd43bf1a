"""Passes on shares: leave out crumbs, order the strategies, move the figures along."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from planner.plan import Figures, Rung
from policies.decimals import millionths, nearest
from policies.draft import Draft
from policies.policy import PolicyRung

SMALLEST_SHARE = 1e-4
ACCURACY_DECIMALS = 6
MONEY_DIGITS = 6


def simplify_shares(draft: Draft) -> Draft:
    """Drop shares below 1e-4 and divide each class anew in whole millionths.

    A crumb is solver noise or a strategy that would see a request in ten thousand: too few to
    verify. The figures follow in `move_figures`.
    """
    rungs = tuple(
        {name: _simplify(rung.allocation[name]) for name in draft.plan.classes.names}
        for rung in draft.plan.rungs
    )
    return replace(draft, shares=rungs)


def order_strategies(draft: Draft) -> Draft:
    """Sort the strategies in use by expected cost, then by text; unknown costs come last.

    The cost is the mean over the planned class mix, of the classes where it is known.
    """
    used = {s for rung in draft.shares for shares in rung.values() for s in shares}
    order = tuple(sorted(used, key=lambda strategy: (_mean_cost(draft, strategy), strategy)))
    ranked = tuple(
        {name: {s: shares[s] for s in order if s in shares} for name, shares in rung.items()}
        for rung in draft.shares
    )
    return replace(draft, shares=ranked, order=order)


def move_figures(draft: Draft) -> Draft:
    """State figures for the simplified shares: the plan's, moved by what simplifying changed.

    Accuracies are stated to a millionth and dollars to six digits; whole millionths of shares move
    them by less.
    """
    rungs = tuple(
        _rung(draft, rung, shares)
        for rung, shares in zip(draft.plan.rungs, draft.shares, strict=True)
    )
    return replace(draft, rungs=rungs)


def _simplify(shares: Mapping[str, float]) -> dict[str, float]:
    largest = max(shares.values())
    threshold = min(SMALLEST_SHARE, largest)
    return millionths({s: shares[s] for s in sorted(shares) if shares[s] >= threshold})


def _mean_cost(draft: Draft, strategy: str) -> float:
    classes = draft.plan.classes
    cells = [draft.cell(name, strategy) for name in classes.names]
    known = [
        (weight, cell.cost_usd)
        for weight, cell in zip(classes.weights, cells, strict=True)
        if cell and cell.cost_usd is not None
    ]
    total = math.fsum(weight for weight, _ in known)
    if not known:
        return math.inf
    if not total:
        return max(cost for _, cost in known)
    return math.fsum(weight * cost for weight, cost in known) / total


def _rung(draft: Draft, rung: Rung, shares: dict[str, dict[str, float]]) -> PolicyRung:
    classes = draft.plan.classes
    moved = {name: _moved(draft, name, rung, shares) for name in classes.names}
    accuracy, cost_usd = (
        math.fsum(
            weight * moved[name][part]
            for name, weight in zip(classes.names, classes.weights, strict=True)
        )
        for part in range(2)
    )
    return PolicyRung(
        budget_fraction=rung.budget_fraction,
        objective=rung.objective,
        shares=shares,
        expected=_figures(rung.expected, accuracy, cost_usd),
        promised=_figures(rung.promised, accuracy, cost_usd),
        by_class={name: _figures(rung.by_class[name], *moved[name]) for name in classes.names},
        limits=rung.limits,
        shadow_prices=rung.shadow_prices,
    )


def _figures(figures: Figures, accuracy: float, cost_usd: float) -> Figures:
    cost = figures.cost_usd_per_request
    return Figures(
        accuracy=round(figures.accuracy + accuracy, ACCURACY_DECIMALS),
        cost_usd_per_request=None if cost is None else nearest(cost + cost_usd, MONEY_DIGITS),
        latency_p95_s=figures.latency_p95_s,
    )


def _moved(
    draft: Draft, name: str, rung: Rung, shares: Mapping[str, Mapping[str, float]]
) -> tuple[float, float]:
    """Accuracy and dollars per request of a class that simplifying added."""
    accuracy, cost_usd = [], []
    planned = rung.allocation[name]
    for strategy in planned:
        kept = shares[name].get(strategy)
        # A crumb may have no facts; a share that stays must.
        cell = draft.known_cell(name, strategy) if kept else draft.cell(name, strategy)
        if cell is None:
            continue
        change = (kept or 0.0) - planned[strategy]
        accuracy.append(change * cell.planned_accuracy)
        cost_usd.append(change * (cell.cost_usd or 0.0))
    return math.fsum(accuracy), math.fsum(cost_usd)
