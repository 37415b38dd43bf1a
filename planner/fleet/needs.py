"""What a pool could run in an hour: whole replicas of its shapes that together carry its work.

The load that replicas carry grows faster than their number (`queueing.usable_load`), so it is no
linear row of a programme. Every smallest combination of replicas is a choice of its own instead:
exact, and with the tightest relaxation that one pool can have.

Shapes of one pool are queues of their own, each with a fixed share of the requests. One queue for
all of them could only wait less. At most two shapes of a pool run in one hour, so that the number
of choices grows with the size of a pool and not with its square.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from planner.fleet.hours import Slice
from planner.fleet.question import FleetQuestion, Headroom, Server
from planner.fleet.queueing import slots_needed, usable_load
from planner.fleet.work import Work

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Replicas that together carry a pool's work.

    Attributes:
        replicas: Per shape of the pool; whole, except in the bound without whole GPUs.
        shares: Share of the pool's requests per shape, summing to 1.
        gpus: GPUs that they take, by type; types in use only.
    """

    replicas: tuple[float, ...]
    shares: tuple[float, ...]
    gpus: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Need:
    """One pool under one plan in one slice.

    Attributes:
        slice_at: Index of the slice.
        plan_at: Index of the plan.
        pool: Name.
        choices: Exactly one is taken where the plan runs; none means that it cannot run.
    """

    slice_at: int
    plan_at: int
    pool: str
    choices: tuple[Choice, ...]


def needs_of(
    question: FleetQuestion, works: Sequence[Work], slices: Sequence[Slice], *, whole: bool = True
) -> tuple[Need, ...]:
    """All choices of all pools; without whole GPUs, one choice per shape, to be mixed at will."""
    listed = _whole if whole else _parts
    return tuple(
        Need(h, j, pool, tuple(listed(question, work, pool, one.requests)))
        for h, one in enumerate(slices)
        if one.requests > 0
        for j, work in enumerate(works)
        for pool in question.pools
        if pool in work.visits
    )


def load_of(work: Work, pool: str, server: int, requests: float) -> float:
    """Mean erlangs of an hour, were all of a pool's work on one shape."""
    return requests / HOUR_S * work.busy_s[pool, server]


def replicas_for(server: Server, load: float, service_s: float, headroom: Headroom) -> int:
    """Fewest replicas that may carry a mean load and its peaks."""
    peak = load * headroom.peak_factor
    return slots_needed(peak, service_s, headroom, step=server.slots) // server.slots


def _whole(question: FleetQuestion, work: Work, pool: str, requests: float) -> list[Choice]:
    """Combinations of replicas without any to spare, one for each number of GPUs by type."""
    servers = question.pools[pool].servers
    covers = [_coverage(question, work, pool, i, requests) for i in range(len(servers))]
    found: dict[tuple[int, ...], Choice] = {}
    for replicas in _smallest(covers):
        carried = [cover[k] for cover, k in zip(covers, replicas, strict=True)]
        gpus: dict[str, float] = {}
        for server, k in zip(servers, replicas, strict=True):
            if k:
                gpus[server.gpu] = gpus.get(server.gpu, 0) + k * server.gpus
        shares = tuple(part / sum(carried) for part in carried)
        held = tuple(int(gpus.get(name, 0)) for name in question.gpus)
        found.setdefault(held, Choice(replicas, shares, gpus))
    return list(found.values())


def _smallest(covers: Sequence[Sequence[float]]) -> Iterator[tuple[int, ...]]:
    """Replicas of one shape or two, none of which could be spared.

    Args:
        covers: By shape, the share of the work that 0, 1, 2, ... replicas carry.
    """
    shapes = range(len(covers))
    for i in shapes:
        if covers[i][-1] >= 1.0:
            yield tuple((len(covers[i]) - 1) * (i == k) for k in shapes)
    for i, j in combinations(shapes, 2):
        fewest = bisect_left(covers[j], 1.0)
        for count in range(1, len(covers[i])):
            needed = bisect_left(covers[j], 1.0 - covers[i][count])
            if 0 < needed < fewest:
                yield tuple(count * (i == k) + needed * (j == k) for k in shapes)
            fewest = min(fewest, needed)


def _coverage(
    question: FleetQuestion, work: Work, pool: str, i: int, requests: float
) -> list[float]:
    """Share of a pool's work that 0, 1, 2, ... replicas of a shape may carry, up to all of it."""
    server = question.pools[pool].servers[i]
    load, service_s = load_of(work, pool, i, requests), work.service_s((pool, i))
    enough = replicas_for(server, load, service_s, question.headroom)
    at_most = question.gpus[server.gpu].at_most
    most = enough if at_most is None else min(enough, at_most // server.gpus)
    return [
        1.0 if k == enough else _usable(k * server.slots, service_s, question.headroom) / load
        for k in range(most + 1)
    ]


def _parts(question: FleetQuestion, work: Work, pool: str, requests: float) -> Iterator[Choice]:
    """The fewest GPUs per unit of work that any number of replicas reaches, used in any amount."""
    servers = question.pools[pool].servers
    for i, server in enumerate(servers):
        load, service_s = load_of(work, pool, i, requests), work.service_s((pool, i))
        enough = replicas_for(server, load, service_s, question.headroom)
        # usable load per slot grows with the slots, so the largest number is the best
        replicas = load * enough / _usable(enough * server.slots, service_s, question.headroom)
        alone = tuple(float(i == k) for k in range(len(servers)))
        counts = tuple(replicas * part for part in alone)
        yield Choice(counts, alone, {server.gpu: replicas * server.gpus})


@cache
def _usable(slots: int, service_s: float, headroom: Headroom) -> float:
    """Mean erlangs."""
    return usable_load(slots, service_s, headroom) / headroom.peak_factor
