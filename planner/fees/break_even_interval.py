"""How far a break-even could lie from the truth: the planner asked again on profiles drawn anew.

``r = 1 / V*`` is read off every draw. It is the scale without a gap: 0 where a request costs the
same in both deployments, negative where the dearer one never pays, infinite where it alone keeps
the limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from planner.fees.envelope import less
from planner.fees.fixed_costs import deployment
from planner.fees.resampled import resampled
from planner.programme.margin import Array
from planner.spec import Spec
from profiles.errors import InfeasibleError
from profiles.profile import Profile

Advance = Callable[[int, int], None]


def drawn_usd(
    profile: Profile,
    specs: Sequence[Spec],
    *,
    draws: int,
    seed: int,
    advance: Advance | None = None,
) -> Array:
    """Dollars per request as they could have been planned.

    Args:
        profile: What was measured.
        specs: Questions, each with what it pays.
        draws: Profiles to draw.
        seed: Of the draws.
        advance: Told how many draws are done, of how many.

    Returns:
        Shape (draws, specs); infinite where the limits cannot be kept.
    """
    usd = np.full((draws, len(specs)), np.inf)
    rng = np.random.default_rng(seed)
    for row in range(draws):
        drawn = resampled(profile, rng)
        for column, spec in enumerate(specs):
            with suppress(InfeasibleError):
                usd[row, column] = deployment(drawn, spec).usd_per_request
        if advance:
            advance(row + 1, draws)
    return usd


def rates(below: Array, above: Array, fees_usd: float) -> Array:
    """``1 / V*`` of every draw in which either deployment keeps the limits.

    Args:
        below: Dollars per request of the deployment with the lower fees, shape (draws,).
        above: The same of the one that owes `fees_usd` more, above 0.
        fees_usd: Dollars per window.
    """
    pairs = [(b, a) for b, a in zip(below, above, strict=True) if np.isfinite([b, a]).any()]
    return np.array([_rate(float(b), float(a), fees_usd) for b, a in pairs])


def _rate(below: float, above: float, fees_usd: float) -> float:
    if np.isfinite(below) and np.isfinite(above):
        return less(below, above) / fees_usd
    return np.inf if np.isfinite(above) else -np.inf


def interval(drawn: Array, level: float) -> tuple[float, float]:
    """Ends of the interval of a rate: percentiles of its draws, as order statistics.

    Of B draws each end leaves ``(B + 1) (1 - level) / 2`` beyond it, and at least the outermost
    draw is an end. Corrections for bias and normal approximations were tried and covered less.

    Args:
        drawn: Rates of the draws; the ends are infinite where there is none.
        level: Confidence of both ends together.
    """
    if not len(drawn):
        return -np.inf, np.inf
    ordered = np.sort(drawn)
    rank = max(int((len(drawn) + 1) * (1 - level) / 2 + 1e-9), 1)
    return float(ordered[rank - 1]), float(ordered[-rank])
