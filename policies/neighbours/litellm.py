"""LiteLLM's proxy: what it loses of a policy.

A caller names the class as its model, and weights deal the class to models. What was tried with
LiteLLM 1.106.2: a caller's own max_tokens wins over a deployment's, and a budget is compared with
what was answered before.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.neighbours import litellm_config
from policies.neighbours.export import Neighbour
from policies.neighbours.expressed import Expressed
from policies.neighbours.losses import Loss
from policies.policy import Policy


def losses(policy: Policy, expressed: Expressed) -> Iterator[Loss]:
    """What LiteLLM alone loses."""
    parts = [part for found in expressed.classes.values() for part in found]
    if any((part.max_tokens, part.temperature, part.top_p) != (None, None, None) for part in parts):
        yield Loss(
            "caps",
            ("strategies",),
            "max_tokens, temperature and top_p as what every request gets",
            "LiteLLM takes them for defaults of requests that set none",
            "a caller may raise max_tokens, and pays for it out of the budget",
        )
    yield from _lost_budgets(policy, expressed)
    unpriced = sorted({part.model for part in parts if part.input_usd is None})
    if unpriced:
        yield Loss(
            "prices",
            ("prices", "models"),
            f"the prices of {', '.join(unpriced)}, which the policy does not know either",
            "LiteLLM counts its own list's price, or nothing",
            "spend is counted by prices that nobody planned with",
        )


def _lost_budgets(policy: Policy, expressed: Expressed) -> Iterator[Loss]:
    if expressed.spend:
        yield Loss(
            "holds",
            ("budgets",),
            "money held before a request starts",
            "LiteLLM counts a request's cost after its answer and compares before the next",
            "requests in flight when the budget runs out are answered and overspend it",
        )
        yield Loss(
            "windows",
            ("budgets",),
            "windows of the calendar in UTC, and a ledger that outlives a crash",
            "LiteLLM counts from its own start, in memory unless router_settings has a Redis",
            "a restart begins a new budget, and without Redis every worker has a budget of its own",
        )
    written = {limit.window for limit in expressed.spend}
    for index, budget in enumerate(policy.budgets):
        if budget.limit_usd is None:
            yield Loss(
                "budget",
                ("budgets", index, "usd_per_request"),
                "the limit on mean dollars per request",
                "LiteLLM limits dollars per window, and this budget has none",
                "spend grows with the requests, at whatever a request costs",
            )
        elif budget.window.value not in written:
            yield Loss(
                "budget",
                ("budgets", index),
                f"the budget per {budget.window}",
                "LiteLLM has one budget per provider; the one of the longest window is written",
                "a shorter window may take all of the longer one's money",
            )


LITELLM = Neighbour(
    name="LiteLLM",
    format="config.yaml of the proxy, as of LiteLLM 1.106.2",
    splits=True,
    samples=True,
    spends=True,
    write=litellm_config.write,
    read=litellm_config.read,
    losses=losses,
)
