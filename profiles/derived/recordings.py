"""Recorded samples of one strategy, query by query: what derived strategies are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.digest import digest
from profiles.observation import Observation

Floats = NDArray[np.float64]
MEASURES = (
    "score",
    "verdict",
    "cost_usd",
    "latency_s",
    "tokens_in",
    "tokens_out",
    "tokens_reasoning",
    "tokens_cached",
    "calls",
    "gpu_s",
    "energy_j",
)


@dataclass(frozen=True, slots=True)
class Recording:
    """The samples of one query, in the order they were drawn.

    Attributes:
        columns: One array per name in `MEASURES`, shape (samples,), nan where unknown.
        answers: Final answers, None where unknown.
    """

    columns: Mapping[str, Floats]
    answers: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, measure: str) -> Floats:
        return self.columns[measure]

    def mean(self, measure: str) -> float | None:
        """Mean over samples, None where any is unknown."""
        value = float(self.columns[measure].mean())
        return None if np.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Base:
    """Every recorded outcome of one strategy at one concurrency.

    Attributes:
        strategy: Its text.
        concurrency: Requests in flight, None where nobody knows.
        queries: Recordings by query.
        unscored: Outcomes that were left out because they have no score.
        digest: Of all values that derived numbers depend on.
    """

    strategy: str
    concurrency: int | None
    queries: Mapping[str, Recording]
    unscored: int
    digest: str

    def __str__(self) -> str:
        sizes = sorted({len(recording) for recording in self.queries.values()})
        samples = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}..{sizes[-1]}"
        size = f"{samples} samples of {len(self.queries)} queries"
        return f"{self.strategy} ({size}, {self.digest[:19]})"


def bases(observations: Iterable[Observation]) -> dict[tuple[str, int | None], Base]:
    """Outcomes grouped by strategy and concurrency; expectations are no outcomes and left out."""
    groups: dict[tuple[str, int | None], list[Observation]] = defaultdict(list)
    for row in observations:
        if row.score_sd is None:
            groups[row.strategy, row.concurrency].append(row)
    return {key: _base(*key, rows) for key, rows in groups.items()}


def _base(strategy: str, concurrency: int | None, rows: list[Observation]) -> Base:
    scored: dict[str, list[Observation]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.query_id, row.sample)):
        if row.score is not None:
            scored[row.query_id].append(row)
    content = [
        [row.query_id, row.sample, row.answer, *(getattr(row, name) for name in MEASURES)]
        for samples in scored.values()
        for row in samples
    ]
    return Base(
        strategy=strategy,
        concurrency=concurrency,
        queries={query: _recording(samples) for query, samples in scored.items()},
        unscored=len(rows) - len(content),
        digest=digest(content),
    )


def _recording(samples: list[Observation]) -> Recording:
    columns = {
        name: np.array(
            [np.nan if (v := getattr(row, name)) is None else float(v) for row in samples]
        )
        for name in MEASURES
    }
    return Recording(columns, tuple(row.answer for row in samples))
