import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from profiles.difficulty.honesty.calibration import line, reliability
from profiles.difficulty.nodes import Graph
from profiles.difficulty.predicting.recalibration import recalibrate

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


def test_a_shrinking_step_is_found_and_lowers_the_error_on_new_queries():
    predicted, measured = world(800, 0, slope=0.5)
    found = recalibrate(predicted, measured, np.arange(800) % 5)
    assert found.changed.tolist() == [True]
    assert found.scale[0] == pytest.approx(0.5, abs=0.15)
    assert found.gain[0] > found.gain_error[0] > 0
    new_predicted, new_measured = world(4000, 1, slope=0.5)
    before = (new_predicted - new_measured) ** 2
    after = (found.apply(new_predicted) - new_measured) ** 2
    assert after.mean() < before.mean()


def test_a_right_predictor_is_seldom_changed_and_then_but_little():
    moved = []
    for seed in range(100):
        predicted, measured = world(400, seed)
        found = recalibrate(predicted, measured, np.arange(400) % 5)
        moved.append(np.abs(found.apply(predicted) - predicted).mean())
    assert np.mean(np.array(moved) > 0) < 0.25
    assert max(moved) < 0.1


def test_a_querys_own_outcome_does_not_reach_its_recalibrated_score():
    predicted, measured = world(300, 2, slope=0.3)
    fold_of = np.arange(300) % 5
    first = recalibrate(predicted, measured, fold_of).predicted
    turned = np.where((fold_of == 2)[:, None], 1 - measured, measured)
    second = recalibrate(predicted, turned, fold_of)
    assert second.changed.all()
    np.testing.assert_array_equal(first[fold_of == 2], second.predicted[fold_of == 2])
    assert (first[fold_of == 1] != second.predicted[fold_of == 1]).all()


def test_too_few_queries_change_nothing():
    predicted, measured = world(30, 0, slope=0.0)
    found = recalibrate(predicted, measured, np.arange(30) % 5)
    assert not found.changed.any()
    assert np.isnan(found.gain).all()
    np.testing.assert_array_equal(found.predicted, predicted)


@pytest.mark.parametrize("slope", [0.3, 1.0])
def test_the_graph_takes_the_same_step_as_numpy(slope):
    predicted, measured = world(500, 0, slope=slope)
    found = recalibrate(predicted, measured, np.arange(500) % 5)
    graph = Graph()
    start = graph.add("Cast", "scores", to=TensorProto.FLOAT)
    graph.add("Identity", found.append(graph, start), output="after")
    model = graph.model({"after": (TensorProto.FLOAT, ["N", 1])}, {}, inputs=["scores"])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    given_scores = predicted.astype(np.float32)
    (after,) = ReferenceEvaluator(model).run(None, {"scores": given_scores})
    np.testing.assert_allclose(after, found.apply(given_scores), atol=1e-6)
