"""What a measuring run has to do: every wanted outcome that the store does not hold yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from profiles.errors import InputError
from profiles.measuring.jobs import Job, Key, every_pair, in_blocks
from profiles.measuring.scorers import Task
from profiles.query import Query
from profiles.store.store import Store
from profiles.strategy import canonical


@dataclass(frozen=True, slots=True)
class Agenda:
    """Outcomes to measure.

    Attributes:
        planned: Outcomes asked for.
        known: Outcomes of the workload that the store holds, asked for or not.
        blocks: Outcomes to measure, one block per level of concurrency.
        mean_usd: Mean cost of an outcome so far, by strategy.
    """

    planned: int
    known: frozenset[Key]
    blocks: tuple[tuple[Job, ...], ...]
    mean_usd: Mapping[str, float]

    @property
    def to_do(self) -> int:
        """Outcomes to measure."""
        return sum(map(len, self.blocks))

    @property
    def resumed(self) -> int:
        """Of the outcomes asked for, those that the store holds."""
        return self.planned - self.to_do


def agenda(
    store: Store,
    workload: str,
    problems: Sequence[Task],
    *,
    strategies: Sequence[str] = (),
    samples: int = 1,
    jobs: Iterable[tuple[str, str, int]] | None = None,
    concurrency: int | Sequence[int] = 8,
) -> Agenda:
    """Save the problems and list what is to be measured; see `profiles.measuring.measure.measure`.

    Raises:
        InputError: Another prompt under a stored id, a job on an unknown query, a concurrency or
            samples below 1.
    """
    levels = (concurrency,) if isinstance(concurrency, int) else tuple(concurrency)
    if not levels or min(levels) < 1 or samples < 1:
        raise InputError("concurrency and samples must be at least 1", where="measure")
    _save(store, workload, problems)
    prompts = {task.query_id: task.prompt for task in problems}
    if jobs is None:
        names = tuple(dict.fromkeys(map(canonical, strategies)))
        wanted = list(every_pair(tuple(prompts), names, samples))
    else:
        wanted = _named(jobs, prompts)
    blocks = in_blocks(wanted, levels, prompts)
    known = frozenset(store.measured_at(workload))
    return Agenda(
        planned=sum(map(len, blocks)),
        known=known,
        blocks=tuple(
            tuple(job for job in block if not _is_known(job, known, levels)) for block in blocks
        ),
        mean_usd=store.mean_costs(workload),
    )


def _save(store: Store, workload: str, problems: Sequence[Task]) -> None:
    with store.transaction():
        report = store.add_queries(
            workload, [Query(task.query_id, task.prompt, task.class_label) for task in problems]
        )
        if report.conflicts:
            raise InputError(
                f"{report.conflicts} query ids stand for other prompts or classes in the store",
                where=f"workload {workload}",
                got=report.examples[0],
                next_step="give new problems new ids or another workload",
            )


def _named(
    jobs: Iterable[tuple[str, str, int]], prompts: Mapping[str, str]
) -> list[tuple[str, str, int]]:
    wanted = [(query, canonical(strategy), sample) for query, strategy, sample in jobs]
    missing = next((query for query, _, _ in wanted if query not in prompts), None)
    if missing is not None:
        raise InputError("there is no problem of this id", where="measure, jobs", got=missing)
    return wanted


def _is_known(job: Job, known: frozenset[Key], levels: Sequence[int]) -> bool:
    return job.key in known or (len(levels) == 1 and (*job.key[:3], None) in known)
