"""Outcomes with known truth, and ways of sorting them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.sorting.cells_of_outcomes import Outcomes

CHEAP, GOOD = "cheap/single", "good/single"
CHANCES = np.array([[0.95, 0.96], [0.2, 0.9]])
"""Of success, by kind of query (easy, hard) and strategy (cheap, good)."""
DOLLARS = np.array([1e-4, 1e-2])


@dataclass(frozen=True)
class Sorted:
    """A way of sorting."""

    kind: str
    classes: NDArray[np.intp]
    names: tuple[str, ...]


def sorted_into(index: NDArray[np.intp], kind: str = "bins") -> Sorted:
    count = int(index.max()) + 1
    return Sorted(kind, index.astype(np.intp), tuple(f"c{d}" for d in range(count)))


def one_class(count: int) -> Sorted:
    return sorted_into(np.zeros(count, dtype=np.intp), "all")


def easy_and_hard(rng: np.random.Generator, count: int) -> tuple[NDArray[np.intp], Outcomes]:
    """Half of the queries are hard, and only the dear strategy solves those."""
    hard = rng.integers(0, 2, count)
    return hard, outcomes_of(rng, CHANCES[hard])


def all_alike(rng: np.random.Generator, count: int) -> Outcomes:
    """Nothing tells one query from another."""
    return outcomes_of(rng, np.broadcast_to([0.6, 0.9], (count, 2)))


def outcomes_of(rng: np.random.Generator, chances: NDArray[np.float64]) -> Outcomes:
    solved = rng.random(chances.shape) < chances
    dollars = DOLLARS * rng.uniform(0.5, 1.5, chances.shape)
    return Outcomes("world", (CHEAP, GOOD), solved.astype(np.float64), dollars)


def split_at_random(
    rng: np.random.Generator, index: NDArray[np.intp], parts: int
) -> NDArray[np.intp]:
    """Every class in so many parts that mean nothing."""
    return index * parts + rng.integers(0, parts, len(index))


def folds(count: int, number: int = 5) -> NDArray[np.intp]:
    return np.arange(count) % number
