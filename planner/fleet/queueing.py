"""How much load a number of slots can carry before requests wait too long.

Requests arrive one by one and take the first free slot, first come first served. Load is counted in
erlangs: arrivals per second times seconds of service, the mean number of busy slots.

Erlang's delay formula (A. K. Erlang, "Solution of some problems in the theory of probabilities of
significance in automatic telephone exchanges", 1917) is exact for Poisson arrivals and exponential
service. For other variability the wait of those who wait is stretched by ``(ca2 + cs2) / 2``
(Allen, "Probability, Statistics, and Queueing Theory", 1990, after Cunneen), an approximation.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import gammaln, pdtr

from planner.fleet.question import Headroom, Rule

_FULL = 1 - 1e-9
"""Most load per slot that is tried: at 1 the queue grows without end."""


def waiting_share(slots: int, load: float) -> float:
    """Share of requests that find all slots busy: Erlang C.

    Args:
        slots: At least 1.
        load: Erlangs, at least 0; at `slots` or more everybody waits.
    """
    if load <= 0:
        return 0.0
    if load >= slots:
        return 1.0
    log_all_busy = slots * math.log(load) - load - float(gammaln(slots + 1))
    blocked = math.exp(log_all_busy) / float(pdtr(slots, load))
    return blocked / (1 - load / slots * (1 - blocked))


def late_share(
    slots: int, load: float, service_s: float, wait_s: float, variability: float = 1.0
) -> float:
    """Share of requests that wait longer than `wait_s`.

    ``C exp(-(slots - load) wait / (service * variability))``.

    Args:
        slots: At least 1.
        load: Erlangs.
        service_s: Mean seconds of service, above 0.
        wait_s: Seconds.
        variability: (ca2 + cs2) / 2; 1 is exact for M/M/c.
    """
    if load >= slots:
        return 1.0
    patience = wait_s / service_s
    if variability <= 0:
        return 0.0 if patience > 0 else waiting_share(slots, load)
    return waiting_share(slots, load) * math.exp(-(slots - load) * patience / variability)


def usable_load(slots: int, service_s: float, headroom: Headroom) -> float:
    """Most erlangs that `slots` may carry under a rule.

    It grows faster than the slots: twice as many carry more than twice the load.
    """
    if slots < 1:
        return 0.0
    if headroom.rule is Rule.SQUARE_ROOT:
        return slots - math.sqrt(slots)
    if headroom.rule is Rule.UTILISATION:
        return slots * (headroom.utilisation or 0.0)
    allowed = headroom.late_share or 0.0

    def excess(load: float) -> float:
        late = late_share(slots, load, service_s, headroom.wait_s, headroom.variability)
        return late - allowed

    if excess(slots * _FULL) <= 0:
        return slots * _FULL
    found = brentq(excess, 0.0, slots * _FULL, xtol=1e-12, rtol=1e-12)
    return float(found) * _FULL  # the root may lie a hair beyond what is allowed


def slots_needed(load: float, service_s: float, headroom: Headroom, step: int = 1) -> int:
    """Fewest slots, a multiple of `step`, that may carry a load; 0 for no load."""
    if load <= 0:
        return 0
    high = step
    while usable_load(high, service_s, headroom) < load:
        high *= 2
    low = high // 2 // step * step
    while high - low > step:
        middle = (low + high) // 2 // step * step
        if usable_load(middle, service_s, headroom) < load:
            low = middle
        else:
            high = middle
    return high
