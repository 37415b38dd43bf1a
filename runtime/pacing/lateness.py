"""Lateness: a second multiplier, for answers that come later than the policy promises."""

from __future__ import annotations

from policies.policy import Policy

LATE_SHARE = 0.05
"""Requests that may be slower than a 95th percentile."""
STEP = 0.05
"""Rungs that one late answer steps down: about 21 in a row make a whole one."""


class Lateness:
    """How many rungs are given up so that no more than 5 % of the answers are late.

    With every answer the multiplier rises by `STEP` times what late answers are above 5 %, and
    stays between no rung and the fastest one. So it settles where 5 % are late (Robbins and Monro
    1951), or at one of its ends. A number between two rungs is drawn.

    Args:
        limit_s: Seconds that 95 % of the answers have to keep.
        fastest: The rung with the least 95th percentile; stepping further down gains no time.
    """

    def __init__(self, limit_s: float, fastest: int) -> None:
        self._limit_s = limit_s
        self._fastest = float(fastest)
        self.rungs = 0.0

    @classmethod
    def of(cls, policy: Policy) -> Lateness | None:
        """Of a policy that promises a 95th percentile, where some rung is faster than the first."""
        latency = policy.limits.latency
        tails = [rung.expected.latency_p95_s for rung in policy.rungs]
        known = [tail for tail in tails if tail is not None]
        if latency is None or latency.p95_s is None or not known:
            return None
        fastest = tails.index(min(known))
        return cls(latency.p95_s, fastest) if fastest else None

    def answered(self, latency_s: float) -> None:
        """Count one answer.

        Args:
            latency_s: Seconds from the request to its whole answer.
        """
        rise = STEP * ((latency_s > self._limit_s) - LATE_SHARE)
        self.rungs = min(max(self.rungs + rise, 0.0), self._fastest)

    def rung(self, uniform: float) -> int:
        """The dearest rung that one request may take, by a random number in [0, 1)."""
        return int(self.rungs + uniform)
