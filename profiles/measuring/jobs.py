"""Which outcomes are to be measured, in which order, and by what each is known."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Key: TypeAlias = tuple[str, str, int, int | None]
"""(query, strategy, sample, concurrency): one outcome of a workload."""


@dataclass(frozen=True, slots=True)
class Job:
    """One outcome to measure.

    Attributes:
        query_id: Of the request.
        prompt: What is asked.
        strategy: Canonical text form.
        sample: Counts repetitions from 0.
        concurrency: Requests in flight while it is measured.
    """

    query_id: str
    prompt: str
    strategy: str
    sample: int
    concurrency: int

    @property
    def key(self) -> Key:
        """What tells this outcome from every other of its workload."""
        return self.query_id, self.strategy, self.sample, self.concurrency

    @property
    def seed(self) -> int:
        """See `seed_of`."""
        return seed_of(self.query_id, self.strategy, self.sample)


def seed_of(query_id: str, strategy: str, sample: int) -> int:
    """The seed of one outcome, 0..2**31 - 1, the same in every run and at every concurrency."""
    text = f"{query_id}\0{strategy}\0{sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def every_pair(
    queries: Sequence[str], strategies: Sequence[str], samples: int
) -> Iterator[tuple[str, str, int]]:
    """(query, strategy, sample) of all pairs; strategies take turns at being the first."""
    for sample, (turn, query_id) in itertools.product(range(samples), enumerate(queries)):
        start = turn % len(strategies) if strategies else 0
        for strategy in (*strategies[start:], *strategies[:start]):
            yield query_id, strategy, sample


def in_blocks(
    wanted: Sequence[tuple[str, str, int]], levels: Sequence[int], prompts: Mapping[str, str]
) -> list[list[Job]]:
    """The wanted outcomes once per level of concurrency; levels follow each other, never mixed."""
    unique = dict.fromkeys(wanted)
    return [
        [Job(query, prompts[query], strategy, sample, level) for query, strategy, sample in unique]
        for level in dict.fromkeys(levels)
    ]
