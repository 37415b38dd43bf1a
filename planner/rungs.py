"""What an answer comes to: a rung of a plan, with its figures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from planner.decisions import Decisions
from planner.estimating.allocation import DIGITS, by_name
from planner.estimating.group_figures import gap_figures, group_figures
from planner.limits import LimitSet
from planner.plan import LimitFigures, Rung, TenantRung
from planner.programme.margin import Array
from planner.spec import Objective

ROUNDED = 2e-9
"""A limit that is missed by less, in units of its row, is kept."""


@dataclass(frozen=True)
class Answer:
    """A proven allocation in the model's own terms.

    Attributes:
        x: Tidied share per column of the estimates, of all traffic.
        value: The objective: dollars per request or per correct answer, or accuracy less doubt.
        shadow_prices: Change of that value per unit of each binding limit.
        by_tenant: Tidied share per column of the estimates, of each tenant's traffic; empty
            without tenants.
    """

    x: Array
    value: float
    shadow_prices: dict[str, float]
    by_tenant: dict[str, Array] = field(default_factory=dict)


def rung_of(
    decisions: Decisions,
    limits: LimitSet,
    answer: Answer,
    objective: Objective,
    fraction: float,
) -> Rung:
    """An answer with its figures, and how it stands to these limits."""
    e, accounts = decisions.estimates, decisions.accounts
    return Rung(
        budget_fraction=fraction,
        objective=objective.value,
        allocation=by_name(answer.x, e),
        expected=accounts.expected(answer.x),
        promised=accounts.promised(answer.x),
        by_class={name: accounts.of_class(answer.x, d) for d, name in enumerate(e.classes)},
        shadow_prices=answer.shadow_prices,
        limits=_limit_figures(decisions, limits, answer),
        by_tenant=_tenant_figures(decisions, answer),
        by_group=group_figures(answer.x, e, accounts),
        gaps=gap_figures(answer.x, e, accounts),
    )


def _limit_figures(
    decisions: Decisions, limits: LimitSet, answer: Answer
) -> dict[str, LimitFigures]:
    """The worst row of each limit."""
    x = np.concatenate(list(answer.by_tenant.values())) if answer.by_tenant else answer.x
    found: dict[str, LimitFigures] = {}
    worst: dict[str, float] = {}
    for row, value in decisions.asked(limits):
        missed = decisions.missed(row, x, value)
        if missed <= worst.get(row.limit, -np.inf):
            continue
        worst[row.limit] = missed
        allowed = row.bound_at(value) * row.unit
        promised = allowed + (-missed if row.is_floor else missed) * row.unit
        found[row.limit] = LimitFigures(
            asked=value,
            allowed=_digits(allowed),
            promised=_digits(max(promised, 0.0)),
            kept=missed <= ROUNDED,
        )
    return found


def _tenant_figures(decisions: Decisions, answer: Answer) -> dict[str, TenantRung]:
    if decisions.tenants is None:
        return {}
    pairs = zip(decisions.tenants.accounts, answer.by_tenant.items(), strict=True)
    return {
        name: TenantRung(
            allocation=by_name(x, accounts.estimates),
            expected=accounts.expected(x),
            promised=accounts.promised(x),
            by_class={
                one: accounts.of_class(x, d) for d, one in enumerate(decisions.estimates.classes)
            },
        )
        for accounts, (name, x) in pairs
    }


def _digits(value: float) -> float:
    """As many digits as every other figure of a plan."""
    return float(f"{value:.{DIGITS}g}")
