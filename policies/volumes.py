"""How many requests a policy's dollars are stated for.

A month's where both policies know their traffic, all of it where that is one batch, else a single
one. Traffic that grows has another volume in every window that the plan has to last for: dollars
are those of the mean window, which times the number of windows are those of the whole horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, log1p
from typing import Literal

from planner.spec import Traffic, Window
from policies.policy import Policy

MONTH_DAYS = 30
Per = Literal["month", "total", "request"]
_PER_MONTH = {
    Window.SECOND: MONTH_DAYS * 86_400.0,
    Window.MINUTE: MONTH_DAYS * 1440.0,
    Window.HOUR: MONTH_DAYS * 24.0,
    Window.DAY: float(MONTH_DAYS),
    Window.WEEK: MONTH_DAYS / 7,
    Window.MONTH: 1.0,
}


@dataclass(frozen=True, slots=True)
class Volume:
    """Requests per month, in all, or one.

    Attributes:
        mean: Mean of all windows that the plan has to last for.
        first: As it is in the first of them.
        last: As it is in the last one.
    """

    mean: float
    first: float
    last: float

    @property
    def grows(self) -> bool:
        """Whether windows differ."""
        return self.mean != self.first


def volumes(before: Policy | None, after: Policy | None) -> tuple[Per, list[Volume | None]]:
    """What both policies' dollars can be stated per, and each one's volume; None for no policy."""
    there = [policy for policy in (before, after) if policy]
    known = {_per(policy.traffic) if policy.traffic else None for policy in there}
    per = known.pop() if len(known) == 1 else None
    if per is None:
        return "request", [Volume(1.0, 1.0, 1.0) if one else None for one in (before, after)]
    return per, [_volume(one.traffic) if one and one.traffic else None for one in (before, after)]


def is_scaled(policy: Policy | None) -> bool:
    """Whether its traffic is stated per another window than a month, or a batch."""
    return bool(policy and policy.traffic and policy.traffic.per is not Window.MONTH)


def _per(traffic: Traffic) -> Per:
    return "total" if traffic.per is Window.TOTAL else "month"


def _volume(traffic: Traffic) -> Volume:
    """Of a geometric series of windows."""
    first = traffic.requests * _PER_MONTH.get(traffic.per, 1.0)
    growth = traffic.growth
    if growth is None or growth.windows == 1 or not growth.rate:
        return Volume(first, first, first)
    windows, rise = growth.windows, log1p(growth.rate)
    mean = first * expm1(windows * rise) / (windows * growth.rate)
    return Volume(mean, first, first * exp((windows - 1) * rise))
