"""Whether the queries that a derived strategy covers stand for all that were recorded.

A query may lack what a strategy needs because of how it went: answers that failed have no score, a
second model was asked only where the first one did well. A mean over the others is then a mean over
a selected part. How the base strategy did on that part and on all of its queries tells.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from profiles.derived.recordings import Base

LEVEL = 0.01
_CHOICES = 9999
_GRID = 3  # decimals of a query's mean score, so that few values are distinct
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what was recorded of a base strategy.

    Attributes:
        base: Its text.
        concurrency: Requests in flight, None where nobody knows.
        covered: Queries in the part.
        queries: Queries recorded.
        score: Mean of the base strategy on the part, 0..1.
        score_of_all: Its mean on all queries with a score.
        chance: How often a random choice of as many queries is as far from the mean of all, to
            either side; estimated by 9,999 seeded choices, so never below 0.0001.
    """

    base: str
    concurrency: int | None
    covered: int
    queries: int
    score: float
    score_of_all: float
    chance: float

    @property
    def selected(self) -> bool:
        """Whether the part differs from the whole beyond noise: two-sided, at 1 %."""
        return self.chance < LEVEL

    def __str__(self) -> str:
        by_luck = "less than 0.1" if self.chance < 0.001 else f"{100 * self.chance:.2g}"
        level = "" if self.concurrency is None else f" at concurrency {self.concurrency}"
        return (
            f"{self.covered} of the {self.queries} queries of {self.base}{level}, which scores "
            f"{100 * self.score:.1f} % on those and {100 * self.score_of_all:.1f} % on all "
            f"(as far apart in {by_luck} % of random choices)"
        )


def part_of(base: Base, covered: Collection[str]) -> Part | None:
    """The covered part of a base, None where it is all of it or none."""
    kept = base.queries.keys() & set(covered)
    if not kept or len(kept) == len(base.queries):
        return None
    means = {
        query: float(np.nanmean(recording["score"]))
        for query, recording in base.queries.items()
        if not np.isnan(recording["score"]).all()
    }
    every = tuple(means.values())
    part = tuple(means[query] for query in base.queries if query in kept)
    return Part(
        base=base.strategy,
        concurrency=base.concurrency,
        covered=len(kept),
        queries=len(base.queries),
        score=float(np.mean(part)),
        score_of_all=float(np.mean(every)),
        chance=chance_of_a_part(every, part),
    )


@lru_cache(maxsize=64)  # strategies that draw from one base mostly leave out the same queries
def chance_of_a_part(every: tuple[float, ...], part: tuple[float, ...]) -> float:
    """How often a random choice of values has a mean at least as far from that of all.

    A permutation test (Fisher 1935): choices without replacement, counted by distinct value.

    Args:
        every: One mean score per query.
        part: Those in question.
    """
    distinct, counts = np.unique(np.round(every, _GRID), return_counts=True)
    mean, size = counts @ distinct / len(every), len(part)
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_hypergeometric(counts, size, _CHOICES, method="marginals")
    far = np.abs(drawn @ distinct / size - mean)
    as_far = far >= abs(np.round(part, _GRID).mean() - mean) - _SAME
    return float((1 + as_far.sum()) / (1 + _CHOICES))
