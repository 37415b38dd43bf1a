"""Profiles with known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.spec import Spec
from profiles.profile import Cell, Profile

Array = NDArray[np.float64]


def make_profile(
    accuracy: Any,
    cost_usd: Any,
    *,
    queries: int = 1000,
    weights: Any = None,
    slow: Any = None,
    grid_s: tuple[float, ...] = (),
) -> Profile:
    """A profile whose measured means are exactly these, for scores of 0 or 1.

    `slow` has shape (grid, classes, strategies): share of requests beyond each grid limit.
    """
    accuracy, cost_usd = np.asarray(accuracy, float), np.asarray(cost_usd, float)
    classes = tuple(f"c{d}" for d in range(accuracy.shape[0]))
    strategies = tuple(f"m{s:02d}/single" for s in range(accuracy.shape[1]))
    cells = {}
    for d, name in enumerate(classes):
        for s, strategy in enumerate(strategies):
            a = float(accuracy[d, s])
            sd = float(np.sqrt(a * (1 - a) * queries / max(queries - 1, 1)))
            known = np.isfinite(cost_usd[d, s])
            cost = float(cost_usd[d, s]) if known else None
            tail = None if slow is None else np.asarray(slow)[:, d, s]
            cells[name, strategy] = Cell(
                class_name=name,
                strategy=strategy,
                queries=queries,
                observations=queries,
                accuracy=a,
                accuracy_sd=sd,
                score_sd=sd,
                cost_usd=cost,
                cost_sd_usd=None if cost is None else cost / 4,
                cost_max_usd=None if cost is None else cost * 2,
                tokens_in=None,
                tokens_out=None,
                tokens_out_max=None,
                calls=None,
                exceeded=None if tail is None else tuple(round(p * queries) for p in tail),
                latency_observations=0 if tail is None else queries,
                latency_p95_s=None,
                evidence=("simulated",),
            )
    share = np.full(len(classes), 1 / len(classes)) if weights is None else np.asarray(weights)
    return Profile(
        workload="world",
        classes=classes,
        weights=tuple(float(w) for w in share / share.sum()),
        strategies=strategies,
        cells=cells,
        latency_grid_s=grid_s,
        queries=queries * len(classes),
        digest="sha256:world",
    )


def make_spec(**keys: Any) -> Spec:
    """A spec about the world."""
    return Spec.model_validate({"format_version": "1.0", "workload": "world", **keys})


def random_profile(
    rng: np.random.Generator, classes: int, strategies: int, queries: int = 1000
) -> Profile:
    """Dearer strategies tend to be better, classes grow harder, tails are exponential."""
    skill = np.sort(rng.uniform(0.4, 0.95, strategies))
    hardness = np.linspace(0.1, -0.25, classes)
    accuracy = np.clip(
        skill + hardness[:, None] + rng.normal(0, 0.05, (classes, strategies)), 0.03, 0.99
    )
    cost = 1e-5 * np.exp(4 * skill) * np.linspace(1, 3, classes)[:, None]
    cost = cost * np.exp(rng.normal(0, 0.2, (classes, strategies)))
    grid_s = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
    mean_s = rng.uniform(0.3, 2.5, (classes, strategies))
    slow = np.exp(-np.asarray(grid_s)[:, None, None] / mean_s)
    weights = rng.dirichlet(np.full(classes, 5.0))
    return make_profile(accuracy, cost, queries=queries, weights=weights, slow=slow, grid_s=grid_s)


def shares(profile: Profile, allocation: dict[str, dict[str, float]]) -> Array:
    """An allocation as an array of shape (classes, strategies)."""
    return np.array(
        [[allocation[d].get(s, 0.0) for s in profile.strategies] for d in profile.classes]
    )


def table(profile: Profile, field: str) -> Array:
    """One field of all cells, shape (classes, strategies)."""
    return np.array(
        [[getattr(profile.cell(d, s), field) for s in profile.strategies] for d in profile.classes]
    )
