"""Requests for a replay: a recorded trace played at the speed that every hour asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.fleet.needs import HOUR_S
from profiles.arrival import Arrival
from profiles.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    """Recorded traffic without its speed.

    Attributes:
        gaps: Times between requests over their mean, so that they sum to their number; the last
            request is followed by the first after a mean gap.
        tokens_in: Prompt tokens; None where some request has none recorded.
        tokens_out: Completion tokens likewise.
    """

    gaps: Floats
    tokens_in: Floats | None = None
    tokens_out: Floats | None = None

    @property
    def has_tokens(self) -> bool:
        """Whether the length of every request is known."""
        return self.tokens_in is not None and self.tokens_out is not None

    @property
    def arrival_scv(self) -> float:
        """Squared coefficient of variation of times between requests."""
        return float(self.gaps.var() / self.gaps.mean() ** 2)


def trace_of(arrivals: Sequence[Arrival]) -> Trace:
    """A trace from recorded requests.

    Raises:
        InputError: Fewer than two requests, or all at one time.
    """
    ordered = sorted(arrivals, key=lambda one: one.arrived_at)
    if len(ordered) < 2 or ordered[0].arrived_at == ordered[-1].arrived_at:
        raise InputError(
            "the trace has no two requests at different times", got=f"{len(ordered)} requests"
        )
    start = ordered[0].arrived_at
    times = np.array([(one.arrived_at - start).total_seconds() for one in ordered])
    gaps = np.append(np.diff(times), times[-1] / (len(times) - 1))
    return Trace(
        gaps / gaps.mean(),
        _known([one.tokens_in for one in ordered]),
        _known([one.tokens_out for one in ordered]),
    )


def poisson_trace(requests: int, seed: int) -> Trace:
    """A trace with exponential times between requests and no lengths."""
    gaps = np.random.default_rng(seed).exponential(size=requests)
    return Trace(gaps / gaps.mean())


def _known(tokens: Sequence[int | None]) -> Floats | None:
    known = np.array([value for value in tokens if value is not None], dtype=np.float64)
    return known if len(known) == len(tokens) else None


@dataclass(frozen=True)
class Played:
    """Requests of a replay, in the order in which they come.

    Attributes:
        arrivals_s: Seconds from the start of hour 0.
        hours: In which hour each comes.
        places: Which request of the trace it is.
    """

    arrivals_s: Floats
    hours: NDArray[np.intp]
    places: NDArray[np.intp]


def played(trace: Trace, requests_per_hour: Sequence[float]) -> Played:
    """When requests come if the trace runs faster or slower, as every hour's requests ask for.

    Times between requests are divided by the hour's rate; the trace starts again at its end. Its
    bursts keep their size in requests, not in seconds.

    Args:
        trace: Shape of the traffic.
        requests_per_hour: Expected in each hour; 0 has none.
    """
    edges = np.concatenate([[0.0], np.cumsum(requests_per_hour)])
    loops = int(np.ceil(edges[-1] / len(trace.gaps)))
    passed = np.concatenate([[0.0], np.cumsum(np.tile(trace.gaps, loops))[:-1]])
    passed = passed[passed < edges[-1]]
    hour = np.searchsorted(edges, passed, side="right") - 1
    within = (passed - edges[hour]) / np.asarray(requests_per_hour)[hour]
    return Played((hour + within) * HOUR_S, hour, np.arange(len(passed)) % len(trace.gaps))
