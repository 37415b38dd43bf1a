"""From the solver's floats to a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.fleet.answer import Fleet, FleetHour, ReplicaSet
from planner.fleet.certified import turns_noise
from planner.fleet.model import Problem
from planner.fleet.needs import load_of
from planner.fleet.question import FleetQuestion
from planner.fleet.queueing import late_share
from planner.programme.lp_solver import SOLVER

Values = Mapping[tuple[str, Any], float]


def assemble(problem: Problem, values: Values) -> Fleet:
    """Whole numbers out of the solver's floats, and every figure from them anew.

    Bounds and the proof are left for the caller to fill in.

    Args:
        problem: That was solved.
        values: Solution by the model's variable and index.
    """
    question, line = problem.question, problem.timeline
    hours: dict[int, FleetHour] = {}
    bought_usd = 0.0
    for h, one in enumerate(line.slices):
        j = max(range(len(problem.plans)), key=lambda j: values["run", (h, j)])
        sets = _sets(problem, values, h, j)
        held = {t: sum(part.gpus for part in sets if part.gpu == t) for t in question.gpus}
        reserved = {t: round(values["reserved", (one.block, t)]) for t in question.gpus}
        extra = {t: max(0, held[t] - reserved[t]) for t in question.gpus}
        bought = one.requests * problem.works[j].bought_usd
        bought_usd += bought * len(one.hours)
        usd = bought + _usd(question, reserved, extra)
        plan = problem.plans[j]
        for hour in one.hours:
            hours[hour] = FleetHour(
                hour, one.requests, plan.name, plan.promised_accuracy, reserved, extra, sets, usd
            )
    ordered = tuple(hours[hour] for hour in sorted(hours))
    none = dict.fromkeys(question.gpus, 0)
    reserved_usd = sum(_usd(question, hour.reserved, none) for hour in ordered)
    extra_usd = sum(_usd(question, none, hour.on_demand) for hour in ordered)
    running = {hour.plan for hour in ordered if hour.requests}
    noise = turns_noise([plan.judged_noise for plan in problem.plans if plan.name in running])
    total = sum(hour.requests for hour in ordered)
    promised = sum(h.requests * h.promised_accuracy for h in ordered) / total - noise
    return Fleet(
        hours=ordered,
        promised_accuracy=promised,
        reserved_usd=reserved_usd,
        on_demand_usd=extra_usd,
        by_request_usd=bought_usd,
        bound_usd=0.0,
        fractional_usd=0.0,
        rounded_up_usd=None,
        proven=False,
        solver=SOLVER,
    )


def _sets(problem: Problem, values: Values, h: int, j: int) -> tuple[ReplicaSet, ...]:
    one = problem.timeline.slices[h]
    question, work = problem.question, problem.works[j]
    found = []
    for n, need in enumerate(problem.needs):
        if (need.slice_at, need.plan_at) != (h, j):
            continue
        picked = max(range(len(need.choices)), key=lambda c: values["pick", (n, c)])
        choice = need.choices[picked]
        room = question.headroom
        for i, server in enumerate(question.pools[need.pool].servers):
            replicas = round(choice.replicas[i])
            if not replicas:
                continue
            slots, service_s = replicas * server.slots, work.service_s((need.pool, i))
            load = choice.shares[i] * load_of(work, need.pool, i, one.requests)
            peak = load * room.peak_factor
            late = late_share(slots, peak, service_s, room.wait_s, room.variability)
            found.append(
                ReplicaSet(
                    pool=need.pool,
                    server=i,
                    gpu=server.gpu,
                    replicas=replicas,
                    gpus=replicas * server.gpus,
                    slots=slots,
                    share=choice.shares[i],
                    requests=one.requests * work.visits[need.pool] * choice.shares[i],
                    service_s=service_s,
                    utilisation=load / slots,
                    late_share=late,
                )
            )
    return tuple(found)


def _usd(question: FleetQuestion, reserved: Mapping[str, int], extra: Mapping[str, int]) -> float:
    """Dollars of one hour's GPUs."""
    return sum(
        reserved[t] * (gpu.reserved_usd_per_hour or 0.0) + extra[t] * gpu.usd_per_hour
        for t, gpu in question.gpus.items()
    )
