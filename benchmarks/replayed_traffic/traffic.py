"""When requests come: Azure's traces of 2023, made faster, and the arms that are run on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.fleet_hours import requests_of
from benchmarks.replayed_traffic.planned import DAY_S, PART_S

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]

TRACES = {"conversations": "conv", "code": "code"}
SEED = 20231116


@dataclass(frozen=True, slots=True)
class Replay:
    """How the traces are played.

    Attributes:
        minutes: Of the trace, from its begin.
        speed: Trace seconds per second of ours.
        rounds: How often, one after the other.
    """

    minutes: float
    speed: float
    rounds: int = 1

    @property
    def span_s(self) -> int:
        """Seconds of ours.

        Raises:
            SystemExit: Not whole parts of a day.
        """
        span_s = self.minutes * 60 / self.speed * self.rounds
        if span_s % PART_S or not 0 < span_s < DAY_S:
            raise SystemExit(f"{span_s:g} s: expected a multiple of {PART_S} s within a day")
        return int(span_s)

    def arrivals(self, folder: Path, trace: str) -> Floats:
        """Seconds from the begin at which requests come, rising, in [0, span)."""
        once = _seconds(folder, trace)
        once = once[once < self.minutes * 60]
        every = [once + turn * self.minutes * 60 for turn in range(self.rounds)]
        return np.concatenate(every) / self.speed

    def start_s(self, now_s: float, lead_s: float) -> int:
        """Unix time of the next part of a day, a lead from now, with the whole span in one day."""
        start_s = math.ceil((now_s + lead_s) / PART_S) * PART_S
        until_midnight = DAY_S - start_s % DAY_S
        return start_s if until_midnight >= self.span_s else start_s + until_midnight


@lru_cache
def _seconds(folder: Path, trace: str) -> Floats:
    moments = sorted(one.arrived_at for one in requests_of(folder, TRACES[trace]))
    return np.array([(moment - moments[0]).total_seconds() for moment in moments])


@dataclass(frozen=True, slots=True)
class Arm:
    """One run.

    Attributes:
        trace: Of `TRACES`.
        budget: Dollars over what the best plan would cost for the requests that come.
        replicas: Gateways over one store.
        replay: How the trace is played.
    """

    trace: str
    budget: float
    replicas: int
    replay: Replay

    @property
    def name(self) -> str:
        """Of its folder."""
        played = f"{self.replay.minutes:g}m-{self.replay.speed:g}x-{self.replay.rounds}"
        return f"{self.trace}-{self.budget:g}-{self.replicas}-{played}"

    @classmethod
    def named(cls, name: str) -> Arm:
        """The arm of a folder."""
        trace, budget, replicas, minutes, speed, rounds = name.split("-")
        replay = Replay(float(minutes.rstrip("m")), float(speed.rstrip("x")), int(rounds))
        return cls(trace, float(budget), int(replicas), replay)

    def problems(self, requests: int, known: int) -> Indices:
        """Which problem each request asks; the same for every budget and number of replicas."""
        rng = np.random.default_rng([SEED, list(TRACES).index(self.trace)])
        return rng.integers(known, size=requests)
