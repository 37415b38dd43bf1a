"""Measure strategies on tasks: bounded concurrency, nothing paid for twice, nothing guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from profiles.measuring.agenda import Agenda, agenda
from profiles.measuring.jobs import Job, Key, seed_of
from profiles.measuring.measuring import Answer, Measuring, Progress, Result, Score
from profiles.measuring.outlook import Outlook, Paid, Standing
from profiles.measuring.scorers import Scored, Task
from profiles.notes import Note, Notes
from profiles.observation import Evidence, Observation
from profiles.query import Answered
from profiles.store.store import Store

__all__ = ["Answered", "Job", "MeasureReport", "Scored", "Standing", "Task", "measure", "seed_of"]


@dataclass(frozen=True, slots=True)
class MeasureReport:
    """What a measuring run did.

    Attributes:
        planned: Outcomes asked for: queries x strategies x samples x levels of concurrency.
        resumed: Of these, already in the store and not paid for again.
        measured: New observations.
        failed: Outcomes that failed; they are no observations and a further run tries them again.
        failures: Kinds of failure with counts and examples.
        below_level: New observations that ended while fewer requests than their level were in
            flight, as the last of every level do.
        stopped: Why the run stopped before its end, None where it did not.
        left: Outcomes still to measure.
        spent_usd: Newly paid, failed calls and judges included; None where a price is unknown.
        left_usd: What the rest would cost at the means measured so far, None where a strategy's
            cost was never measured.
        stored_elsewhere: Of the new observations, those that somebody else had stored by the time
            they were; theirs stand.
        at_bound: Calls that did not say what they used. `spent_usd` has them at their upper bound,
            so it is the most that was paid, not what was paid.
        beyond_cap: Calls that were billed for more completion tokens than they had asked for.
    """

    planned: int
    resumed: int
    measured: int
    failed: int
    failures: tuple[Note, ...]
    below_level: int
    stopped: str | None
    left: int
    spent_usd: float | None
    left_usd: float | None
    stored_elsewhere: int = field(default=0, kw_only=True)
    at_bound: int = field(default=0, kw_only=True)
    beyond_cap: int = field(default=0, kw_only=True)


async def measure(
    store: Store,
    *,
    workload: str,
    problems: Sequence[Task],
    answer: Answer,
    score: Score,
    strategies: Sequence[str] = (),
    samples: int = 1,
    jobs: Iterable[tuple[str, str, int]] | None = None,
    concurrency: int | Sequence[int] = 8,
    paid: Callable[[], Paid] = Paid,
    stored: Callable[[Iterable[Key]], None] = lambda _: None,
    progress: Progress | None = None,
    evidence: Evidence = Evidence.MEASURED,
    source: str = "",
) -> MeasureReport:
    """Answer problems with strategies and store the outcomes as they come.

    Strategies take turns, so latencies are measured under mixed load; levels of concurrency follow
    each other and are never mixed. Observations are committed every 200 or every 2 seconds: a kill
    loses no more than that, and a further run goes on where this one stopped. An outcome counts as
    measured at its level; where one level is asked for, also at an unknown one.

    Args:
        store: Open for writing.
        workload: Which traffic the problems are.
        problems: What is asked.
        answer: A job to its answer; raises UpstreamError where a call failed, BudgetRefusedError
            where it does not fit the money: with `retry_after_s` when money in flight may come
            back, without when this run is over.
        score: (task, answer's text) to its correctness; errors as those of `answer`.
        strategies: Text forms, each measured on every problem.
        samples: Repetitions per query and strategy.
        jobs: (query, strategy, sample) to measure instead of every pair.
        concurrency: Requests in flight, at least 1; several are measured one after another.
        paid: What this run has newly paid.
        stored: Told the keys of the outcomes that the store holds for certain.
        progress: Called after every outcome.
        evidence: What the numbers are.
        source: The endpoint or programme that answers.

    Raises:
        InputError: Another prompt under a stored id, a job on an unknown query, a scorer that
            fails. What was measured until then is stored.
        UpstreamError: Every call failed; the run stops after the first few.
    """
    to_do = agenda(
        store,
        workload,
        problems,
        strategies=strategies,
        samples=samples,
        jobs=jobs,
        concurrency=concurrency,
    )
    stored(to_do.known)
    outlook = Outlook(to_do.blocks, to_do.mean_usd, paid)
    run = Measuring(
        add=partial(keep, store),
        workload=workload,
        tasks={task.query_id: task for task in problems},
        answer=answer,
        score=score,
        stored=stored,
        outlook=outlook,
        progress=progress,
        evidence=evidence,
        source=source,
    )
    await run.all(to_do.blocks)
    return report_of(to_do, [run.result()], outlook)


def keep(store: Store, rows: Iterable[Observation]) -> int:
    """Store observations; how many of them somebody else had stored first. Theirs stand."""
    report = store.add(rows)
    return report.duplicates + report.conflicts


def report_of(done: Agenda, results: Sequence[Result], outlook: Outlook) -> MeasureReport:
    """What runs that shared an agenda did together."""
    failures = Notes()
    for note in (note for result in results for note in result.failures):
        failures.add(note.text, note.examples[0], note.count)
    paid = outlook.paid()
    return MeasureReport(
        planned=done.planned,
        resumed=done.resumed,
        measured=sum(result.measured for result in results),
        failed=sum(result.failed for result in results),
        failures=failures.all(),
        below_level=sum(result.below_level for result in results),
        stopped=next((result.stopped for result in results if result.stopped), None),
        left=outlook.left,
        spent_usd=outlook.spent_usd,
        left_usd=outlook.left_usd,
        stored_elsewhere=sum(result.stored_elsewhere for result in results),
        at_bound=paid.at_bound,
        beyond_cap=paid.beyond_cap,
    )
