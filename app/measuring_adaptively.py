"""Measuring where it is worth most to a plan: rounds of `planner.adaptive`, paid for one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from planner.adaptive import Batch, Pool, confirm, next_batches, warm_up
from planner.spec import Spec
from profiles.errors import InfeasibleError, InputError
from profiles.measuring.measure import MeasureReport
from profiles.measuring.scorers import Task
from profiles.profile import Profile
from profiles.store.store import Store
from profiles.strategy import canonical

Jobs = Sequence[tuple[str, str, int]]


def pool_of(tasks: Sequence[Task], spec: Spec) -> Pool:
    """The tasks by class, which must be known before anything is paid for.

    Raises:
        InputError: The spec sorts by an estimator, or a task has no class.
    """
    if spec.classes != "label":
        raise InputError(
            "adaptive measuring needs classes that come with the tasks",
            where="classes",
            expected="'label'",
            got=repr(spec.classes),
            next_step="write every task's class into its line of the tasks file",
        )
    bare = next((task for task in tasks if task.class_label is None), None)
    if bare is not None:
        raise InputError(
            "this task has no class, and adaptive measuring chooses by class",
            where=f"query {bare.query_id}",
            next_step="give every task a class, or measure without --adaptive",
        )
    return Pool.of({task.query_id: task.class_label or "" for task in tasks})


async def measure_adaptively(
    store: Store,
    spec: Spec,
    tasks: Sequence[Task],
    strategies: Sequence[str],
    pay: Callable[[Jobs], Awaitable[MeasureReport]],
) -> MeasureReport:
    """Pay for rounds until nothing more is worth its cost to the spec's plan.

    What the store already holds is not paid for again. A measurement that failed is not tried again
    in this run. The last rounds top up the cells that the plan rests on.

    Args:
        store: Where the outcomes go.
        spec: The question that the plan will answer; its classes are labels.
        tasks: What can be asked.
        strategies: Text forms; those of the spec count alone where it names some.
        pay: Measures (query, strategy, sample) triples and stores what came of them.

    Returns:
        The whole run's report.

    Raises:
        InputError: A task without a class.
        UnknownValueError: A cost or tail that the plan needs was not measured.
    """
    pool = pool_of(tasks, spec)
    names = tuple(dict.fromkeys(map(canonical, strategies)))
    done = {(query_id, name) for query_id, name, _ in store.measured(spec.workload)}
    total: MeasureReport | None = None
    while total is None or not total.stopped:
        batches = _round(store, spec, pool, names, done)
        jobs = pool.jobs(batches, done)
        if total is not None and not jobs:
            return total
        report = await pay([(query_id, strategy, 0) for query_id, strategy in jobs])
        done.update(jobs)
        total = report if total is None else _together(total, report)
    return total


def _round(
    store: Store, spec: Spec, pool: Pool, names: Sequence[str], done: set[tuple[str, str]]
) -> tuple[Batch, ...]:
    left = pool.left(done, names)
    class_of = {query_id: name for name, ids in pool.queries.items() for query_id in ids}
    tried = Counter((class_of[query], name) for query, name in done if query in class_of)
    if missing := warm_up(left, tried):
        return missing
    limits = (spec.limits.latency.p95_s,) if spec.limits.latency else ()
    profile: Profile = store.profile(spec.workload, latency_limits=limits)
    try:
        return next_batches(profile, spec, left) or confirm(profile, spec, left)
    except InfeasibleError:  # no query count would make the limits compatible
        return ()


def _together(first: MeasureReport, then: MeasureReport) -> MeasureReport:
    """Two rounds as one; what was paid is already counted over the whole run."""
    return replace(
        then,
        planned=first.planned + then.planned,
        resumed=first.resumed + then.resumed,
        measured=first.measured + then.measured,
        failed=first.failed + then.failed,
        failures=first.failures + then.failures,
        below_level=first.below_level + then.below_level,
    )
