"""vLLM Semantic Router: what it loses of a policy.

No selection algorithm of its configuration v0.3 deals requests by share, no part of it limits
spend, and no plugin sets temperature.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.neighbours.export import Neighbour
from policies.neighbours.expressed import Expressed
from policies.neighbours.losses import Loss
from policies.neighbours.semantic_router_config import VERSION, models_of, write
from policies.neighbours.semantic_router_reading import read
from policies.policy import Policy


def losses(policy: Policy, expressed: Expressed) -> Iterator[Loss]:
    """What the router alone loses."""
    if policy.budgets:
        yield Loss(
            "budget",
            ("budgets",),
            "every money limit",
            "vLLM Semantic Router counts prices in metrics and limits nothing by them",
            "spend has no limit here",
        )
    models = ", ".join(models_of(expressed))
    yield Loss(
        "bypass",
        ("classes",),
        "the class as the only way in",
        f"a request that names a model itself ({models}) is routed to it past every decision",
        "callers can spend what no share planned, without the caps on tokens",
    )
    yield Loss(
        "refusal",
        ("classes", "names"),
        "an error for an unknown class",
        "vLLM Semantic Router has no decision that ends in an error",
        "the caller gets status 200 and a fixed text that says so; no model is called",
    )


VLLM_SEMANTIC_ROUTER = Neighbour(
    name="vLLM Semantic Router",
    format=f"config version {VERSION}, as of vllm-sr 0.4.0",
    splits=False,
    samples=False,
    spends=False,
    write=write,
    read=read,
    losses=losses,
)
