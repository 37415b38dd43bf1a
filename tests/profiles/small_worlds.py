"""Observations that tests can reason about."""

from __future__ import annotations

import random

from profiles.observation import Observation
from profiles.query import Query

WORKLOAD = "w"


def observation(query: str, strategy: str = "m/single", sample: int = 0, **more) -> Observation:
    return Observation(WORKLOAD, query, strategy, sample, **{"score": 1.0, **more})


def sums(count: int, seed: int = 0) -> tuple[list[Query], list[Observation]]:
    """Additions: a small model fails on many digits, a large one on none."""
    rng = random.Random(seed)
    queries, observations = [], []
    for index in range(count):
        digits = rng.randint(1, 6)
        left, right = (rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
        queries.append(Query(f"q{index:04}", f"{left}+{right}="))
        for strategy, hardest in (("small/single", 3), ("large/single", 5)):
            solved = rng.random() < (0.95 if digits <= hardest else 0.1)
            observations.append(observation(f"q{index:04}", strategy, score=float(solved)))
    return queries, observations
