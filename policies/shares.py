"""Passes on shares: leave out crumbs, move the figures along, order the strategies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from planner.limit_names import BY_CLASS, OVERALL, SPEND, is_floor
from planner.plan import Figures, LimitFigures, Rung
from policies.decimals import SHARE_UNITS, millionths, nearest
from policies.draft import Draft
from policies.policy import PolicyRung

SMALLEST_SHARE = 1e-4
ACCURACY_DECIMALS = 6
MONEY_DIGITS = 6
_PLAN_DIGITS = 9
Shares = Mapping[str, Mapping[str, float]]


def simplify_shares(draft: Draft) -> Draft:
    """Drop shares below 1e-4 that no limit needs, and divide each class in whole millionths.

    A crumb is solver noise or a strategy that would see a request in ten thousand: too few to
    verify. Smallest first, it goes where every limit that the plan kept is still kept by the means
    of the plan's cells; the margin of a promise is taken as it was. Beside a limit that these
    means say nothing about (a latency, a resource, a group) crumbs stay. What is less than half a
    millionth cannot be written and always goes.
    """
    rungs = tuple(
        {name: _stated(shares) for name, shares in _simplified(draft, rung).items()}
        for rung in draft.plan.rungs
    )
    return replace(draft, shares=rungs)


def move_figures(draft: Draft) -> Draft:
    """State figures for the simplified shares: the plan's, moved by what simplifying changed.

    Accuracies are stated to a millionth and dollars to six digits. The promises of limits on
    accuracy and spend move by the crumbs that went, not by the rounding to whole millionths, which
    is below what is stated; those of all other limits stand as planned.
    """
    rungs = tuple(
        _rung(draft, rung, shares)
        for rung, shares in zip(draft.plan.rungs, draft.shares, strict=True)
    )
    return replace(draft, rungs=rungs)


def order_strategies(draft: Draft) -> Draft:
    """List the strategies that some rung uses by expected cost, then by text; unknown costs last.

    The cost is the mean over the planned class mix, of the classes where it is known.
    """
    used = {s for rung in draft.rungs for shares in rung.shares.values() for s in shares}
    order = tuple(sorted(used, key=lambda strategy: (_mean_cost(draft, strategy), strategy)))
    return replace(draft, order=order)


def _simplified(draft: Draft, rung: Rung) -> Shares:
    shares = _writable(draft, rung)
    for name, strategy in _crumbs(shares):
        fewer = {**shares, name: _divided(shares[name], set(shares[name]) - {strategy})}
        if _keeps_limits(draft, rung, fewer):
            shares = fewer
    return shares


def _writable(draft: Draft, rung: Rung) -> Shares:
    """The plan's shares less those that would round to no millionth."""
    return {
        name: _divided(shares, {s for s in shares if shares[s] * SHARE_UNITS >= 0.5})
        for name in draft.plan.classes.names
        if (shares := rung.allocation[name])
    }


def _crumbs(shares: Shares) -> list[tuple[str, str]]:
    """Class and strategy of every crumb, smallest first; the largest of a class is none."""
    found = [
        (share, name, strategy)
        for name, own in shares.items()
        for strategy, share in own.items()
        if share < min(SMALLEST_SHARE, max(own.values()))
    ]
    return [(name, strategy) for _, name, strategy in sorted(found)]


def _divided(shares: Mapping[str, float], kept: set[str]) -> dict[str, float]:
    """A class among fewer strategies, in the same proportions."""
    total = math.fsum(shares[s] for s in kept)
    return {s: shares[s] / total for s in sorted(kept)}


def _stated(shares: Mapping[str, float]) -> dict[str, float]:
    return {strategy: share for strategy, share in millionths(shares).items() if share > 0}


def _keeps_limits(draft: Draft, rung: Rung, shares: Shares) -> bool:
    moves = _moves(draft, _writable(draft, rung), shares)
    for name, limit in rung.limits.items():
        move = _move_of(name, draft, moves) if limit.kept else 0.0
        if move is None:
            return False
        promised, slack = limit.promised + move, 1e-9 * abs(limit.allowed)
        kept = (
            promised >= limit.allowed - slack
            if is_floor(name)
            else (promised <= limit.allowed + slack)
        )
        if limit.kept and not kept:
            return False
    return True


