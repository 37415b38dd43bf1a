"""Measuring spread over a Ray cluster: one task per shard of queries, the driver alone stores.

Each shard has an event loop, a part of the requests in flight, a part of the money, and a journal
of its own next to the store, so the store's folder must be one that every node sees. A query
belongs to the same shard in every run with as many shards: a killed run resumes from the same
journals. What one shard does not spend of its part is not given to another; it is there again for
the next level of concurrency and for the next run. A shard's journal is as long as its run, and
goes when everything is measured.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any
from zlib import crc32

from profiles.errors import InputError
from profiles.measuring.agenda import agenda
from profiles.measuring.jobs import Job, Key
from profiles.measuring.measure import MeasureReport, keep, report_of
from profiles.measuring.measuring import Measuring, Result
from profiles.measuring.outlook import Outlook, Paid, Standing
from profiles.measuring.scorers import Task
from profiles.observation import Evidence, Observation
from profiles.store.store import Store
from runtime.experiment import Experiment
from runtime.journal import Journal, journal_of


@dataclass(frozen=True, slots=True)
class Shard:
    """One task of the cluster.

    Attributes:
        experiment: How strategies are measured.
        journal: Of this shard.
        jobs: What to measure, all at one level of concurrency.
        tasks: The queries of the jobs.
        workers: This shard's part of the requests in flight.
        limit_nano_usd: This shard's part of the money, None for no limit.
        known: Outcomes that the store holds.
    """

    experiment: Experiment
    journal: Path
    jobs: tuple[Job, ...]
    tasks: dict[str, Task]
    workers: int
    limit_nano_usd: int | None
    known: frozenset[Key]


@dataclass(frozen=True, slots=True)
class Word:
    """What a shard reports.

    Attributes:
        paid: Newly, by the shard so far.
        rows: New observations.
        result: What came of the shard: its last word has it, unless an error came first.
        error: What ended it before its end.
    """

    paid: Paid
    rows: tuple[Observation, ...] = ()
    result: Result | None = None
    error: Exception | None = None


def measure_on_ray(
    store: Store,
    store_path: Path,
    experiment: Experiment,
    problems: Sequence[Task],
    *,
    address: str,
    shards: int | None = None,
    samples: int = 1,
    concurrency: Sequence[int] = (8,),
    limit_nano_usd: int | None = None,
    progress: Callable[[Standing], None] | None = None,
) -> MeasureReport:
    """As `profiles.measuring.measure.measure`, on the nodes of a cluster.

    The journal of a run in one process is held meanwhile: two runs never measure into one store.

    Args:
        store: Open for writing; only this process writes.
        store_path: Where it lies.
        experiment: How strategies are measured.
        problems: What is asked.
        address: Of the cluster as `ray.init` takes it; ``local`` starts one here.
        shards: Tasks; as many as the cluster has CPUs where absent, never more than requests.
        samples: Repetitions per query and strategy.
        concurrency: Requests in flight over all shards; several levels follow each other.
        limit_nano_usd: Most that may newly be paid over all shards, None for no limit.
        progress: Called after every batch that is stored.

    Raises:
        InputError: No such cluster, or as `profiles.measuring.measure.measure`.
        UpstreamError: Every call of a shard failed.
    """
    journal = journal_of(store_path)
    with Journal(journal, workload=experiment.workload, endpoint=experiment.endpoint):
        to_do = agenda(
            store,
            experiment.workload,
            problems,
            strategies=experiment.strategies,
            samples=samples,
            concurrency=concurrency,
        )
        tasks = {task.query_id: task for task in problems}
        paid: dict[tuple[int, int], Paid] = {}
        outlook = Outlook(to_do.blocks, to_do.mean_usd, lambda: _sum(paid))
        results: list[Result] = []
        stored_elsewhere = 0
        with _cluster(address) as cluster:
            for block in filter(None, to_do.blocks):
                if any(result.stopped for result in results):
                    break
                left = (
                    None if limit_nano_usd is None else limit_nano_usd - (_sum(paid).nano_usd or 0)
                )
                most = shards or cluster.cpus()
                parts = _shards(
                    experiment,
                    journal,
                    block,
                    tasks,
                    to_do.known,
                    most=most,
                    limit_nano_usd=left,
                )
                for number, word in cluster.run(parts):
                    paid[block[0].concurrency, number] = word.paid
                    if word.error:
                        raise word.error
                    if word.result:
                        results.append(word.result)
                    stored_elsewhere += _store(store, word.rows, outlook)
                    if progress:
                        progress(outlook.standing())
        if not outlook.left:
            for shard in journal.parent.glob(f"{escape(journal.name)}.shard-*"):
                shard.unlink()
        return replace(report_of(to_do, results, outlook), stored_elsewhere=stored_elsewhere)


def _store(store: Store, rows: Sequence[Observation], outlook: Outlook) -> int:
    """Store a shard's rows; how many of them somebody else had stored first."""
    for row in rows:
        outlook.measured(row.strategy, row.cost_usd)
    return keep(store, rows) if rows else 0


