"""Measuring where it is worth most to a plan: rounds of `planner.advice`, paid for one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from app.adaptive_report import AdaptiveReport
from app.planning import build_profile
from planner.advice.adaptive import confirm, next_batches, towards_hindsight, warm_up
from planner.advice.pool import Batch, Pool
from planner.fees.fixed_costs import refuse
from planner.spec import Spec
from profiles.errors import InfeasibleError, InputError
from profiles.measuring.jobs import seed_of
from profiles.measuring.measure import MeasureReport
from profiles.measuring.scorers import Task
from profiles.notes import Notes
from profiles.profile import Profile
from profiles.store.store import Store
from profiles.strategy import canonical

Jobs = Sequence[tuple[str, str, int]]


async def measure_adaptively(
    store: Store,
    spec: Spec,
    tasks: Sequence[Task],
    strategies: Sequence[str],
    pay: Callable[[Jobs], Awaitable[MeasureReport]],
    *,
    estimator: Path | None = None,
    encoder: Path | None = None,
) -> AdaptiveReport:
    """Pay for rounds until nothing more is worth its cost to the spec's plan.

    What the store already holds is not paid for again. A measurement that failed is not tried again
    in this run. The last rounds top up the cells that the plan rests on.

    Args:
        store: Where the outcomes go.
        spec: The question that the plan will answer. It must give the mix of the traffic: classes
            are measured unevenly, so what was measured does not show it.
        tasks: What can be asked.
        strategies: Text forms; those of the spec count alone where it names some.
        pay: Measures (query, strategy, sample) triples and stores what came of them.
        estimator: The difficulty graph that classes come from (`profiles.difficulty.classify`);
            labels of the tasks where absent.
        encoder: Folder of the encoder whose vectors the graph reads.

    Returns:
        The whole run's report.

    Raises:
        InputError: Classes or the mix of the traffic are not known before anything is paid for, or
            the spec has fixed costs, or limits on groups, which tasks do not name.
        UnknownValueError: A cost or tail that the plan needs was not measured.
    """
    if spec.groups:
        raise InputError(
            "tasks name no groups, so nothing can be measured for limits on groups",
            where=f"limits.accuracy: {', '.join(spec.groups)}",
            next_step="measure for a spec without by_group and max_gap",
        )
    refuse(spec, "adaptive measuring")
    run = _Run(store, spec, tasks, strategies, estimator, encoder=encoder)
    total: MeasureReport | None = None
    rounds = 0
    while True:
        batches, ended = run.next()
        jobs = run.pool.jobs(batches, run.done)
        if total is not None and not jobs:
            return _report(total, rounds, ended)
        report = await pay(_mixed(jobs))
        run.done.update(jobs)
        rounds += bool(jobs)
        total = report if total is None else _together(total, report)
        if total.stopped:
            return _report(total, rounds, None)


def _mixed(jobs: Iterable[tuple[str, str]]) -> Jobs:
    """In an order that no cell shares: latencies are to be measured under mixed load."""
    once = [(query_id, strategy, 0) for query_id, strategy in jobs]
    return sorted(once, key=lambda job: seed_of(*job))


class _Run:
    """What is known between the rounds: classes, and what was measured or tried."""

    def __init__(
        self,
        store: Store,
        spec: Spec,
        tasks: Sequence[Task],
        strategies: Sequence[str],
        estimator: Path | None,
        *,
        encoder: Path | None,
    ) -> None:
        self._store, self._spec, self._estimator = store, spec, estimator
        self._names = _asked(strategies, spec)
        self._class_of = _classes(store, spec, tasks, estimator, encoder)
        self.pool = Pool.of({task.query_id: self._class_of[task.query_id] for task in tasks})
        self.done = {(query_id, name) for query_id, name, _ in store.measured(spec.workload)}
        _refuse_unknown_mix(spec, [self._class_of[task.query_id] for task in tasks])
        _refuse_class_without_tasks(spec, {*self.pool.queries, *(d for d, _ in self._tried())})

    def next(self) -> tuple[tuple[Batch, ...], str]:
        """The next round, and what it means where nothing is left to do."""
        left = self.pool.left(self.done, self._names)
        if not any(left.values()):
            return (), "every task is measured"
        if missing := warm_up(left, self._tried()):
            return missing, ""
        profile = self._profile()
        try:
            batches = next_batches(profile, self._spec, left) or confirm(profile, self._spec, left)
            return batches, "no task that is left is worth its cost to the plan"
        except InfeasibleError as error:
            batches = towards_hindsight(profile, self._spec, left)
            return batches, f"no plan, and no more tasks that could change it: {error}"

    def _tried(self) -> Counter[tuple[str, str]]:
        known = ((self._class_of.get(query), name) for query, name in self.done)
        return Counter((label, name) for label, name in known if label is not None)

    def _profile(self) -> Profile:
        return build_profile(
            self._store,
            self._spec.workload,
            self._estimator,
            latency_limits=self._spec.latency_limits_s,
        )


def _asked(strategies: Sequence[str], spec: Spec) -> tuple[str, ...]:
    """The strategies to measure: those given, of which the spec may allow some alone."""
    names = dict.fromkeys(map(canonical, strategies))
    if spec.strategies is None:
        return tuple(names)
    allowed = set(map(canonical, spec.strategies))
    if missing := sorted(allowed - names.keys()):
        raise InputError(
            "the spec plans with a strategy that is not to be measured",
            where=f"strategies: {missing[0]}",
            expected="every strategy of the spec among --strategy and --strategies",
        )
    return tuple(name for name in names if name in allowed)


def _classes(
    store: Store,
    spec: Spec,
    tasks: Sequence[Task],
    estimator: Path | None,
    encoder: Path | None,
) -> dict[str, str]:
    """The class of every task and of every stored query that has one, before anything is paid."""
    if estimator:
        from profiles.difficulty.classify import classify

        prompts = {task.query_id: task.prompt for task in tasks}
        labels = {task.query_id: task.class_label for task in tasks if task.class_label}
        return classify(store, estimator, spec.workload, prompts, labels, encoder=encoder)
    if encoder:
        raise InputError(
            "classes come from labels here, so nothing is read by an encoder",
            where="classes",
            expected="a spec that names an estimator under 'classes'",
            next_step="leave --encoder out",
        )
    bare = next((task for task in tasks if task.class_label is None), None)
    if bare is not None:
        raise InputError(
            "this task has no class, and adaptive measuring chooses by class",
            where=f"query {bare.query_id}",
            next_step="give every task a class, fit an estimator and name it in the spec under "
            "'classes', or measure without --adaptive",
        )
    with store.reading() as execute:
        stored = execute(
            "SELECT query_id, class_label FROM queries "
            "WHERE workload = ? AND class_label IS NOT NULL",
            [spec.workload],
        ).fetchall()
    return dict(stored) | {task.query_id: task.class_label or "" for task in tasks}


def _refuse_unknown_mix(spec: Spec, classes: Iterable[str]) -> None:
    """Adaptive measuring asks some classes more often, so the profile cannot count the mix."""
    if spec.traffic and spec.traffic.mix:
        return
    counts = Counter(classes)
    shares = ", ".join(f"{name}: {n / counts.total():.9g}" for name, n in sorted(counts.items()))
    raise InputError(
        "adaptive measuring needs the mix of the traffic: it asks some classes more often than "
        "others, so a plan could not count the mix from what it measured",
        where="traffic.mix",
        expected="a share per class, with a sum of 1",
        next_step=f"write it into the spec; if these {counts.total()} tasks are drawn like the "
        f"traffic, it is mix: {{{shares}}}",
    )


def _refuse_class_without_tasks(spec: Spec, known: set[str]) -> None:
    mix: Mapping[str, float] = spec.traffic.mix or {} if spec.traffic else {}
    missing = next((name for name, share in mix.items() if share > 0 and name not in known), None)
    if missing is not None:
        raise InputError(
            "this class has traffic, but no task and nothing measured",
            where=f"traffic.mix.{missing}",
            expected=f"one of {', '.join(sorted(known))}",
            next_step="add tasks of this class",
        )


def _together(first: MeasureReport, then: MeasureReport) -> MeasureReport:
    """Two rounds as one; what was paid is already counted over the whole run."""
    failures = Notes()
    for note in first.failures + then.failures:
        failures.add(note.text, note.examples[0], note.count)
    return replace(
        then,
        planned=first.planned + then.planned,
        resumed=first.resumed + then.resumed,
        measured=first.measured + then.measured,
        failed=first.failed + then.failed,
        failures=failures.all(),
        below_level=first.below_level + then.below_level,
        stored_elsewhere=first.stored_elsewhere + then.stored_elsewhere,
    )


def _report(total: MeasureReport, rounds: int, ended: str | None) -> AdaptiveReport:
    fields = {name: getattr(total, name) for name in MeasureReport.__slots__}
    return AdaptiveReport(**fields, rounds=rounds, ended=ended)
