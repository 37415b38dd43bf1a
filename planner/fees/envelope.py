"""The cheapest deployment at every volume: the lower envelope of lines ``F + V c``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from planner.fees.fixed_costs import Deployment, deployments, paying
from planner.planner import Planner
from planner.spec import Spec
from profiles.profile import Profile

_SAME = 1e-7
"""Dollars per request that differ by less than this share are the same: solver noise."""


def lower_envelope(lines: Iterable[Deployment]) -> list[Deployment]:
    """The deployments that are cheapest at some volume, by rising volume."""
    left = sorted(lines, key=lambda one: (one.fees_usd, one.usd_per_request, -len(one.paid)))
    found = left[:1]
    while True:
        last = found[-1]
        left = [one for one in left if saved(last, one) > 0]
        if not left:
            return found
        found.append(min(left, key=lambda one: (crossing(last, one), one.usd_per_request)))


def candidates(profile: Profile, spec: Spec) -> list[Deployment]:
    """Every deployment that can be on the envelope.

    Raises:
        LimitsClashError: No deployment keeps the limits; says which clash and what would help.
        UnknownValueError: A class without cells, or an unknown cost or tail that a limit needs.
        InputError: The spec names something that the profile lacks.
        UnprovenError: The solver stopped early.
    """

    def hope(fees_usd: float, least_usd: float, solved: Iterable[Deployment]) -> bool:
        if not solved:
            return True
        envelope = lower_envelope(solved)
        corners = [crossing(*pair) for pair in pairwise(envelope)]
        return least_usd < envelope[-1].usd_per_request or any(
            fees_usd + volume * least_usd < min(one.total_usd(volume) for one in envelope)
            for volume in (0.0, *corners)
        )

    found = deployments(profile, spec, hope)
    if not found:
        planner = Planner(profile, paying(spec, [fee.name for fee in spec.fixed_costs]))
        planner.explained(planner.limits)
    return found


def saved(below: Deployment, above: Deployment) -> float:
    """Dollars that a request costs less in `above`."""
    return less(below.usd_per_request, above.usd_per_request)


def less(below: float, above: float) -> float:
    """By how much `above` is less than `below`; 0 where that is no more than solver noise."""
    return 0.0 if abs(below - above) <= _SAME * min(below, above) else below - above


def crossing(below: Deployment, above: Deployment) -> float:
    """Requests per window from which `above` is cheaper; it must save something per request."""
    return (above.fees_usd - below.fees_usd) / saved(below, above)
