"""The budgets of a policy as scopes of the ledger, and their forecasts."""

from __future__ import annotations

from planner.spec import Window
from policies.policy import Policy
from profiles.errors import UnknownValueError
from runtime.ledger import Scope, limit_nano_usd
from runtime.pacing import forecast


def scopes(policy: Policy) -> tuple[Scope, ...]:
    """The ledger's scopes: one per budget, and one that only counts where there is none.

    Raises:
        UnknownValueError: A budget has only a mean, and nothing says how much a window may spend.
    """
    names = scope_names(policy)
    for name, budget in zip(names, policy.budgets, strict=True):
        if budget.limit_usd is None:
            raise UnknownValueError(
                "this budget has a mean per request but no limit, so nothing could be enforced",
                where=f"budget {name!r}: limit_usd",
                next_step="give `traffic` (requests per window) in the spec, and plan again",
            )
    if not names:
        return (Scope("global"),)
    return tuple(
        Scope(
            name,
            None if budget.limit_usd is None else limit_nano_usd(budget.limit_usd),
            budget.window,
        )
        for name, budget in zip(names, policy.budgets, strict=True)
    )


def scope_names(policy: Policy) -> tuple[str, ...]:
    """A name per budget: its scope, with its window where that is not the total.

    It says nothing of the other budgets: one that comes or goes would rename this one, and what was
    spent under the old name would be forgotten.
    """
    return tuple(
        budget.scope if budget.window is Window.TOTAL else f"{budget.scope}/{budget.window}"
        for budget in policy.budgets
    )


def forecasts(policy: Policy) -> dict[str, float | None]:
    """By budget, the requests per window that share it; None where nobody forecast them."""
    return {
        name: forecast(budget)
        for name, budget in zip(scope_names(policy), policy.budgets, strict=True)
    }
