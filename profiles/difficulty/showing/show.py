"""What the classes of an estimator look like: figures, sample prompts, and what marks them.

All of it rests on the classes that the store holds under the estimator's digest. Those of the
queries that it was fitted on are out of fold, so figures are not flattered.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.graph import read_facts
from profiles.difficulty.reading.vectors import open_asked_for
from profiles.difficulty.showing.classed import (
    Key,
    SamplePrompt,
    Sorted,
    is_known,
    outcomes_of,
    read_prompts,
    sample_prompts,
)
from profiles.difficulty.showing.marks import Mark, Weights, marks, pieces, weights
from profiles.difficulty.sorting.combined import reads_labels
from profiles.errors import InputError
from profiles.pricing.rates import Rate
from profiles.store.store import Store

Floats = NDArray[np.float64]
_OCCLUDED = 400


@dataclass(frozen=True, slots=True)
class Measured:
    """What one strategy did in one class.

    Attributes:
        strategy: Canonical text form.
        queries: Queries with a score.
        mean_score: 0..1; None without any.
        queries_with_cost: Queries with known dollars.
        mean_cost_usd: Dollars per request; None without any.
    """

    strategy: str
    queries: int
    mean_score: float | None
    queries_with_cost: int
    mean_cost_usd: float | None


@dataclass(frozen=True, slots=True)
class ShownClass:
    """One class.

    Attributes:
        name: Of the class.
        queries: In it.
        share: Of all queries with a class.
        read: Prompts whose pieces were counted.
        measured: By strategy.
        marks: Pieces that its prompts have more often than others, strongest first.
        samples: Seeded: the same ones every time.
    """

    name: str
    queries: int
    share: float
    read: int
    measured: tuple[Measured, ...]
    marks: tuple[Mark, ...]
    samples: tuple[SamplePrompt, ...]


@dataclass(frozen=True, slots=True)
class Showing:
    """What the classes of an estimator look like.

    Attributes:
        workload: Whose queries.
        estimator_digest: Which estimator.
        queries: With a class in the store.
        read: Prompts whose pieces were counted, a seeded sample of at most 20,000.
        classes: Easiest first.
        weights: Pieces of text that the estimator weighs most.
    """

    workload: str
    estimator_digest: str
    queries: int
    read: int
    classes: tuple[ShownClass, ...]
    weights: Weights


def show(
    store: Store,
    graph_path: Path,
    workload: str | None = None,
    *,
    samples: int = 3,
    seed: int = 0,
    rates: Sequence[Rate] = (),
    encoder: Path | None = None,
) -> tuple[Showing, Sorted]:
    """Look at the classes of an estimator, and at the outcomes behind them.

    Args:
        store: The one that the estimator was fitted on.
        graph_path: The estimator.
        workload: Whose queries; None takes the one that it was fitted on.
        samples: Prompts per class.
        seed: Of the sample prompts and of those that are read.
        rates: Price rows without dollars; one per strategy.
        encoder: Folder of the encoder whose vectors the estimator reads.

    Raises:
        InputError: No readable estimator, not the encoder that it reads with, or the store does not
            know it.
    """
    facts = read_facts(graph_path)
    opened = open_asked_for(facts.encoder, encoder, str(graph_path))
    graph = graph_path.read_bytes()
    workload = workload or facts.workload
    key = Key(workload, facts.digest)
    with store.reading() as execute:
        if not is_known(execute, key):
            raise InputError(
                "this store does not know the estimator's classes",
                where=f"{graph_path}, workload {workload}",
                expected="the store that 'inferbudget difficulty fit' was given, and its last "
                "graph",
                got=f"an estimator of workload {facts.workload}, digest {facts.digest[:19]}",
                next_step="name its store and workload, or fit the estimator again on this store",
            )
        outcomes = outcomes_of(execute, key, facts.class_names, rates)
        shown = sample_prompts(execute, key, samples, seed)
        prompts = read_prompts(execute, key, seed)
        pool = list(itertools.islice(prompts, _OCCLUDED))
        read: Counter[str] = Counter()
        counts: dict[str, Counter[str]] = {}
        for prompt in itertools.chain(pool, prompts):
            read[prompt.class_name] += 1
            counts.setdefault(prompt.class_name, Counter()).update(pieces(prompt.text))
    frequent = sum(counts.values(), Counter[str]())
    heaviest = weights(
        graph,
        facts.strategies,
        [prompt.text for prompt in pool],
        [prompt.label for prompt in pool] if reads_labels(graph) else None,
        sorted(frequent, key=lambda piece: (-frequent[piece], piece)),
        encoder=opened,
    )
    marked = marks(counts)
    total = len(outcomes.class_index)
    classes = []
    for index, name in enumerate(facts.class_names):
        inside = outcomes.class_index == index
        size = int(inside.sum())
        classes.append(
            ShownClass(
                name=name,
                queries=size,
                share=size / total,
                read=read[name],
                measured=_measured(outcomes, inside),
                marks=marked.get(name, ()),
                samples=tuple(shown.get(name, ())),
            )
        )
    found = Showing(workload, facts.digest, total, read.total(), tuple(classes), heaviest)
    return found, outcomes


def _measured(outcomes: Sorted, inside: NDArray[np.bool_]) -> tuple[Measured, ...]:
    found = []
    for column, strategy in enumerate(outcomes.strategies):
        score, scored = _mean(outcomes.scores[inside, column])
        cost, priced = _mean(outcomes.costs[inside, column])
        found.append(Measured(strategy, scored, score, priced, cost))
    return tuple(found)


def _mean(values: Floats) -> tuple[float | None, int]:
    known = values[np.isfinite(values)]
    return (float(known.mean()) if len(known) else None), len(known)
