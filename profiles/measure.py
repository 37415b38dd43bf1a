"""Measure strategies on queries: bounded concurrency, nothing paid for twice, nothing guessed."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from profiles.errors import InputError, UpstreamError
from profiles.money import to_usd
from profiles.notes import Note, Notes
from profiles.observation import Evidence, Observation
from profiles.query import Answered, Query
from profiles.store import Store
from profiles.strategy import canonical

__all__ = ["Answered", "MeasureReport", "Query", "measure", "seed_of"]

BATCH = 200
BATCH_S = 2.0
_FIRST_FAILURES = 10

Answer = Callable[[str, str, int], Awaitable[Answered]]
Score = Callable[[str, str], float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class MeasureReport:
    """What a measuring run did.

    Attributes:
        planned: Outcomes asked for: queries x strategies x samples.
        resumed: Of these, already in the store and not paid for again.
        measured: New observations.
        failed: Calls that failed; they are no observations and a further run tries them again.
        failures: Kinds of failure with counts and examples.
    """

    planned: int
    resumed: int
    measured: int
    failed: int
    failures: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    query_id: str
    prompt: str
    strategy: str
    sample: int


async def measure(
    store: Store,
    *,
    workload: str,
    problems: Sequence[Query],
    strategies: Sequence[str],
    answer: Answer,
    score: Score,
    concurrency: int = 8,
    samples: int = 1,
    progress: Progress | None = None,
    evidence: Evidence = Evidence.MEASURED,
    source: str = "",
) -> MeasureReport:
    """Answer every problem with every strategy and store the outcomes as they come.

    Strategies take turns, so latencies are measured under mixed load. Observations are committed
    every 200 or every 2 seconds: a kill loses no more than that, and a further run goes on where
    this one stopped.

    Args:
        store: Open for writing.
        workload: Which traffic the problems are.
        problems: Queries with prompts.
        strategies: Text forms.
        answer: (strategy, prompt, seed) to the answer; raises UpstreamError where a call failed.
        score: (prompt, answer's text) to a correctness in 0..1.
        concurrency: Requests in flight, at least 1.
        samples: Repetitions per query and strategy.
        progress: Called with (outcomes done, outcomes to do) after each.
        evidence: What the numbers are.
        source: The endpoint or programme that answers.

    Raises:
        InputError: A problem without a prompt, another prompt under a stored id, a scorer that
            fails or a score outside 0..1. What was measured until then is stored.
        UpstreamError: Every call failed; the run stops after the first few.
    """
    if concurrency < 1 or samples < 1:
        raise InputError("concurrency and samples must be at least 1", where="measure")
    _save_problems(store, workload, problems)
    names = tuple(dict.fromkeys(map(canonical, strategies)))
    done = store.measured(workload)
    planned = list(_jobs(problems, names, samples))
    jobs = [job for job in planned if (job.query_id, job.strategy, job.sample) not in done]
    run = _Run(store, workload, answer, score, evidence, source, progress, len(jobs))
    await run.all(iter(jobs), min(concurrency, len(jobs)))
    return MeasureReport(
        planned=len(planned),
        resumed=len(planned) - len(jobs),
        measured=run.measured,
        failed=run.failed,
        failures=run.failures.all(),
    )


def seed_of(query_id: str, strategy: str, sample: int) -> int:
    """The seed of one outcome, 0..2**31 - 1, the same in every run."""
    text = f"{query_id}\0{strategy}\0{sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def _save_problems(store: Store, workload: str, problems: Sequence[Query]) -> None:
    bare = next((problem for problem in problems if problem.prompt is None), None)
    if bare is not None:
        raise InputError("this query has no prompt", where=f"{workload}, query {bare.query_id}")
    with store.transaction():
        report = store.add_queries(workload, problems)
        if report.conflicts:
            raise InputError(
                f"{report.conflicts} query ids stand for other prompts or classes in the store",
                where=f"workload {workload}",
                got=report.examples[0],
                next_step="give new problems new ids or another workload",
            )


def _jobs(problems: Sequence[Query], strategies: Sequence[str], samples: int) -> Iterator[_Job]:
    unique = {problem.query_id: problem.prompt or "" for problem in problems}
    for sample, (turn, (query_id, prompt)) in itertools.product(
        range(samples), enumerate(unique.items())
    ):
        start = turn % len(strategies) if strategies else 0
        for strategy in (*strategies[start:], *strategies[:start]):
            yield _Job(query_id, prompt, strategy, sample)


@dataclass(slots=True)
class _Run:
    """One run's progress. Workers share an iterator of jobs; one committer stores what they did."""

    store: Store
    workload: str
    answer: Answer
    score: Score
    evidence: Evidence
    source: str
    progress: Progress | None
    total: int
    measured: int = 0
    failed: int = 0
    failures: Notes = field(default_factory=Notes)
    _closing: bool = False
    _pending: list[Observation] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def all(self, jobs: Iterator[_Job], workers: int) -> None:
        tasks = [asyncio.create_task(self._work(jobs)) for _ in range(workers)]
        finished = asyncio.gather(*tasks)
        committer = asyncio.create_task(self._commit_often())
        try:
            # the committer only ends early by an error, and then nothing more must be paid for
            await asyncio.wait((finished, committer), return_when=asyncio.FIRST_COMPLETED)
            if not committer.done():
                await finished
        finally:
            for task in tasks:
                task.cancel()
            # `finished` too: an error that nobody fetched would be printed when it is forgotten
            await asyncio.gather(finished, *tasks, return_exceptions=True)
            self._closing = True
            self._wake.set()
            await committer
        if self.failed and not self.measured:
            self._refuse_all_failed()

    async def _work(self, jobs: Iterator[_Job]) -> None:
        for job in jobs:
            try:
                answered = await self.answer(
                    job.strategy, job.prompt, seed_of(job.query_id, job.strategy, job.sample)
                )
            except UpstreamError as error:
                self._fail(job, error)
            else:
                self._keep(job, answered)
            if self.progress:
                self.progress(self.measured + self.failed, self.total)

    def _keep(self, job: _Job, answered: Answered) -> None:
        score = self._score(job, answered.text)
        cost = answered.cost_nano_usd
        self._pending.append(
            Observation(
                workload=self.workload,
                query_id=job.query_id,
                strategy=job.strategy,
                sample=job.sample,
                score=score,
                cost_usd=None if cost is None else to_usd(cost),
                latency_s=answered.latency_s,
                tokens_in=answered.tokens_in,
                tokens_out=answered.tokens_out,
                calls=answered.calls,
                evidence=self.evidence,
                source=self.source,
                observed_at=datetime.now(UTC),
            )
        )
        self.measured += 1
        if len(self._pending) >= BATCH:
            self._wake.set()

    def _score(self, job: _Job, text: str) -> float:
        where = f"{self.workload}, query {job.query_id}, strategy {job.strategy}"
        try:
            score = float(self.score(job.prompt, text))
        except Exception as error:  # the scorer is the user's code and may raise anything
            raise InputError(
                "the scorer failed",
                where=where,
                expected="a number in 0..1",
                got=f"{type(error).__name__}: {error}",
                next_step="mend the scorer and run again; what was measured is stored",
            ) from error
        if not 0 <= score <= 1:
            raise InputError(
                "the scorer gave a score that is none",
                where=where,
                expected="a number in 0..1",
                got=repr(score),
            )
        return score

    def _fail(self, job: _Job, error: UpstreamError) -> None:
        self.failed += 1
        kind = f"HTTP {error.status}" if error.status else "no usable answer"
        self.failures.add(kind, f"{job.query_id}, {job.strategy}: {error}")
        if not self.measured and self.failed >= _FIRST_FAILURES:
            self._refuse_all_failed()

    def _refuse_all_failed(self) -> None:
        raise UpstreamError(
            f"all of the first {self.failed} calls failed: "
            f"{'; '.join(map(str, self.failures.all()))}"
        )

    async def _commit_often(self) -> None:
        last = False
        while not last:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), BATCH_S)
            self._wake.clear()
            last = self._closing
            batch, self._pending = self._pending, []
            if batch:  # in a thread: a commit must not lengthen the latencies being measured
                await asyncio.to_thread(self.store.add, batch)
