"""Promises are checked against worlds whose truth is known. Seeded; standard errors stated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from worlds import make_profile, make_spec, random_profile, shares, table

from planner.planner import Planner
from profiles.profile import Profile

WORLDS = 200


def _measured(truth: Profile, rng: np.random.Generator, queries: int, common: float) -> Profile:
    """What `queries` per class would have shown; the same queries for every strategy."""
    accuracy = table(truth, "accuracy")
    classes, strategies = accuracy.shape
    luck = np.sqrt(common) * rng.normal(size=(classes, 1, queries))
    luck = luck + np.sqrt(1 - common) * rng.normal(size=(classes, strategies, queries))
    seen = (luck < norm.ppf(accuracy)[:, :, None]).mean(axis=2)
    return make_profile(seen, table(truth, "cost_usd"), queries=queries, weights=truth.weights)


def _broken(queries: int, common: float, confidence: float | str) -> float:
    """Share of worlds in which the plan's true accuracy is under its floor."""
    broken = 0
    for seed in range(WORLDS):
        rng = np.random.default_rng(seed)
        truth = random_profile(rng, 5, 20)
        weights, accuracy = np.array(truth.weights), table(truth, "accuracy")
        floor = float(weights @ accuracy.max(axis=1)) - 0.1
        mix = dict(zip(truth.classes, truth.weights, strict=True))
        spec = make_spec(
            limits={"accuracy": {"overall": floor}},
            confidence=confidence,
            traffic={"requests": 10**9, "mix": mix},
        )
        seen = _measured(truth, rng, queries, common)
        x = shares(truth, Planner(seen, spec).solve().allocation)
        broken += bool(weights @ (x * accuracy).sum(axis=1) < floor)
    return broken / WORLDS


@pytest.mark.slow
@pytest.mark.parametrize(("queries", "common"), [(100, 0.0), (200, 0.0), (100, 0.4), (200, 0.8)])
def test_certified_plans_break_their_floor_in_at_most_five_percent_of_worlds(
    queries: int, common: float
) -> None:
    standard_error = np.sqrt(0.05 * 0.95 / WORLDS)  # 0.015
    assert _broken(queries, common, 0.95) <= 0.05 + 3 * standard_error


@pytest.mark.slow
def test_point_estimates_break_their_floor_in_most_worlds() -> None:
    assert _broken(200, 0.4, "none") > 0.5


def test_the_tail_of_a_mixture_matches_a_simulation() -> None:
    rng = np.random.default_rng(7)
    means = np.array([[0.5, 2.0], [1.0, 4.0]])
    grid_s = tuple(np.round(np.arange(0.1, 15, 0.1), 1).tolist())
    slow = np.exp(-np.asarray(grid_s)[:, None, None] / means)
    profile = make_profile(
        [[0.6, 0.9], [0.5, 0.8]],
        [[1e-4, 4e-4], [1e-4, 4e-4]],
        queries=1_000_000,
        slow=slow,
        grid_s=grid_s,
    )
    spec = make_spec(confidence="none", limits={"accuracy": {"overall": 0.7}})
    rung = Planner(profile, spec).solve()
    x = shares(profile, rung.allocation)
    d = rng.integers(0, 2, 400_000)
    s = (rng.uniform(size=len(d)) < x[d, 1]).astype(int)
    simulated = np.quantile(rng.exponential(means[d, s]), 0.95)
    averaged = float((x * -np.log(0.05) * means).sum() / 2)
    assert rung.expected.latency_p95_s is not None
    assert simulated - 0.05 <= rung.expected.latency_p95_s <= simulated + 0.15
    assert averaged < simulated - 0.2
