"""Profiles drawn anew, and how often intervals made of them hold the truth (standard errors)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import make_profile, random_profile

from planner.fees.break_even_interval import interval, rates
from planner.fees.resampled import resampled
from profiles.profile import Profile

WORLDS, DRAWS, QUERIES, FEE_USD = 300, 99, 200, 10.0
COST = np.array([3e-3, 1e-3])
SPREAD = 0.8
"""Standard deviation of a request's cost over its mean, log-normal."""


def drawn(profile: Profile, draws: int) -> list[Profile]:
    rng = np.random.default_rng(0)
    return [resampled(profile, rng) for _ in range(draws)]


def test_means_vary_by_their_standard_errors() -> None:
    profile = make_profile([[0.8]], [[2e-3]], queries=400, weights=[1.0])
    cells = [one.cell("c0", "m00/single") for one in drawn(profile, 2000)]
    accuracy = np.array([cell.accuracy for cell in cells])
    cost = np.array([cell.cost_usd for cell in cells])
    assert accuracy.mean() == pytest.approx(0.8, abs=4 * 0.02 / np.sqrt(2000) + 0.5 / 400)
    assert accuracy.std() == pytest.approx(0.02, rel=0.1)
    assert cost.mean() == pytest.approx(2e-3, rel=0.01)
    assert cost.std() == pytest.approx(2e-3 / 4 / 20, rel=0.1)


def test_all_right_is_not_certainty() -> None:
    profile = make_profile([[1.0]], [[1e-3]], queries=50)
    lowest = min(one.cell("c0", "m00/single").accuracy for one in drawn(profile, 500))
    assert 0.85 < lowest < 0.99


def test_the_mix_and_slow_answers_are_drawn_and_sample_sizes_stay() -> None:
    profile = random_profile(np.random.default_rng(1), 3, 4, queries=200)
    shares = []
    for one in drawn(profile, 300):
        assert sum(one.weights) == pytest.approx(1)
        for key, cell in one.cells.items():
            assert cell.queries == profile.cells[key].queries
            assert cell.exceeded is not None
            assert list(cell.exceeded) == sorted(cell.exceeded, reverse=True)
            assert max(cell.exceeded) <= cell.latency_observations
        shares.append(one.weights)
    spread = np.sqrt(np.array(profile.weights) * (1 - np.array(profile.weights)) / profile.queries)
    assert np.std(shares, axis=0) == pytest.approx(spread, rel=0.2)
    counts = [one.cell("c0", "m00/single").exceeded or () for one in drawn(profile, 300)]
    seen = profile.cell("c0", "m00/single").exceeded
    assert seen is not None
    assert np.mean(counts, axis=0) == pytest.approx(seen, abs=4 * np.sqrt(50 / 300))


def test_what_is_unknown_stays_unknown() -> None:
    profile = make_profile([[0.5, 0.5]], [[np.nan, 0.0]])
    (one,) = drawn(profile, 1)
    assert one.cell("c0", "m00/single").cost_usd is None
    assert one.cell("c0", "m01/single").cost_usd == 0.0
    assert one.cell("c0", "m01/single").exceeded is None


def test_intervals_hold_the_true_rate_as_often_as_they_say() -> None:
    """Two strategies without limits: a request costs what it costs, 3 standard errors allowed."""
    truth = (COST[0] - COST[1]) / FEE_USD
    variance = np.log1p(SPREAD**2)
    held = 0
    for world in range(WORLDS):
        rng = np.random.default_rng(world)
        costs = COST * np.exp(rng.normal(-variance / 2, np.sqrt(variance), (QUERIES, 2)))
        means, sds = costs.mean(axis=0), costs.std(axis=0, ddof=1)
        profile = make_profile([[0.5, 0.5]], [means], queries=QUERIES)
        cells = {
            key: replace(cell, cost_sd_usd=float(sd))
            for (key, cell), sd in zip(profile.cells.items(), sds, strict=True)
        }
        luck = [resampled(replace(profile, cells=cells), rng) for _ in range(DRAWS)]
        below, above = (
            np.array([one.cell("c0", name).cost_usd for one in luck], dtype=np.float64)
            for name in profile.strategies
        )
        slow, fast = interval(rates(below, above, FEE_USD), 0.95)
        held += slow <= truth <= fast
    error = np.sqrt(0.95 * 0.05 / WORLDS)
    assert held / WORLDS == pytest.approx(0.95, abs=3 * error)


def test_rates_have_no_gap_where_volumes_have_one() -> None:
    inf = np.inf
    found = rates(
        np.array([2.0, 1.0, 1.0, inf, 1.0, inf]), np.array([1.0, 1.0, 2.0, 1, inf, inf]), 2
    )
    assert found.tolist() == [0.5, 0.0, -0.5, inf, -inf]
    assert interval(found, 0.5) == (-inf, inf)
    assert interval(np.array([]), 0.95) == (-inf, inf)
    assert interval(np.arange(1.0, 100.0), 0.9) == (5.0, 95.0)
