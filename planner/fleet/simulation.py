"""Queues whose number of slots changes, one event at a time: the judge of the formulas."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_FINISH, _RESIZE, _ARRIVE = 0, 1, 2
"""Order of events at one time: who leaves makes room first."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A piece of work: at which queue, for how many seconds."""

    queue: int
    service_s: float


@dataclass(slots=True)
class _Queue:
    slots: int = 0
    busy: int = 0
    closing: bool = False
    waiting: deque[tuple[float, int, int]] = field(default_factory=deque)


def simulate(
    arrivals_s: Iterable[float],
    stops: Sequence[Sequence[Stop]],
    sizes: Iterable[tuple[float, int, int]],
    queues: int,
) -> list[float]:
    """Seconds that every request waits, over all its stops.

    Requests are served first come first served. Where slots become fewer, running work ends in
    peace; where they become none, what waits there is served before they go.

    Args:
        arrivals_s: Ascending, seconds.
        stops: Per request, in order.
        sizes: (seconds, queue, slots) from that time on.
        queues: How many there are; all start without slots.
    """
    return _Simulation(arrivals_s, stops, sizes, queues).run()


class _Simulation:
    def __init__(
        self,
        arrivals_s: Iterable[float],
        stops: Sequence[Sequence[Stop]],
        sizes: Iterable[tuple[float, int, int]],
        queues: int,
    ) -> None:
        self._stops = stops
        self._waited = [0.0] * len(stops)
        self._queues = [_Queue() for _ in range(queues)]
        self._events: list[tuple[float, int, int, int, int]] = [
            (at, _RESIZE, queue, slots, 0) for at, queue, slots in sizes
        ]
        self._events += [(at, _ARRIVE, i, 0, 0) for i, at in enumerate(arrivals_s) if stops[i]]
        heapq.heapify(self._events)

    def run(self) -> list[float]:
        while self._events:
            at, kind, first, second, third = heapq.heappop(self._events)
            if kind == _ARRIVE:
                self._enter(at, first, 0)
            elif kind == _FINISH:
                self._finish(at, first, second, third)
            else:
                self._resize(at, first, second)
        return self._waited

    def _enter(self, at: float, request: int, stop: int) -> None:
        queue = self._stops[request][stop].queue
        self._queues[queue].waiting.append((at, request, stop))
        self._serve(at, queue)

    def _finish(self, at: float, queue: int, request: int, stop: int) -> None:
        self._queues[queue].busy -= 1
        self._serve(at, queue)
        if stop + 1 < len(self._stops[request]):
            self._enter(at, request, stop + 1)

    def _resize(self, at: float, queue: int, slots: int) -> None:
        place = self._queues[queue]
        place.closing = slots == 0 and bool(place.waiting)
        if not place.closing:
            place.slots = slots
        self._serve(at, queue)

    def _serve(self, at: float, queue: int) -> None:
        place = self._queues[queue]
        while place.waiting and place.busy < place.slots:
            came, request, stop = place.waiting.popleft()
            self._waited[request] += at - came
            place.busy += 1
            ends = at + self._stops[request][stop].service_s
            heapq.heappush(self._events, (ends, _FINISH, queue, request, stop))
        if place.closing and not place.waiting:
            place.slots, place.closing = 0, False
