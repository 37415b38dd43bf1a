"""The pacer: what one process learns from its own answers, beside the money that all share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from policies.policy import Policy
from runtime.ledger import ScopeState
from runtime.pacing.arrivals import Recent, Shape
from runtime.pacing.lateness import Lateness
from runtime.pacing.money import rung_costs_nano_usd, rung_of_all

WORTH_REQUESTS = 200
"""Requests of the first rung that the policy's expected costs are worth against what is charged."""
MEMORY_REQUESTS = 5_000
"""Requests after which a charge counts a third of what it did."""


class Pacer:
    """Chooses the rung of every request of one policy.

    Money is paced on the ledger's state, which replicas share. What a pacer learns from its own
    answers is a ratio (what requests cost over what was expected) and their lateness: neither adds
    up over replicas.

    Args:
        costs_nano_usd: Expected nano-dollars per request of each rung, dearest first; None where
            unknown.
        shape: When requests come; evenly where absent.
        lateness: Steps down for late answers; None where nothing is promised of them.
    """

    def __init__(
        self,
        costs_nano_usd: Sequence[float | None],
        *,
        shape: Shape | None = None,
        lateness: Lateness | None = None,
    ) -> None:
        self._costs = tuple(costs_nano_usd)
        self._shape = shape
        self._lateness = lateness
        first = next((cost for cost in self._costs if cost), 0.0)
        self._worth = WORTH_REQUESTS * first
        self._expected = 0.0
        self._charged = 0.0
        self._recent: dict[str, Recent] = {}

    @classmethod
    def of(cls, policy: Policy) -> Pacer:
        """The pacer of a policy: its rungs, the shape of its traffic, its 95th percentile."""
        shape = policy.traffic.shape if policy.traffic else None
        return cls(
            rung_costs_nano_usd(policy),
            shape=Shape(shape) if shape else None,
            lateness=Lateness.of(policy),
        )

    @property
    def cost_ratio(self) -> float:
        """What requests cost over what was expected of their rungs; 1 before any is charged."""
        known = self._worth + self._expected
        return (self._worth + self._charged) / known if known else 1.0

    def rung(
        self,
        forecasts: Mapping[str, float | None],
        state: Callable[[str], ScopeState],
        *,
        now_s: float,
        uniform: float,
    ) -> int:
        """Index of the rung for one request.

        Args:
            forecasts: By budget of this request, requests per window that share it; None where
                nobody forecast them.
            state: How a budget stands now.
            now_s: Unix time in seconds.
            uniform: A random number in [0, 1).
        """
        found = rung_of_all(
            self._costs,
            forecasts,
            state,
            now_s=now_s,
            uniform=uniform,
            cost_ratio=self.cost_ratio,
            shape=self._shape,
            recent=self._recent,
        )
        return max(found, self._lateness.rung(uniform)) if self._lateness else found

    def charged(self, rung: int, nano_usd: int) -> None:
        """Learn what a request cost that was answered as its rung drew, not by a substitute."""
        cost = self._costs[rung]
        if cost is None:
            return
        kept = 1 - 1 / MEMORY_REQUESTS
        self._expected = self._expected * kept + cost
        self._charged = self._charged * kept + nano_usd

    def answered(self, latency_s: float) -> None:
        """Learn how many seconds an answer took, by whichever strategy."""
        if self._lateness:
            self._lateness.answered(latency_s)
