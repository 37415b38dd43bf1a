"""What a certified plan asks of the pools: seconds of a slot per request, by shape of replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from planner.fleet.certified import CertifiedPlan
from planner.fleet.question import FleetQuestion, Server
from profiles.errors import InputError, UnknownValueError
from profiles.profile import Profile

Option = tuple[str, int]
"""A shape of replica: pool name and index into its servers."""


@dataclass(frozen=True)
class Work:
    """What one plan asks of every pool that it uses.

    Attributes:
        visits: Share of requests that come to a pool, by pool.
        busy_s: Seconds of a slot that one request of the whole traffic takes, by shape.
        bought_usd: Dollars per request for strategies without a pool.
    """

    visits: Mapping[str, float]
    busy_s: Mapping[Option, float]
    bought_usd: float

    def service_s(self, option: Option) -> float:
        """Mean seconds of service of a request that comes."""
        return self.busy_s[option] / self.visits[option[0]]


def work_of(
    question: FleetQuestion, plans: Sequence[CertifiedPlan], profile: Profile | None
) -> tuple[Work, ...]:
    """What every plan asks of the pools.

    Args:
        question: Pools and their throughput.
        plans: Columns.
        profile: Needed where a server's speed rests on measured GPU-seconds or tokens.

    Raises:
        InputError: A strategy of a plan has no pool, or two with one measured figure.
        UnknownValueError: A throughput, token count or price that is needed is unknown.
    """
    return tuple(_work(question, plan, profile) for plan in plans)


def _work(question: FleetQuestion, plan: CertifiedPlan, profile: Profile | None) -> Work:
    visits: dict[str, float] = {}
    busy_s: dict[Option, float] = {}
    bought = 0.0
    for class_name, strategy, share in plan.shares():
        pools = [name for name, pool in question.pools.items() if strategy in pool.strategies]
        if not pools:
            bought += share * _bought(question, plan, class_name, strategy)
        for name in pools:
            visits[name] = visits.get(name, 0.0) + share
            for i, server in enumerate(question.pools[name].servers):
                where = f"pools.{name}.servers.{i}"
                _refuse_shared_figure(server, strategy, pools, where)
                took = slot_seconds(server, class_name, strategy, profile, where)
                busy_s[name, i] = busy_s.get((name, i), 0.0) + share * took
    return Work(visits, busy_s, bought)


def _bought(question: FleetQuestion, plan: CertifiedPlan, class_name: str, strategy: str) -> float:
    if strategy not in question.by_request:
        named = {name for pool in question.pools.values() for name in pool.strategies}
        near = get_close_matches(strategy, sorted(named | set(question.by_request)), n=1)
        raise InputError(
            f"{strategy} is part of {plan.name} and has no pool",
            where="pools",
            got=f"the like of it: {near[0]}" if near else None,
            next_step="name it, as the plan writes it, under a pool's strategies, or under "
            "by_request if it is bought",
        )
    cost = plan.cost_usd.get(class_name, {}).get(strategy)
    if cost is None:
        raise UnknownValueError(
            "the cost of this cell is unknown and by_request needs it",
            where=f"class {class_name}, strategy {strategy}",
            next_step="measure its cost, or give it a pool",
        )
    return cost


def _refuse_shared_figure(server: Server, strategy: str, pools: Sequence[str], where: str) -> None:
    if len(pools) > 1 and not isinstance(server.gpu_s, dict):
        raise InputError(
            f"{strategy} works in the pools {' and '.join(pools)}; measured figures do not say "
            "how much in which",
            where=where,
            next_step=f"give gpu_s of {strategy} in each of them",
        )


def slot_seconds(
    server: Server, class_name: str, strategy: str, profile: Profile | None, where: str
) -> float:
    """Seconds that one request occupies a slot of a server.

    GPU-seconds of a request at a steady load are latency times GPUs over requests at once, so the
    latency is GPU-seconds times slots over GPUs.

    Raises:
        UnknownValueError: The throughput is unknown.
    """
    if isinstance(server.gpu_s, dict):
        if strategy not in server.gpu_s:
            raise _unknown(f"GPU-seconds of {strategy}", f"{where}.gpu_s", "add the strategy")
        return server.gpu_s[strategy] * server.slots / server.gpus
    if profile is None:
        raise _unknown(
            f"the throughput for {strategy}", where, "pass --profiles, or give gpu_s by strategy"
        )
    cell = profile.cell(class_name, strategy)
    place = f"{where}: class {class_name}, strategy {strategy}"
    if server.gpu_s == "measured":
        if not cell.gpu_s:
            raise _unknown("the measured GPU-seconds", place, "measure them, or give gpu_s")
        return cell.gpu_s * server.slots / server.gpus
    speed = server.seconds_per_token
    if speed is None or cell.tokens_in is None or cell.tokens_out is None:
        raise _unknown("the number of tokens", place, "import token counts, or give gpu_s")
    return cell.tokens_in * speed.input + cell.tokens_out * speed.output


def _unknown(what: str, where: str, next_step: str) -> UnknownValueError:
    return UnknownValueError(f"{what} is unknown", where=where, next_step=next_step)
