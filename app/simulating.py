"""How far a plan can be trusted: resplits and drift, new queries, or recorded traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.planning import Question, prompts_by_query
from app.sorted_outcomes import measured
from profiles.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from planner.plan import Rung
    from planner.planner import Planner
    from planner.sorting.cells_of_outcomes import Indices
    from planner.trials.held_out import HeldOut
    from planner.trials.simulate import Simulation
    from planner.trials.stress import Stress
    from planner.trials.trace import TraceTrial
    from profiles.arrival import Arrival


@dataclass(frozen=True)
class Trust:
    """A plan beside what speaks for and against it.

    Attributes:
        workload: Name of the traffic.
        confidence: Of the plan's promises, None for point estimates.
        rung: The plan's first rung.
        simulation: Resplits of the store's own outcomes; None where something else judges.
        stress: The rung's allocation where inputs drift, beside resplits.
        held_out: The rung judged by new queries.
        trace: The ladder under recorded traffic.
        remarks: What these do without, in words.
    """

    workload: str
    confidence: float | None
    rung: Rung
    simulation: Simulation | None = None
    stress: Stress | None = None
    held_out: HeldOut | None = None
    trace: TraceTrial | None = None
    remarks: tuple[str, ...] = ()


def trust(
    question: Question,
    planner: Planner,
    store_path: Path,
    *,
    resplits: int,
    seed: int,
    advance: Callable[[int, int], None],
) -> Trust:
    """Plan, stress the plan, and plan again from halves of the store's outcomes.

    Args:
        question: What is asked.
        planner: Of the question; its time limit holds for every answer.
        store_path: The store that it was measured in.
        resplits: How often its queries are dealt to two halves.
        seed: Of the halves.
        advance: Told after each resplit how many are done, and of how many.

    Raises:
        LimitsClashError: No allocation keeps the limits; says which clash and what would help.
        UnprovenError: The plan itself was not proven in time; of other plans that is counted.
        UnknownValueError: A cell, cost or tail that the question needs was never measured.
        InputError: The store has no outcomes of single queries, or too few in some class.
    """
    from planner.trials.simulate import simulate
    from planner.trials.stress import stress

    answer = planner.explained(planner.limits)
    spec = planner.spec
    found = measured(question, planner, store_path)
    prompts = prompts_by_query(store_path, spec.workload)
    simulation = simulate(
        found.outcomes,
        found.sorted_by,
        groups([prompts.get(query) for query in found.query_ids]),
        spec,
        resplits=resplits,
        seed=seed,
        time_limit_s=planner.time_limit_s,
        advance=advance,
    )
    remarks = [f"left out of the resplits: {text}" for text in simulation.left_out]
    missing = sorted({*planner.estimates.strategies} - {*found.outcomes.strategies})
    if missing:
        remarks.append(
            f"left out of the resplits, without outcomes of single queries: {', '.join(missing)}"
        )
    blank = sum(query not in prompts for query in found.query_ids)
    if blank:
        count = len(found.query_ids)
        remarks.append(f"{blank} of {count} queries have no prompt and count as all different")
    return Trust(
        workload=spec.workload,
        confidence=spec.level,
        rung=planner.rung(answer, spec.objective),
        simulation=simulation,
        stress=stress(planner, answer),
        remarks=tuple(remarks),
    )


def judged_anew(
    question: Question,
    planner: Planner,
    store_path: Path,
    judge_path: Path | None,
    arrivals: Sequence[Arrival],
    *,
    seed: int,
) -> Trust:
    """Plan, and judge the plan by another store's queries, by recorded traffic, or by both.

    Args:
        question: What is asked, of the store that it was measured in.
        planner: Of the question; its time limit holds for every answer.
        store_path: That store: answers to recorded traffic come from it where no other judges.
        judge_path: Store of queries that the plan was not made from.
        arrivals: Recorded traffic; empty without any.
        seed: Of the draws for recorded traffic.

    Raises:
        LimitsClashError: No allocation keeps the limits; says which clash and what would help.
        UnprovenError: The plan was not proven in time.
        UnknownValueError: A cell, cost or tail that the question needs was never measured.
        InputError: The judging store lacks the workload, its classes, or a cell that the plan uses.
    """
    from planner.solve import solve
    from planner.trials.held_out import held_out
    from planner.trials.trace import follow

    if judge_path is not None:
        _refuse_one_store(store_path, judge_path)
    plan = solve(
        question.profile,
        question.spec,
        prices=question.prices,
        estimator=None,
        time_limit_s=planner.time_limit_s,
    )
    found = measured(question, planner, judge_path or store_path)
    return Trust(
        workload=plan.workload,
        confidence=plan.confidence,
        rung=plan.rungs[0],
        held_out=held_out(planner, plan.rungs[0], found.outcomes, found.sorted_by)
        if judge_path is not None
        else None,
        trace=follow(
            plan.rungs,
            planner.spec,
            dict(zip(plan.classes.names, plan.classes.weights, strict=True)),
            found.outcomes,
            found.sorted_by,
            arrivals_s=_seconds(arrivals),
            seed=seed,
        )
        if arrivals
        else None,
        remarks=plan.warnings if arrivals else (),
    )


def _refuse_one_store(store_path: Path, judge_path: Path) -> None:
    if judge_path.resolve() == store_path.resolve():
        raise InputError(
            "a plan is not judged by the store that it was made from",
            where=f"--judge {judge_path}",
            expected="a store with the same workload and other queries",
            next_step="leave --judge out for resplits of this store",
        )


def _seconds(arrivals: Sequence[Arrival]) -> NDArray[np.float64]:
    """Seconds from the first request on, ascending."""
    import numpy as np

    times = sorted(arrival.arrived_at for arrival in arrivals)
    return np.array([(at - times[0]).total_seconds() for at in times])


def groups(prompts: Sequence[str | None]) -> Indices:
    """Group per query: near-duplicate prompts together, a query without a prompt alone."""
    import numpy as np

    from profiles.difficulty.folds import near_duplicates

    known = np.array([prompt is not None for prompt in prompts], dtype=bool)
    found = np.zeros(len(prompts), dtype=np.intp)
    found[known] = near_duplicates([prompt for prompt in prompts if prompt is not None])
    found[~known] = np.arange((~known).sum()) + found.max(initial=-1, where=known) + 1
    return found
