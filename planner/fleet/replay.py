"""A fleet put to the test: a trace through its replicas, request by request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.fleet.answer import Fleet, FleetHour
from planner.fleet.certified import CertifiedPlan
from planner.fleet.drawing import Draw
from planner.fleet.needs import HOUR_S
from planner.fleet.question import FleetQuestion
from planner.fleet.simulation import simulate
from planner.fleet.traffic import Trace, played
from profiles.errors import InputError
from profiles.profile import Profile

_BATCHES = 20

MOST_REQUESTS = 5_000_000
"""More would take gigabytes of memory."""


@dataclass(frozen=True, slots=True)
class ReplayedHour:
    """What requests of one hour met.

    Attributes:
        hour: Place in the shape.
        requests: That came.
        planned_late_share: By Erlang C, for the hour's expected requests and its peaks.
        late_share: Of those that came, waited too long; None where none came.
        late_share_se: Standard error of it, from twenty spans of the hour.
        wait_mean_s: Mean seconds of waiting.
        busiest_minute: Requests of its busiest minute over those of its mean minute.
    """

    hour: int
    requests: int
    planned_late_share: float
    late_share: float | None
    late_share_se: float | None
    wait_mean_s: float | None
    busiest_minute: float | None


@dataclass(frozen=True, slots=True)
class FleetReplay:
    """A fleet's hours as replayed.

    Attributes:
        hours: One by one.
        requests: In all.
        wait_s: A request that waits longer is late.
        allowed_late_share: What the question allows; None where its rule states none.
        late_share: Of all requests.
        arrival_scv: Squared coefficient of variation of times between requests of the trace.
        service_scv: Likewise of the seconds of service that were drawn, over all stops.
        lengths: How service times were spread: ``tokens``, ``exponential`` or ``both``.
        usd: What the fleet costs over the shape.
        seed: Of the draws.
    """

    hours: tuple[ReplayedHour, ...]
    requests: int
    wait_s: float
    allowed_late_share: float | None
    late_share: float
    arrival_scv: float
    service_scv: float
    lengths: str
    usd: float
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def replay_fleet(
    question: FleetQuestion,
    fleet: Fleet,
    plans: Sequence[CertifiedPlan],
    trace: Trace,
    profile: Profile | None = None,
    *,
    seed: int = 0,
) -> FleetReplay:
    """Send a trace through a fleet.

    Args:
        question: That the fleet answers.
        fleet: From `planner.fleet.fleet.plan_fleet`.
        plans: Those that it was given.
        trace: Shape of the traffic; every hour plays it at its own speed.
        profile: As for `plan_fleet`.
        seed: Of classes, strategies, shapes and lengths.

    Raises:
        InputError: More requests than a replay holds in memory.
    """
    asked = [hour.requests for hour in fleet.hours]
    if sum(asked) > MOST_REQUESTS:
        raise InputError(
            "too many requests to replay",
            where="requests_per_hour",
            expected=f"at most {MOST_REQUESTS:,} in all",
            got=f"{sum(asked):,.0f}",
            next_step="replay a file about the busiest day alone",
        )
    requests = played(trace, asked)
    arrivals_s, hour_of = requests.arrivals_s, requests.hours
    draw = Draw(question, {plan.name: plan for plan in plans}, trace, profile, seed)
    stops = draw.stops(fleet.hours, requests)
    waits = np.array(simulate(arrivals_s, stops, draw.sizes(fleet.hours), len(draw.queues)))
    took = np.array([stop.service_s for one in stops for stop in one])
    late = waits > question.headroom.wait_s
    hours = [
        _hour(hour, late[hour_of == h], waits[hour_of == h], arrivals_s[hour_of == h])
        for h, hour in enumerate(fleet.hours)
    ]
    return FleetReplay(
        hours=tuple(hours),
        requests=len(waits),
        wait_s=question.headroom.wait_s,
        allowed_late_share=question.headroom.late_share,
        late_share=float(late.mean()) if len(late) else 0.0,
        arrival_scv=trace.arrival_scv,
        service_scv=float(took.var() / took.mean() ** 2) if len(took) else 0.0,
        lengths=draw.lengths(fleet.hours),
        usd=fleet.usd,
        seed=seed,
    )


def _hour(
    hour: FleetHour,
    late: NDArray[np.bool_],
    waits: NDArray[np.float64],
    arrivals_s: NDArray[np.float64],
) -> ReplayedHour:
    if not len(late):
        return ReplayedHour(hour.hour, 0, hour.late_share, None, None, None, None)
    minutes = (arrivals_s - hour.hour * HOUR_S) / 60
    by_minute = np.bincount(np.clip(minutes.astype(np.intp), 0, 59), minlength=60)
    spans = [part.mean() for part in np.array_split(late, _BATCHES) if len(part)]
    error = float(np.std(spans, ddof=1) / math.sqrt(len(spans))) if len(spans) > 1 else None
    return ReplayedHour(
        hour=hour.hour,
        requests=len(late),
        planned_late_share=hour.late_share,
        late_share=float(late.mean()),
        late_share_se=error,
        wait_mean_s=float(waits.mean()),
        busiest_minute=float(by_minute.max() / by_minute.mean()),
    )
