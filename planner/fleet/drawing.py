"""The requests of a replay: class, strategy, shape and seconds of service of each.

Requests draw a class by the planned mix and a strategy by the shares of the hour's plan. Each of
the strategy's pools is visited in the order of the question, in a shape drawn by the planned
shares. A request's seconds of service are the planned mean of its cell times its own length: by the
tokens of the trace where the shape knows seconds per token, else exponential, as Erlang has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planner.fleet.answer import FleetHour
from planner.fleet.certified import CertifiedPlan
from planner.fleet.needs import HOUR_S
from planner.fleet.question import FleetQuestion, Server
from planner.fleet.simulation import Stop
from planner.fleet.traffic import Played, Trace
from planner.fleet.work import slot_seconds
from profiles.profile import Profile


class Draw:
    """Who comes, and how long it takes.

    Attributes:
        queues: Number of every shape's queue, by pool and place among its servers.
    """

    def __init__(
        self,
        question: FleetQuestion,
        plans: dict[str, CertifiedPlan],
        trace: Trace,
        profile: Profile | None,
        seed: int,
    ) -> None:
        self._question, self._plans, self._trace, self._profile = question, plans, trace, profile
        self._rng = np.random.default_rng(seed)
        self.queues = {
            (name, i): at
            for at, (name, i) in enumerate(
                (name, i) for name, pool in question.pools.items() for i in range(len(pool.servers))
            )
        }

    def sizes(self, hours: Sequence[FleetHour]) -> list[tuple[float, int, int]]:
        """Slots of every queue from every hour on."""
        found = []
        for hour in hours:
            slots = {(one.pool, one.server): one.slots for one in hour.sets}
            for option, queue in self.queues.items():
                found.append((hour.hour * HOUR_S, queue, slots.get(option, 0)))
        return found

    def lengths(self, hours: Sequence[FleetHour]) -> str:
        """Whether lengths come from tokens."""
        used = {(one.pool, one.server) for hour in hours for one in hour.sets}
        by_tokens = {self._by_tokens(self._question.pools[p].servers[i]) for p, i in used}
        if len(by_tokens) > 1:
            return "both"
        return "tokens" if by_tokens == {True} else "exponential"

    def stops(self, hours: Sequence[FleetHour], requests: Played) -> list[list[Stop]]:
        """Every request's work."""
        found: list[list[Stop]] = []
        for h, hour in enumerate(hours):
            own = requests.places[requests.hours == h]
            if not len(own):
                continue
            cells = self._plans[hour.plan].shares()
            weights = np.array([share for _, _, share in cells])
            drawn = self._rng.choice(len(cells), size=len(own), p=weights / weights.sum())
            of_hour: list[list[Stop]] = [[] for _ in own]
            for c, (class_name, strategy, _) in enumerate(cells):
                members = np.flatnonzero(drawn == c)
                for pool in self._question.pools:
                    if strategy in self._question.pools[pool].strategies:
                        work = self._work(hour, pool, class_name, strategy, own[members])
                        for i, stop in zip(members, work, strict=True):
                            of_hour[i].append(stop)
            found += of_hour
        return found

    def _work(
        self, hour: FleetHour, pool: str, class_name: str, strategy: str, places: NDArray[np.intp]
    ) -> list[Stop]:
        """One stop per request at one of the pool's shapes."""
        sets = [one for one in hour.sets if one.pool == pool]
        shares = np.array([one.share for one in sets])
        drawn = self._rng.choice(len(sets), size=len(places), p=shares / shares.sum())
        service_s = np.empty(len(places))
        for k, one in enumerate(sets):
            server = self._question.pools[pool].servers[one.server]
            where = f"pools.{pool}.servers.{one.server}"
            mean_s = slot_seconds(server, class_name, strategy, self._profile, where)
            here = drawn == k
            service_s[here] = mean_s * self._lengths(server, places[here])
        queues = [self.queues[pool, one.server] for one in sets]
        return [Stop(queues[k], float(s)) for k, s in zip(drawn, service_s, strict=True)]

    def _by_tokens(self, server: Server) -> bool:
        return server.seconds_per_token is not None and self._trace.has_tokens

    def _lengths(self, server: Server, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Service times over their mean: 1 on average over the trace."""
        speed, trace = server.seconds_per_token, self._trace
        if speed is None or trace.tokens_in is None or trace.tokens_out is None:
            return self._rng.exponential(size=len(places))
        took_s = speed.input * trace.tokens_in + speed.output * trace.tokens_out
        return np.asarray(took_s[places] / took_s.mean())
