"""Budgets at the beginning of their windows, with what is said to be left of them."""

from __future__ import annotations

from dataclasses import dataclass

from policies.draws import Asked
from policies.policy import Policy
from profiles.errors import InputError
from runtime.ledger import Ledger, Scope, limit_nano_usd
from runtime.policy_budgets import forecasts, scope_names

EVERY_WINDOW_BEGINS_S = 1_704_067_200.0
"""Monday, 1 January 2024, 00:00 UTC."""


@dataclass(frozen=True, slots=True)
class MoneyLeft:
    """Every budget as its window begins, with what a case says is left of it.

    Attributes:
        scopes: What the ledger may still hold.
        forecasts: By budget, requests that share it; None where nobody forecast them.
    """

    scopes: tuple[Scope, ...]
    forecasts: dict[str, float | None]

    @property
    def limited(self) -> bool:
        """Whether any money is short."""
        return any(scope.limit is not None for scope in self.scopes)

    def ledger(self) -> Ledger:
        """A ledger in which nothing is spent or held."""
        return Ledger(self.scopes, lambda: EVERY_WINDOW_BEGINS_S)


def money_left(policy: Policy, asked: Asked) -> MoneyLeft:
    """The budgets of a policy as a request finds them.

    Raises:
        InputError: An unknown budget, more money than its limit, or nothing says how it is paced.
    """
    names = scope_names(policy)
    left = {_only(names) if name is None else name: money for name, money in asked.money.items()}
    for name in left:
        if name not in names:
            raise InputError(
                f"the policy has no budget {name!r}",
                expected=f"one of {', '.join(names)}" if names else "none: it has no budget",
            )
    shared = forecasts(policy)
    scopes = []
    for name, budget in zip(names, policy.budgets, strict=True):
        limit_usd = budget.limit_usd
        if money := left.get(name):
            if money.remaining_usd is not None:
                limit_usd = _within(money.remaining_usd, limit_usd, name)
            if money.requests_left is not None:
                shared[name] = money.requests_left
            if asked.rung is None and (limit_usd is None or shared[name] is None):
                raise InputError(
                    f"the budget {name!r} is only a mean, so its pace is not known",
                    expected="remaining_usd and requests_left, or a rung",
                )
        limit = None if limit_usd is None else limit_nano_usd(limit_usd)
        scopes.append(Scope(name, limit, budget.window))
    return MoneyLeft(tuple(scopes), shared)


def _only(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    raise InputError(
        f"the policy has {len(names)} budgets, so it is not clear whose money is left",
        expected=f"under 'budgets', one of {', '.join(names)}" if names else "a rung, no money",
    )


def _within(remaining_usd: float, limit_usd: float | None, name: str) -> float:
    if limit_usd is not None and remaining_usd > limit_usd:
        raise InputError(
            f"{remaining_usd:.9g} USD are more than the whole budget {name!r}",
            expected=f"at most {limit_usd:.9g} USD",
        )
    return remaining_usd
