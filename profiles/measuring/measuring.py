"""One measuring run: workers that answer, scorers beside them, one committer that stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeAlias, TypeVar

from profiles.errors import BudgetRefusedError, UpstreamError
from profiles.measuring.jobs import Job, Key
from profiles.measuring.outlook import Outlook, Standing
from profiles.measuring.scorers import Scored, Task, UnscoredError
from profiles.money import to_usd
from profiles.notes import Note, Notes
from profiles.observation import Evidence, Observation
from profiles.query import Answered

BATCH = 200
BATCH_S = 2.0
_FIRST_FAILURES = 10

Answer: TypeAlias = Callable[[Job], Awaitable[Answered]]
Score: TypeAlias = Callable[[Task, str], Awaitable[Scored]]
Progress: TypeAlias = Callable[[Standing], None]
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Attributes:
        measured: New observations.
        failed: Outcomes that failed.
        below_level: New observations that ended while fewer than their level were in flight.
        stopped: Why it stopped before its end, None where it did not.
        failures: Kinds of failure.
        stored_elsewhere: New observations that somebody else had stored already.
    """

    measured: int
    failed: int
    below_level: int
    stopped: str | None
    failures: tuple[Note, ...]
    stored_elsewhere: int = 0


@dataclass(slots=True)
class Measuring:
    """A run; see `profiles.measuring.measure.measure` for its inputs.

    Attributes:
        add: Stores a batch of observations and says how many the store held already; runs in a
            thread.
        workers: This run's part of the requests in flight where several runs share a level.
    """

    add: Callable[[list[Observation]], int]
    workload: str
    tasks: Mapping[str, Task]
    answer: Answer
    score: Score
    stored: Callable[[Iterable[Key]], None]
    outlook: Outlook
    progress: Progress | None
    evidence: Evidence
    source: str
    workers: int | None = None
    measured: int = 0
    failed: int = 0
    below_level: int = 0
    stored_elsewhere: int = 0
    stopped: str | None = None
    failures: Notes = field(default_factory=Notes)
    _absent: int = 0
    _closing: bool = False
    _pending: list[Observation] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _money_back: asyncio.Event = field(default_factory=asyncio.Event)

    async def all(self, blocks: Sequence[Sequence[Job]]) -> None:
        """Measure block after block; whatever ends it, what was measured is stored."""
        work = asyncio.create_task(self._blocks(blocks))
        committer = asyncio.create_task(self._commit_often())
        try:
            # the committer only ends early by an error, and then nothing more must be paid for
            await asyncio.wait((work, committer), return_when=asyncio.FIRST_COMPLETED)
            if not committer.done():
                await work
        finally:
            work.cancel()
            # an error that nobody fetched would be printed when it is forgotten
            await asyncio.gather(work, return_exceptions=True)
            self._closing = True
            self._wake.set()
            await committer
        if self.failed and not self.measured:
            self._refuse_all_failed()

    def result(self) -> Result:
        """What came of it so far."""
        return Result(
            measured=self.measured,
            failed=self.failed,
            below_level=self.below_level,
            stopped=self.stopped,
            failures=self.failures.all(),
            stored_elsewhere=self.stored_elsewhere,
        )

    async def _blocks(self, blocks: Sequence[Sequence[Job]]) -> None:
        for block in filter(None, blocks):
            jobs, share = iter(block), self.workers or block[0].concurrency
            # a slow scorer must not thin out the load, and not pile up answers either
            room = asyncio.Semaphore(share)
            workers = min(share, len(block))
            self._absent = share - workers
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(self._work(jobs, group, room))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from errors.exceptions[0].__cause__

    async def _work(
        self, jobs: Iterator[Job], group: asyncio.TaskGroup, room: asyncio.Semaphore
    ) -> None:
        for job in jobs:
            if self.stopped:
                break
            answered = await self._guarded(job, partial(self.answer, job))
            if answered is not None:
                below = self._absent > 0
                with self._away():
                    await room.acquire()
                group.create_task(self._conclude(job, answered, room, below=below))
        self._absent += 1

    @contextmanager
    def _away(self) -> Iterator[None]:
        """A worker that waits for something else than an answer is no load."""
        self._absent += 1
        try:
            yield
        finally:
            self._absent -= 1

    async def _conclude(
        self, job: Job, answered: Answered, room: asyncio.Semaphore, *, below: bool
    ) -> None:
        """Score an answer and keep the observation."""
        task = self.tasks[job.query_id]
        try:
            scored = await self._guarded(job, partial(self.score, task, answered.text))
        finally:
            room.release()
        if scored is not None:
            self.below_level += below
            self._keep(job, answered, scored.score)
            self._tell()

    async def _guarded(self, job: Job, step: Callable[[], Awaitable[Found]]) -> Found | None:
        """A step once the money allows it; None where it failed or this run has no money left."""
        while True:
            try:
                return await step()
            except UpstreamError as error:
                self._fail(job, error)
                self._tell()
                return None
            except BudgetRefusedError as refused:
                if refused.retry_after_s is None:
                    self.stopped = self.stopped or str(refused)
                if self.stopped:
                    return None
                await self._wait_for_money(refused.retry_after_s or BATCH_S)
            finally:
                self._money_back.set()

    async def _wait_for_money(self, at_most_s: float) -> None:
        self._money_back.clear()
        with self._away(), suppress(TimeoutError):
            await asyncio.wait_for(self._money_back.wait(), at_most_s)

    def _keep(self, job: Job, answered: Answered, score: float) -> None:
        nano_usd = answered.cost_nano_usd
        cost_usd = None if nano_usd is None else to_usd(nano_usd)
        self._pending.append(
            Observation(
                workload=self.workload,
                query_id=job.query_id,
                strategy=job.strategy,
                sample=job.sample,
                score=score,
                cost_usd=cost_usd,
                latency_s=answered.latency_s,
                tokens_in=answered.tokens_in,
                tokens_out=answered.tokens_out,
                tokens_reasoning=answered.tokens_reasoning,
                tokens_cached=answered.tokens_cached,
                calls=answered.calls,
                gpu_s=answered.gpu_s,
                energy_j=answered.energy_j,
                concurrency=job.concurrency,
                answer=answered.answer,
                verdict=answered.verdict,
                evidence=self.evidence,
                source=self.source,
                observed_at=datetime.now(UTC),
            )
        )
        self.measured += 1
        self.outlook.measured(job.strategy, cost_usd)
        if len(self._pending) >= BATCH:
            self._wake.set()

    def _fail(self, job: Job, error: UpstreamError) -> None:
        self.failed += 1
        self.outlook.failed()
        kind = f"HTTP {error.status}" if error.status else "no usable answer"
        if isinstance(error, UnscoredError):
            kind = "not scored"
        self.failures.add(kind, f"{job.query_id}, {job.strategy}: {error}")
        if not self.measured and self.failed >= _FIRST_FAILURES:
            self._refuse_all_failed()

    def _refuse_all_failed(self) -> None:
        raise UpstreamError(
            f"all of the first {self.failed} outcomes failed: "
            f"{'; '.join(map(str, self.failures.all()))}"
        )

    def _tell(self) -> None:
        if self.progress:
            self.progress(self.outlook.standing())

    async def _commit_often(self) -> None:
        last = False
        while not last:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), BATCH_S)
            self._wake.clear()
            last = self._closing
            batch, self._pending = self._pending, []
            if batch:  # in a thread: a commit must not lengthen the latencies being measured
                self.stored_elsewhere += await asyncio.to_thread(self.add, batch)
                self.stored([(o.query_id, o.strategy, o.sample, o.concurrency) for o in batch])