def _sum(paid: Mapping[tuple[int, int], Paid]) -> Paid:
    return sum(paid.values(), start=Paid(0))


def _shards(
    experiment: Experiment,
    journal: Path,
    block: Sequence[Job],
    tasks: dict[str, Task],
    known: frozenset[Key],
    *,
    most: int,
    limit_nano_usd: int | None,
) -> list[Shard]:
    """A block by queries; workers and money in parts that add up to the whole."""
    level = block[0].concurrency
    count = min(most, level)
    jobs: list[list[Job]] = [[] for _ in range(count)]
    for job in block:
        jobs[crc32(job.query_id.encode()) % count].append(job)
    parts = [(index, tuple(part)) for index, part in enumerate(jobs) if part]
    share = None if limit_nano_usd is None else max(limit_nano_usd, 0) // len(parts)
    return [
        Shard(
            experiment=experiment,
            journal=journal.with_name(f"{journal.name}.shard-{index}-of-{count}"),
            jobs=part,
            tasks={job.query_id: tasks[job.query_id] for job in part},
            workers=level // len(parts) + (turn < level % len(parts)),
            limit_nano_usd=share,
            known=known,
        )
        for turn, (index, part) in enumerate(parts)
    ]


def run_shard(shard: Shard) -> Iterator[Word]:
    """On a node: observations as they come, at the end what came of the shard."""
    words: queue.SimpleQueue[Word] = queue.SimpleQueue()
    thread = threading.Thread(
        target=lambda: words.put(asyncio.run(_measure(shard, words.put))), daemon=True
    )
    thread.start()
    while True:
        word = words.get()
        yield word
        if word.result or word.error:
            return


async def _measure(shard: Shard, tell: Callable[[Word], None]) -> Word:
    """Measure a shard; its last word."""
    try:
        async with shard.experiment.bench(shard.journal, shard.limit_nano_usd) as bench:
            bench.stored(shard.known)

            def add(rows: Sequence[Observation]) -> int:
                tell(Word(bench.paid(), tuple(rows)))
                return 0  # the driver knows

            run = Measuring(
                add=add,
                workload=shard.experiment.workload,
                tasks=shard.tasks,
                answer=bench.answer,
                score=bench.scorers.score,
                stored=lambda _: None,
                outlook=Outlook([shard.jobs], {}, bench.paid),
                progress=None,
                evidence=Evidence.MEASURED,
                source=shard.experiment.endpoint,
                workers=shard.workers,
            )
            await run.all([shard.jobs])
            return Word(bench.paid(), result=run.result())
    except Exception as error:  # it travels to the driver, which raises it
        return Word(Paid(), error=error)


class _Cluster:
    """A connection to Ray."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def cpus(self) -> int:
        """CPUs of all nodes, at least 1."""
        return max(int(self._ray.cluster_resources().get("CPU", 1)), 1)

    def run(self, shards: Sequence[Shard]) -> Iterator[tuple[int, Word]]:
        """What the shards report with their number, as it comes."""
        # no CPU is claimed: a shard that had to queue would thin out the load that is measured
        task = self._ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="SPREAD")(run_shard)
        start = task.options(num_returns="streaming").remote
        running = {start(shard): number for number, shard in enumerate(shards)}
        while running:
            (ready, *_), _ = self._ray.wait(list(running), num_returns=1)
            try:
                yield running[ready], self._ray.get(next(ready))
            except StopIteration:
                del running[ready]


@contextmanager
def _cluster(address: str) -> Iterator[_Cluster]:
    import ray

    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            "cannot reach this Ray cluster",
            where=f"--ray {address}",
            expected="local, auto, or an address such as 10.0.0.1:6379",
            got=str(error).splitlines()[0],
        ) from error
    try:
        yield _Cluster(ray)
    finally:
        ray.shutdown()
