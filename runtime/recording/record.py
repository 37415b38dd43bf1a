"""What is kept of a request: the columns that profiles read, and what operators ask for beside."""

from __future__ import annotations

from typing import Literal

import msgspec

Ending = Literal[
    "answered",
    "downgraded",
    "incomplete",
    "rejected",
    "failed",
    "disconnected",
    "stopping",
    "refused",
    "invalid",
]
"""How a request ended, in the words of the metric ``inferbudget_requests_total``."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One request, as it ended. What nobody knows is None, never 0.

    Attributes:
        workload: Name of the traffic, the policy's.
        query_id: The request's id, unique.
        observed_at_s: When it arrived, Unix seconds.
        outcome: How it ended.
        policy: Digest of the policy that decided.
        replica: The gateway process that served it.
        strategy: Canonical text of the strategy; None where none was begun.
        class_name: Its difficulty class; None where it has none.
        rung: Step of the ladder; None where no strategy was begun.
        cost_usd: Dollars charged, calls whose usage is unknown at their bound.
        latency_s: Seconds from its arrival to its end.
        tokens_in: Prompt tokens of all calls; None where the usage of one is unknown.
        tokens_out: Completion tokens, likewise.
        tokens_reasoning: Of `tokens_out`, hidden reasoning.
        tokens_cached: Of `tokens_in`, from a cache.
        calls: Calls that were begun.
        tenant: Whose it is, where tenants are configured.
        score: Correctness in 0..1; None until somebody says.
        shadow_class: By the shadow policy, where one decides too.
        shadow_strategy: Likewise; None where it would have refused.
        prompt: What was asked; only where prompts are asked for.
        reply: What was answered; likewise.
    """

    workload: str
    query_id: str
    observed_at_s: float
    outcome: Ending
    policy: str
    replica: str
    strategy: str | None = None
    class_name: str | None = None
    rung: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_reasoning: int | None = None
    tokens_cached: int | None = None
    calls: int | None = None
    tenant: str | None = None
    score: float | None = None
    shadow_class: str | None = None
    shadow_strategy: str | None = None
    prompt: str | None = None
    reply: str | None = None
