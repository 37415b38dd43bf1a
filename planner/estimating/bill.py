"""What a plan's requests will cost at most: the promised bill per request.

With N requests to be judged on, the promise has two noises, of the profile's estimates and of the
requests themselves::

    bill(x) = C(x) + hypot(z* |M x|, z sqrt(V(x) / N))   C(x) = sum_d w_d sum_s c_ds x_ds
    V(x)    = sum_d w_d sum_s x_ds (sd_ds^2 + (c_ds - C(x))^2)

``|M x|`` is the standard error of `planner.programme.margin.aggregate_matrix`. z* is Bonferroni's
quantile over the strategies, since a plan takes those that looked cheap by luck; nobody chose by
the noise of requests to come, so it counts at the plain z. V is the variance of one request's
dollars, its class and its strategy drawn anew; sd is the spread of one request's dollars in a cell,
of which query and which sample alike.

The root of V is concave, so the bill is no cone. But for every centre m and spread s > 0::

    sqrt(V(x)) <= (V(x) + s^2) / (2 s)
               <= sum_d w_d sum_s x_ds (sd_ds^2 + (c_ds - m)^2 + s^2) / (2 s)

since the spread is least around the mean. The right side is linear in x, so with it in place of the
root the bill is a cone, never too small, and exact where m and s are the plan's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.estimating.estimates import Estimates
from planner.programme.margin import Array, Margin

_LEAST_SPREAD = 1e-3
"""Of a typical cost: with a smaller spread the linear noise would forbid every move."""


@dataclass(frozen=True)
class Bill:
    """The promised bill of allocations over one set of estimates, dollars per request.

    Attributes:
        estimates: Numbers per column.
        margin: Of the mean cost's estimate; its last row is free.
        judged: Requests that the promise will be judged on; None for the long run.
        z: Quantile of their own noise.
    """

    estimates: Estimates
    margin: Margin
    judged: int | None
    z: float

    @property
    def is_noisy(self) -> bool:
        """Whether the judged requests have a noise of their own."""
        return self.judged is not None and self.margin.z > 0

    def promised(self, x: Array) -> float:
        """The most that a request costs on average, at the confidence of the margin.

        Every cost that x uses must be known.
        """
        used = x > 0
        mean, spread = self._centre(x)
        estimated = self.margin.of_columns(used).value(x[used])
        judged = self.z * spread / self.judged**0.5 if self.judged else 0.0
        return mean + float(np.hypot(estimated, judged))

    def margin_around(self, x: Array) -> Margin:
        """The margin with the noise of the judged requests, exact at x and nowhere too small.

        Every cost must be known. Without noise it is `margin`.
        """
        if not self.is_noisy:
            return self.margin
        e = self.estimates
        noise = self.noise_around(x, e.traffic_share, e.cost_usd, e.cost_spread)
        return Margin(self.margin.z, self.margin.matrix.with_last(noise))

    def noise_around(self, x: Array, share: Array, cost_usd: Array, cost_spread: Array) -> Array:
        """What cells add, linearly, to the standard error of the judged requests' mean cost.

        In units of the margin, which multiplies it by its own quantile.

        Args:
            x: Allocation whose mean and spread are the centre.
            share: Share of traffic per cell.
            cost_usd: Mean dollars of a request there.
            cost_spread: Standard deviation of them.
        """
        mean, spread = self._centre(x)
        spread = max(spread, _LEAST_SPREAD * self._typical())
        if self.judged is None or spread <= 0:
            return np.zeros(len(share))
        squares = cost_spread**2 + (cost_usd - mean) ** 2 + spread**2
        plain = self.z / self.margin.z if self.margin.z else 0.0
        return np.asarray(plain * share * squares / (2 * spread * self.judged**0.5))

    def _typical(self) -> float:
        """Mean dollars of a request whose strategy is drawn from all: 0 where all are free."""
        e = self.estimates
        return float(e.traffic_share @ e.cost_usd) / len(e.strategies)

    def _centre(self, x: Array) -> tuple[float, float]:
        """Mean and standard deviation of one request's dollars."""
        e, used = self.estimates, x > 0
        share, cost_usd = (e.traffic_share * x)[used], e.cost_usd[used]
        mean = float(share @ cost_usd)
        variance = share @ (e.cost_spread[used] ** 2 + (cost_usd - mean) ** 2)
        return mean, float(np.sqrt(variance))
