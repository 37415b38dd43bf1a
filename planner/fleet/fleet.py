"""From a fleet question and certified plans to whole GPUs by type and hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.fleet.answer import Fleet
from planner.fleet.assembling import assemble
from planner.fleet.certified import CertifiedPlan
from planner.fleet.hours import timeline
from planner.fleet.model import (
    OBJECTIVE_SCALE,
    Problem,
    build_model,
    compile_model,
)
from planner.fleet.needs import needs_of
from planner.fleet.question import FleetQuestion
from planner.fleet.rounding import fractional
from planner.fleet.solving import minimise
from planner.fleet.ties import most_accurate
from planner.fleet.work import work_of
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Profile

_ROUNDING = 1e-9
"""Promises are written with nine digits."""


def plan_fleet(
    question: FleetQuestion,
    plans: Sequence[CertifiedPlan],
    profile: Profile | None = None,
    *,
    time_limit_s: float = 60.0,
    max_gap: float = 1e-6,
    together: bool = True,
) -> Fleet:
    """The cheapest fleet, and which certified plan runs in which hour.

    Among equally cheap ones, the plans with the higher promises run.

    Args:
        question: Traffic, prices, pools.
        plans: Columns from `planner.fleet.certified.certified`. Without an accuracy floor the first
            one runs always.
        profile: Needed where a throughput rests on what was measured.
        time_limit_s: Seconds for the search.
        max_gap: Share of the cost by which the answer may be too dear and still count as proven.
        together: Solve equal hours once where that is exact.

    Raises:
        InputError: A plan's strategy has no pool.
        UnknownValueError: A throughput or price is unknown.
        InfeasibleError: No fleet within the limits; says what would help.
        UnprovenError: Time ran out with nothing found. With something found, `Fleet.proven` is
            False and `Fleet.gap` says how much cheaper a fleet could be.
    """
    problem = _problem(question, _eligible(question, plans), profile, together=together)
    arrays = compile_model(build_model(problem))
    try:
        parts = fractional(problem)
        found = minimise(arrays, time_limit_s=time_limit_s, max_gap=max_gap)
    except InfeasibleError as error:
        raise _too_few_gpus(problem) from error
    x = most_accurate(problem, arrays, found.x)
    values = {key: float(x[column]) for key, column in arrays.place.items()}
    fleet = assemble(problem, values)
    bound = found.bound / OBJECTIVE_SCALE * problem.unit_usd()
    return replace(
        fleet,
        bound_usd=min(max(bound, parts.usd), fleet.usd),
        fractional_usd=min(parts.usd, fleet.usd),
        rounded_up_usd=parts.rounded_up_usd,
        proven=found.proven,
    )


def _eligible(question: FleetQuestion, plans: Sequence[CertifiedPlan]) -> tuple[CertifiedPlan, ...]:
    floor = question.accuracy
    if floor is None:
        return tuple(plans[:1])
    best = max(plans, key=lambda plan: plan.promised_accuracy)
    if best.promised_accuracy < floor.promised - _ROUNDING:
        raise InfeasibleError(
            f"no plan promises {floor.promised:g}: the best, {best.name}, promises "
            f"{best.promised_accuracy:.4f}\n  next: lower accuracy.promised, or make a plan with "
            "a higher floor and pass it with --plan"
        )
    if floor.over == "period":
        return tuple(plans)
    return tuple(plan for plan in plans if plan.promised_accuracy >= floor.promised - _ROUNDING)


def _problem(
    question: FleetQuestion,
    plans: tuple[CertifiedPlan, ...],
    profile: Profile | None,
    *,
    together: bool,
) -> Problem:
    floor = question.accuracy
    tied = floor is not None and floor.over == "period" and len(plans) > 1
    line = timeline(question.requests, question.block_hours, together=together and not tied)
    works = work_of(question, plans, profile)
    return Problem(question, plans, works, line, needs_of(question, works, line.slices))


def _too_few_gpus(problem: Problem) -> InfeasibleError:
    """What the cheapest fleet would hold if there were as many GPUs as one wants."""
    gpus = {
        name: gpu.model_copy(update={"at_most": None})
        for name, gpu in problem.question.gpus.items()
    }
    free = replace(problem, question=problem.question.model_copy(update={"gpus": gpus}))
    needs = needs_of(free.question, free.works, free.timeline.slices)
    free = replace(free, needs=needs)
    arrays = compile_model(build_model(free))
    try:
        found = minimise(arrays, max_gap=0.01)
    except UnprovenError:
        return InfeasibleError("no fleet within at_most carries this traffic")
    values = {key: float(found.x[column]) for key, column in arrays.place.items()}
    hours = assemble(free, values).hours
    lines = []
    for name, gpu in problem.question.gpus.items():
        peak = max(hours, key=lambda hour: hour.reserved[name] + hour.on_demand[name])
        held = peak.reserved[name] + peak.on_demand[name]
        if gpu.at_most is not None and held > gpu.at_most:
            lines.append(
                f"gpus.{name}.at_most is {gpu.at_most}, hour {peak.hour} would hold {held}"
            )
    return InfeasibleError(
        "no fleet within at_most carries this traffic\n  without that limit the cheapest one: "
        + "; ".join(lines)
        + "\n  next: raise at_most, allow more waiting under headroom, or pass a plan that needs "
        "fewer GPU-seconds"
    )
