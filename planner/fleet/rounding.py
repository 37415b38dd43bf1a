"""The fleet if GPUs could be rented in parts: a bound, and what rounding it up would cost.

Both stand beside the answer. The bound says what wholeness costs at most; rounding up is what one
does without a solver for whole numbers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace

from planner.fleet.certified import turns_noise
from planner.fleet.model import OBJECTIVE_SCALE, Problem, build_model, compile_model
from planner.fleet.needs import load_of, needs_of, replicas_for
from planner.fleet.solving import minimise

_DUST = 1e-7


@dataclass(frozen=True, slots=True)
class Fractional:
    """The relaxation's answer.

    Attributes:
        usd: Lower bound on the cost of every fleet.
        rounded_up_usd: Cost after rounding up, None where that breaks a limit.
    """

    usd: float
    rounded_up_usd: float | None


def fractional(problem: Problem) -> Fractional:
    """Solve the fleet with parts of GPUs, then round up.

    Every hour's largest share of a plan becomes the hour's plan, every shape gets the fewest whole
    replicas for its share of the work, and reservations go to the next whole number.

    Raises:
        InfeasibleError: Even parts of GPUs keep no limit.
    """
    slices = problem.timeline.slices
    parts = needs_of(problem.question, problem.works, slices, whole=False)
    fluid = replace(problem, needs=parts)
    arrays = compile_model(build_model(fluid))
    found = minimise(arrays, whole=False)
    usd = found.value / OBJECTIVE_SCALE * fluid.unit_usd()
    values = {key: float(found.x[column]) for key, column in arrays.place.items()}
    return Fractional(usd, _rounded_up(fluid, values))


def _rounded_up(problem: Problem, values: dict[tuple[str, object], float]) -> float | None:
    question, line = problem.question, problem.timeline
    plans = range(len(problem.plans))
    runs = [max(plans, key=lambda j: values["run", (h, j)]) for h in range(len(line.slices))]
    if not _accurate(problem, runs):
        return None
    held: dict[tuple[int, str], int] = defaultdict(int)
    for n, need in enumerate(problem.needs):
        h, j = need.slice_at, need.plan_at
        if runs[h] != j:
            continue
        shares = [values["pick", (n, c)] for c in range(len(need.choices))]
        shares = [share if share > _DUST else 0.0 for share in shares]
        work = problem.works[j]
        for i, share in enumerate(shares):
            server = question.pools[need.pool].servers[i]
            load = load_of(work, need.pool, i, line.slices[h].requests) * share / sum(shares)
            service_s = work.service_s((need.pool, i))
            replicas = replicas_for(server, load, service_s, question.headroom)
            held[h, server.gpu] += replicas * server.gpus
    reserved = {
        (b, t): math.ceil(values["reserved", (b, t)] - _DUST)
        for b in range(len(line.blocks))
        for t in question.gpus
    }
    usd = sum(
        line.blocks[b].spans
        * line.blocks[b].hours
        * count
        * (question.gpus[t].reserved_usd_per_hour or 0.0)
        for (b, t), count in reserved.items()
    )
    for h, one in enumerate(line.slices):
        usd += len(one.hours) * one.requests * problem.works[runs[h]].bought_usd
        for t, gpu in question.gpus.items():
            extra = max(0, held[h, t] - reserved[one.block, t])
            if gpu.at_most is not None and reserved[one.block, t] + extra > gpu.at_most:
                return None
            usd += len(one.hours) * extra * gpu.usd_per_hour
    return usd


def _accurate(problem: Problem, runs: list[int]) -> bool:
    floor = problem.question.accuracy
    if floor is None or floor.over == "hour":
        return True
    slices = problem.timeline.slices
    asked = [len(one.hours) * one.requests for one in slices]
    promised = [problem.plans[j].promised_accuracy for j in runs]
    mean = sum(n * p for n, p in zip(asked, promised, strict=True)) / sum(asked)
    noise = turns_noise([plan.judged_noise for plan in problem.plans])
    return mean >= floor.promised + noise - 1e-9
