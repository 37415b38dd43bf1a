import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.difficulty.honesty.calibration import line, reliability

REPETITIONS = 400


def world(n, seed, slope=1.0, shift=0.0, samples=1):
    """Predictions, and mean scores of samples whose true chance is an affine function of them."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0.1, 0.9, n)
    chance = (slope * (predicted - 0.5) + 0.5 + shift).clip(0, 1)
    return predicted[:, None], (rng.binomial(samples, chance) / samples)[:, None]


def judge(n, seed, **how):
    return reliability(*world(n, seed, **how), ["m"])[0]


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("n", [60, 300, 1000])
def test_a_right_predictor_shows_the_noise_floor_and_is_seldom_blamed(n, samples):
    found = [judge(n, seed, samples=samples) for seed in range(REPETITIONS)]
    errors = np.array([one.calibration_error for one in found])
    floors = np.array([one.noise_floor for one in found])
    noise = errors.std(ddof=1) / math.sqrt(REPETITIONS)
    assert abs(errors.mean() - floors.mean()) < 3 * noise + 0.1 * floors.mean()
    blamed = np.mean(["no miscalibration" not in one.words for one in found])
    assert blamed < 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS), blamed


def test_over_confidence_timidity_and_bias_are_told_in_words():
    assert "over-confident" in judge(1000, 0, slope=0.4).words
    assert "bins miss by" in judge(1000, 0, slope=0.4).words
    assert "too timid" in judge(3000, 0, slope=1.2).words
    assert "more than measured" in judge(1000, 0, shift=-0.1).words
    assert "less than measured" in judge(1000, 0, shift=0.1).words


@given(st.integers(2, 700), st.integers(0, 99))
def test_bins_hold_equally_many_queries_in_order_and_the_brier_score_is_split_whole(n, seed):
    predicted, measured = world(n, seed)
    found = reliability(predicted, measured, ["m"])[0]
    sizes = [one.queries for one in found.bins]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) <= 10
    assert len(sizes) == 1 or min(sizes) >= 30
    means = [one.predicted for one in found.bins]
    assert means == sorted(means)
    assert all(one.low <= one.measured <= one.high for one in found.bins)
    assert found.brier == pytest.approx(((predicted - measured) ** 2).mean())
    assert found.brier == pytest.approx(found.calibration + found.refinement)
    assert found.bias == pytest.approx((predicted - measured).mean())


def test_the_slope_covers_the_truth_as_often_as_its_error_says():
    hits = [
        abs(fitted.slope - 0.7) < 1.96 * fitted.slope_error
        for seed in range(REPETITIONS)
        for predicted, measured in [world(200, seed, slope=0.7)]
        for fitted in [line(predicted[:, 0], measured[:, 0])]
    ]
    assert abs(np.mean(hits) - 0.95) < 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)


def test_unmeasured_queries_do_not_count_and_unmeasured_strategies_have_no_report():
    predicted, measured = world(100, 0)
    measured[::2] = np.nan
    both = reliability(
        np.hstack([predicted] * 2), np.hstack([measured, measured * np.nan]), ["a", "b"]
    )
    assert [(one.strategy, one.queries) for one in both] == [("a", 50)]


def test_equal_predictions_and_outcomes_have_no_line_and_are_no_certainty():
    found = reliability(np.full((40, 1), 0.99), np.ones((40, 1)), ["m"])[0]
    assert found.line is None
    assert found.noise_floor > 0
    assert "no miscalibration" in found.words
    exact = np.linspace(0, 1, 100)[:, None]
    assert "over-confident" not in reliability(exact, exact, ["m"])[0].words
