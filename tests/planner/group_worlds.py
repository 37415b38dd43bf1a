"""Profiles with groups and known truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm
from worlds import Array, make_profile, random_profile, table

from profiles.cells.by_group import GroupTable
from profiles.profile import Cell, Profile

COLUMN = "task"


def grouped(profile: Profile, counts: Array, accuracy: Array) -> Profile:
    """The profile with groups g0, g1, ... of a column `task`.

    Args:
        profile: Classes and strategies.
        counts: Queries, shape (groups, classes).
        accuracy: Measured mean of 0-or-1 scores, shape (groups, classes, strategies).
    """
    cells: dict[tuple[str, str, str], Cell] = {}
    queries: dict[tuple[str, str], int] = {}
    values = tuple(f"g{g}" for g in range(len(counts)))
    for g, value in enumerate(values):
        for d, name in enumerate(profile.classes):
            n = int(counts[g, d])
            if not n:
                continue
            queries[value, name] = n
            for s, strategy in enumerate(profile.strategies):
                a = float(accuracy[g, d, s])
                sd = float(np.sqrt(a * (1 - a) * n / (n - 1))) if n > 1 else 0.5
                own = {"queries": n, "observations": n, "accuracy": a, "accuracy_sd": sd}
                cells[value, name, strategy] = replace(
                    profile.cells[name, strategy], **own, score_sd=sd
                )
    groups = {COLUMN: GroupTable(COLUMN, values, cells, queries, 0)}
    return replace(profile, groups=groups)


@dataclass(frozen=True)
class Truth:
    """A world to draw measurements from.

    Attributes:
        profile: True means per class, groups mixed.
        accuracy: True means, shape (groups, classes, strategies).
        mix: Share of each group within a class, shape (groups, classes).
    """

    profile: Profile
    accuracy: Array
    mix: Array

    @property
    def within(self) -> Array:
        """Share of each class within a group, shape (groups, classes)."""
        joint = self.mix * np.array(self.profile.weights)
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))

    def scores(self, x: Array) -> Array:
        """True mean score of every group under shares of shape (classes, strategies)."""
        return np.asarray(np.einsum("gd,gds,ds->g", self.within, self.accuracy, x))

    def measured(self, rng: np.random.Generator, queries: int, common: float) -> Profile:
        """What `queries` per class would have shown; every strategy on the same queries."""
        classes, strategies = table(self.profile, "accuracy").shape
        group = np.array([rng.choice(len(self.mix), queries, p=p) for p in self.mix.T])
        luck = np.sqrt(common) * rng.normal(size=(classes, 1, queries))
        luck = luck + np.sqrt(1 - common) * rng.normal(size=(classes, strategies, queries))
        truth = np.take_along_axis(self.accuracy.transpose(1, 2, 0), group[:, None, :], axis=2)
        scores = luck < norm.ppf(truth)
        seen = make_profile(
            scores.mean(axis=2),
            table(self.profile, "cost_usd"),
            queries=queries,
            weights=self.profile.weights,
        )
        own = np.array([group == g for g in range(len(self.mix))])
        counts = own.sum(axis=2).astype(np.float64)
        means = (
            np.einsum("gdq,dsq->gds", own.astype(float), scores.astype(float))
            / np.maximum(counts, 1)[:, :, None]
        )
        return grouped(replace(seen, class_queries=(queries,) * classes), counts, np.asarray(means))


def random_truth(
    rng: np.random.Generator, classes: int = 4, strategies: int = 8, groups: int = 3
) -> Truth:
    """Groups differ as a whole, and in what each strategy does for them."""
    base = random_profile(rng, classes, strategies)
    level = rng.normal(0, 0.05, (groups, 1, 1))
    accuracy = table(base, "accuracy") + level + rng.normal(0, 0.03, (groups, classes, strategies))
    accuracy = np.clip(accuracy, 0.03, 0.99)
    mix = rng.dirichlet(np.full(groups, 4.0), classes).T
    means = np.einsum("gd,gds->ds", mix, accuracy)
    return Truth(make_profile(means, table(base, "cost_usd"), weights=base.weights), accuracy, mix)
