"""Queries that could be measured, in one fixed order per class, and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from profiles.strategy import canonical

Cell = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries to measure next in one cell.

    Attributes:
        class_name: The class.
        strategy: Canonical text.
        queries: How many, at least 1.
        value_usd: Expected improvement of the plan per window of traffic; None where no price says
            (before anything is known, without traffic, or while no plan can be certified).
        cost_usd: Expected dollars of measuring them, None where unknown.
    """

    class_name: str
    strategy: str
    queries: int
    value_usd: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class Pool:
    """Queries that could be measured, in one fixed order per class.

    Attributes:
        queries: Query ids per class, in the order in which every cell takes them.
    """

    queries: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, class_of: Mapping[str, str], seed: int = 0) -> Pool:
        """Order the queries by a hash of seed and id: random, and independent of every outcome.

        Args:
            class_of: Class by query id, known before anything is paid for.
            seed: Of the order.
        """
        queries: dict[str, list[str]] = {}
        for query_id in sorted(class_of, key=lambda name: _rank(seed, name)):
            queries.setdefault(class_of[query_id], []).append(query_id)
        return cls({name: tuple(ids) for name, ids in queries.items()})

    def left(self, done: Collection[tuple[str, str]], strategies: Sequence[str]) -> dict[Cell, int]:
        """Queries that can still be measured, per cell.

        Args:
            done: (query id, strategy) of what was measured or tried.
            strategies: Text forms.
        """
        return {
            (name, strategy): sum((query_id, strategy) not in done for query_id in ids)
            for name, ids in self.queries.items()
            for strategy in map(canonical, strategies)
        }

    def jobs(
        self, batches: Sequence[Batch], done: Collection[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """(query id, strategy) of every measurement that the batches ask for."""
        jobs = []
        for batch in batches:
            ids = self.queries[batch.class_name]
            fresh = [(query_id, batch.strategy) for query_id in ids]
            jobs += [job for job in fresh if job not in done][: batch.queries]
        return jobs


def _rank(seed: int, query_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{query_id}".encode()).digest()
