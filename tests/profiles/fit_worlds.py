"""Worlds that a difficulty estimator is fitted on, and judges that take what they are told to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from small_worlds import WORKLOAD, observation

from profiles.difficulty.choosing import Way
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

WORDS = [
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"),
    *("theta", "iota", "kappa", "lambda", "mu", "nu", "xi"),
]
Of = Callable[[int, int], float | None]


def store_of(queries: Sequence[Query], observations: Sequence[Observation]) -> Store:
    store = Store.open(":memory:")
    store.add(observations)
    store.add_queries(WORKLOAD, queries)
    return store


def says_or_proves(
    count: int,
    *,
    strategies: int = 2,
    seed: int = 0,
    prompt: Callable[[int], str] | None = None,
    score: Of | None = None,
    cost: Of | None = None,
    label: Callable[[int], str | None] | None = None,
) -> tuple[list[Query], list[Observation]]:
    """Half of the prompts say `prove`, and the cheapest strategy rarely solves those.

    Args:
        count: Queries.
        strategies: How many; each costs ten times more than the one before.
        seed: Of prompts, scores and costs.
        prompt: Another text by query.
        score: Another score by query and strategy; None leaves the pair unmeasured.
        cost: Another cost by query and strategy; None is unknown.
        label: By query.
    """
    rng = random.Random(seed)
    queries, observations = [], []
    for index in range(count):
        hard = rng.random() < 0.5
        number = rng.randrange(10**6)
        text = " ".join([("say", "prove")[hard], *rng.choices(WORDS, k=9), str(number)])
        queries.append(
            Query(
                f"q{index:04}",
                prompt(index) if prompt else text,
                label(index) if label else None,
            )
        )
        for place in range(strategies):
            solved = float(rng.random() < (0.3 if hard and not place else 0.95))
            dollars = 10.0 ** (place - 4) * rng.uniform(0.5, 1.5)
            found = score(index, place) if score else solved
            if found is not None:
                usd = cost(index, place) if cost else dollars
                name = f"m{place}/single"
                observations.append(observation(f"q{index:04}", name, score=found, cost_usd=usd))
    return queries, observations


@dataclass(frozen=True)
class Told:
    """A judge's answer."""

    index: int
    reason: str = "told to"
    table: tuple[Any, ...] = ()


def take(kind: str, classes: int = 99) -> Callable[..., Told]:
    """A judge that takes the sorting of a kind with most classes, up to so many.

    A kind that is not listed sorts like one that is: then any kind will do.
    """

    def judge(_lessons: object, found: Sequence[Way], _fold_of: object) -> Told:
        small = [i for i, c in enumerate(found) if len(c.sorting.names) <= classes]
        places = [i for i in small if found[i].kind == kind] or small
        return Told(max(places, key=lambda i: (len(found[i].sorting.names), -i)))

    return judge


def stored_classes(store: Store, digest: str) -> dict[str, str]:
    with store.reading() as execute:
        rows = execute(
            "SELECT query_id, class_name FROM classes WHERE estimator_digest = ?", [digest]
        ).fetchall()
    return dict(rows)
