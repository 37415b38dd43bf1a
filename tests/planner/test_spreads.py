"""No cell counts as steadier than all classes of its strategy together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import make_profile, make_spec

from planner.estimating.estimates import estimate
from planner.estimating.spreads import spreads_of


@given(st.integers(0, 10_000))
def test_spreads_are_never_below_the_measured_ones_and_follow_the_unit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, queries = rng.gamma(2.0, size=8), rng.integers(1, 99, 8).astype(float)
    measured = np.where(rng.random(8) < 0.2, np.nan, mean * rng.uniform(0, 3, 8))
    strategy_of = rng.integers(0, 3, 8)
    found = spreads_of(mean, measured, queries, strategy_of)
    assert (found >= np.where(np.isnan(measured), mean, measured)).all()
    for own in range(3):
        known = (strategy_of == own) & ~np.isnan(measured)
        if known.any():
            squares = np.average((measured / mean)[known] ** 2, weights=queries[known])
            assert (
                found[strategy_of == own] ** 2 >= mean[strategy_of == own] ** 2 * squares * 0.999
            ).all()
    scaled = spreads_of(7 * mean, 7 * measured, queries, strategy_of)
    assert scaled == pytest.approx(7 * found, rel=1e-12)


def test_a_cell_that_looks_steady_strays_as_its_strategy_does() -> None:
    mean, measured = np.array([1.0, 2.0, 5.0]), np.array([0.1, 4.0, 0.5])
    found = spreads_of(mean, measured, np.array([50.0, 50.0, 50.0]), np.array([0, 0, 1]))
    together = np.sqrt((0.1**2 + 2.0**2) / 2)
    assert found == pytest.approx([together, 4.0, 0.5])


def test_what_is_free_or_unknown_stays_so() -> None:
    mean, measured = np.array([0.0, np.nan, 3.0]), np.array([0.0, np.nan, np.nan])
    found = spreads_of(mean, measured, np.full(3, 50.0), np.zeros(3, int))
    assert found[0] == 0
    assert np.isnan(found[1])
    assert found[2] == 3


def test_a_spread_that_was_not_measured_says_nothing_about_others() -> None:
    found = spreads_of(np.ones(2), np.array([np.nan, 0.2]), np.full(2, 50.0), np.zeros(2, int))
    assert found == pytest.approx([1.0, 0.2])


def test_dollars_stray_as_their_strategy_does() -> None:
    profile = make_profile([[0.5, 0.6]] * 2, [[1e-4, 1e-3]] * 2, queries=100)
    e = estimate(profile, make_spec())
    assert e.cost_spread == pytest.approx(e.cost_usd / 4)
    assert e.cost_sd == pytest.approx(e.cost_usd / 40)