def _move_of(
    limit: str, draft: Draft, moves: Mapping[str, tuple[float, float | None]]
) -> float | None:
    """By how much a limit's promise moves; None where the means of the cells do not tell."""
    if limit == OVERALL:
        return _mean(draft, {name: accuracy for name, (accuracy, _) in moves.items()})
    if limit == SPEND:
        return _mean(draft, {name: cost_usd for name, (_, cost_usd) in moves.items()})
    if limit.startswith(BY_CLASS) and limit.removeprefix(BY_CLASS) in moves:
        return moves[limit.removeprefix(BY_CLASS)][0]
    return None


def _mean(draft: Draft, values: Mapping[str, float | None]) -> float | None:
    classes = draft.plan.classes
    parts = [
        None if (value := values[name]) is None else weight * value
        for name, weight in zip(classes.names, classes.weights, strict=True)
    ]
    known = [part for part in parts if part is not None]
    return math.fsum(known) if len(known) == len(parts) else None


def _moves(draft: Draft, planned: Shares, shares: Shares) -> dict[str, tuple[float, float | None]]:
    """Per class the accuracy and dollars per request that other shares than those planned add."""
    found: dict[str, tuple[float, float | None]] = {}
    for name, own in shares.items():
        changes = list(_changes(draft, name, planned[name], own))
        costs = [None if usd is None else change * usd for change, _, usd in changes]
        known = [cost for cost in costs if cost is not None]
        accuracy = math.fsum(change * accuracy for change, accuracy, _ in changes)
        found[name] = accuracy, math.fsum(known) if len(known) == len(costs) else None
    return found


def _changes(
    draft: Draft, name: str, planned: Mapping[str, float], own: Mapping[str, float]
) -> Iterator[tuple[float, float, float | None]]:
    """Of every share that moves: by how much, and the accuracy and dollars of its cell."""
    for strategy, share in planned.items():
        # A crumb may have no facts; a share that stays must.
        kept = strategy in own
        cell = draft.known_cell(name, strategy) if kept else draft.cell(name, strategy)
        change = own.get(strategy, 0.0) - share
        if change and cell is not None:
            yield change, cell.planned_accuracy, cell.cost_usd


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
    moves = _moves(draft, rung.allocation, shares)
    accuracy = _mean(draft, {name: move for name, (move, _) in moves.items()}) or 0.0
    cost_usd = _mean(draft, {name: move for name, (_, move) in moves.items()})
    exact = {name: _divided(rung.allocation[name], set(own)) for name, own in shares.items()}
    by_crumbs = _moves(draft, _writable(draft, rung), exact)
    return PolicyRung(
        budget_fraction=rung.budget_fraction,
        objective=rung.objective,
        shares=shares,
        expected=_figures(rung.expected, accuracy, cost_usd),
        promised=_figures(rung.promised, accuracy, cost_usd),
        by_class={name: _figures(rung.by_class[name], *moves[name]) for name in moves},
        limits={
            name: _limit(limit, _move_of(name, draft, by_crumbs))
            for name, limit in rung.limits.items()
        },
        shadow_prices=rung.shadow_prices,
    )


def _figures(figures: Figures, accuracy: float, cost_usd: float | None) -> Figures:
    cost = figures.cost_usd_per_request
    moved = None
    if cost is not None and cost_usd is not None:
        moved = nearest(max(cost + cost_usd, 0.0), MONEY_DIGITS)
    return Figures(
        accuracy=min(max(round(figures.accuracy + accuracy, ACCURACY_DECIMALS), 0.0), 1.0),
        cost_usd_per_request=moved,
        latency_p95_s=figures.latency_p95_s,
    )


def _limit(limit: LimitFigures, move: float | None) -> LimitFigures:
    if not move:
        return limit
    promised = max(nearest(limit.promised + move, _PLAN_DIGITS), 0.0)
    return limit.model_copy(update={"promised": promised})
