"""The ladder of one tenant, out of the rungs that were solved for all tenants together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from planner.limit_names import is_accuracy, of_tenant, whose
from planner.spec import Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.plan import Rung

LESS = 1 - 1e-6
"""A rung spends less than the one above where it spends less than this part of it."""


def tenants_ladder(
    rungs: Sequence[Rung], name: str, share: float, confidence: float | None
) -> tuple[Rung, ...]:
    """One tenant's part of every rung that really spends less of its money than the one above.

    A rung that is cheaper for all tenants together may be dearer for one of them: money moves to
    where it buys most. Such a rung is left out.

    Args:
        rungs: Of the plan, the first as asked.
        name: The tenant.
        share: Its share of all requests, above 0, at most 1.
        confidence: Of the plan's promises, None for point estimates.
    """
    kept = [_part(rungs[0], name, share, confidence)]
    full = kept[0].expected.cost_usd_per_request
    for rung in rungs[1:]:
        part = _part(rung, name, share, confidence)
        spent = kept[-1].expected.cost_usd_per_request
        usd = part.expected.cost_usd_per_request
        if not full or spent is None or usd is None or usd >= spent * LESS:
            continue
        fraction = math.ceil(usd / full * 1e4) / 1e4  # up: it may spend what it does
        if fraction < kept[-1].budget_fraction:
            kept.append(part.model_copy(update={"budget_fraction": fraction}))
    return tuple(kept)


def given_up(rungs: Sequence[Rung]) -> list[str]:
    """Which limits on accuracy each lower rung promises no longer, in words."""
    warnings = []
    for rung in rungs[1:]:
        lost = [
            f"{name} {limit.asked:g}"
            for name, limit in rung.limits.items()
            if is_accuracy(name) and not limit.kept
        ]
        if lost:
            warnings.append(
                f"rung {rung.budget_fraction:g}, used when money runs short, gives up "
                f"{' and '.join(lost)}"
            )
    return warnings


def _part(rung: Rung, name: str, share: float, confidence: float | None) -> Rung:
    prefix = of_tenant(name, "")
    return rung.model_copy(
        update={
            **dict(rung.by_tenant[name]),
            "limits": {
                limit.removeprefix(prefix): figures
                for limit, figures in rung.limits.items()
                if limit.startswith(prefix)
            },
            "shadow_prices": _prices(rung, prefix, share, confidence),
            "by_tenant": {},
            "by_group": {},
            "gaps": {},
        }
    )


def _prices(rung: Rung, prefix: str, share: float, confidence: float | None) -> dict[str, float]:
    """Change of the tenant's own objective per unit of its limits, where there is such a thing.

    The plan's price of a tenant's limit is the change of the objective of all requests. Where that
    is a sum over tenants, and no limit over all of them has a price, moving one tenant's limit
    changes that tenant's part alone, which is `share` of the sum: its own price is the plan's over
    `share`. Elsewhere the plan answers by changing other tenants' parts too, and one tenant's own
    objective has no price: none is given. That is so of a ratio (cost per correct answer), of
    accuracy less its doubt, and of lower rungs, which share a budget.
    """
    adds_up = rung.objective in {Objective.MINIMIZE_COST, Objective.MAXIMIZE_VALUE} or (
        rung.objective == Objective.MAXIMIZE_ACCURACY and confidence is None
    )
    if not adds_up or any(whose(limit)[0] is None for limit in rung.shadow_prices):
        return {}
    return {
        limit.removeprefix(prefix): float(f"{price / share:.9g}")
        for limit, price in rung.shadow_prices.items()
        if limit.startswith(prefix)
    }
