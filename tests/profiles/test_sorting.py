"""Sortings on a common face: every candidate, its classes, and its graph."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import names, predictions, served

from profiles.difficulty.lessons import Lessons
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.candidates import candidates, known_mean_costs
from profiles.difficulty.sorting.classes import class_names, easiest_first
from profiles.difficulty.sorting.kmeans import Prototypes, nearest, prototypes

COUNTS = (2, 3, 4)


def world(n=1200, strategies=4, *, seed=0, costs=True, predicted_costs=True, signal=1.0):
    """Easy queries are solved by any strategy, harder ones by dearer ones, as far as `signal`."""
    rng = np.random.default_rng(seed)
    hardness = rng.random((n, 1))
    skill = np.linspace(0.2, 1.1, strategies)
    rate = 0.5 + signal * (1 / (1 + np.exp(-10 * (skill - hardness))) - 0.5) * 0.9
    scores = (rng.random((n, strategies)) < rate).astype(float)
    guesses = (0.5 + (rate - 0.5) * 0.8 + rng.normal(0, 0.03, rate.shape)).clip(0, 1).round(5)
    usd = np.geomspace(1e-4, 1e-2, strategies) * np.exp(rng.normal(0, 0.3, rate.shape))
    paid = usd.copy() if costs else np.full_like(usd, np.nan)
    lessons = Lessons(
        "w", [f"q{i}" for i in range(n)], [""] * n, [None] * n, names(strategies), scores, paid, 0
    )
    return Predictions(guesses, usd if predicted_costs else None), lessons, np.arange(n) % 5


def kinds(found):
    return {candidate.kind for candidate in found}


@pytest.mark.parametrize(
    "given_",
    [
        world(),
        world(predicted_costs=False),
        world(costs=False, predicted_costs=False),
        world(strategies=1),
        world(strategies=2, signal=0.0),
        world(n=60),
    ],
    ids=["costs", "mean costs", "no costs", "one strategy", "noise", "few"],
)
def test_every_candidate_keeps_the_promises_of_a_sorting(given_):
    predictions_, _, fold_of = given_
    found = candidates(*given_, COUNTS, 0)
    assert found
    assert len({candidate.class_index.tobytes() for candidate in found}) == len(found)
    for candidate in found:
        sizes = np.bincount(candidate.class_index, minlength=candidate.classes)
        assert len(sizes) == candidate.classes == len(candidate.sorting.names) <= max(COUNTS)
        assert len(set(candidate.sorting.names)) == candidate.classes
        assert len(candidate.sorting.describe()) == candidate.classes
        assert sizes.min() >= 0.05 * len(fold_of)
        index = candidate.sorting.sort(predictions_)
        levels = [predictions_.scores[index == c].mean() for c in range(candidate.classes)]
        assert (np.diff(levels) <= 1e-9).all()
        np.testing.assert_array_equal(served(candidate.sorting, predictions_), index)
        assert candidate.sorting.to_json()["kind"] == candidate.kind == candidate.sorting.kind
        if not candidate.kind.endswith("plan"):
            np.testing.assert_array_equal(candidate.class_index, index)


def test_a_world_with_costs_offers_every_kind():
    assert kinds(candidates(*world(n=4000), COUNTS, 0)) == {
        "prototypes",
        "difficulty by quantiles",
        "difficulty by plan",
        "upgrade by quantiles",
        "upgrade by plan",
        "price rule",
    }


def test_without_costs_there_is_no_price_rule_and_borders_are_for_calls_of_the_best():
    found = kinds(candidates(*world(n=4000, costs=False, predicted_costs=False), COUNTS, 0))
    assert "price rule" not in found
    assert "difficulty by plan" in found or "upgrade by plan" in found


def test_noise_gets_no_borders_for_a_plan():
    drawn = [
        kinds(candidates(*world(300, 2, seed=seed, signal=0.0), (2, 3), 0)) for seed in range(20)
    ]
    cut = [any(kind.endswith("plan") for kind in found) for found in drawn]
    # two values, each with a chance of at most 5 %
    assert np.mean(cut) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 20)


def test_the_same_lessons_and_seed_give_the_same_candidates():
    first, second = (candidates(*world(), COUNTS, 3) for _ in range(2))
    assert [(c.kind, c.class_index.tobytes(), c.sorting) for c in first] == [
        (c.kind, c.class_index.tobytes(), c.sorting) for c in second
    ]


def test_a_fold_is_sorted_by_borders_that_do_not_depend_on_its_outcomes():
    predictions_, lessons, fold_of = world(n=4000)
    before = candidates(predictions_, lessons, fold_of, COUNTS, 0)
    lessons.scores[fold_of == 2] = 1 - lessons.scores[fold_of == 2]
    after = candidates(predictions_, lessons, fold_of, COUNTS, 0)
    compared = 0
    for one in before:
        for other in after:
            if one.kind == other.kind == "difficulty by plan" and one.classes == other.classes:
                rows = fold_of == 2
                np.testing.assert_array_equal(one.class_index[rows], other.class_index[rows])
                compared += 1
    assert compared


def test_unmeasured_outcomes_are_filled_by_predictions_and_never_by_nothing():
    predictions_, lessons, fold_of = world(n=2000)
    holes = np.random.default_rng(5).random(lessons.scores.shape) < 0.5
    lessons.scores[holes] = np.nan
    lessons.costs[holes] = np.nan
    assert "difficulty by plan" in kinds(candidates(predictions_, lessons, fold_of, COUNTS, 0))


def test_mean_costs_are_of_predictions_else_of_measurements_else_unknown():
    predictions_, lessons, _ = world(n=100)
    means = known_mean_costs(predictions_, lessons)
    np.testing.assert_allclose(means, predictions_.costs.mean(axis=0), rtol=1e-5)
    lessons.costs[:50] = np.nan
    without = Predictions(predictions_.scores, None)
    np.testing.assert_allclose(
        known_mean_costs(without, lessons), lessons.costs[50:].mean(axis=0), rtol=1e-5
    )
    lessons.costs[:, 1] = np.nan
    assert known_mean_costs(without, lessons) is None


@settings(deadline=None)
@given(predictions(), st.integers(1, 5))
def test_nodes_of_prototypes_agree_with_numpy_to_the_bit(given_, count):
    sorting = Prototypes.fit(given_, count, seed=0)
    np.testing.assert_array_equal(served(sorting, given_), sorting.sort(given_))


def test_prototypes_of_many_points_start_from_a_sample_and_settle_on_all():
    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(c, 0.05, (3000, 2)).clip(0, 1) for c in (0.2, 0.5, 0.8)])
    centres = prototypes(points, 3, smallest_share=0.05, seed=0)
    np.testing.assert_allclose(np.sort(centres[:, 0]), [0.2, 0.5, 0.8], atol=0.01)
    means = [points[nearest(points, centres) == c].mean(axis=0) for c in range(3)]
    np.testing.assert_allclose(means, centres, atol=1e-5)


def test_classes_stand_by_predicted_scores_with_ties_by_index():
    scores = np.array([[0.2], [0.8], [0.8], [0.5]])
    assert easiest_first(scores, np.array([0, 1, 2, 4]), 5).tolist() == [1, 2, 4, 0, 3]


def test_classes_have_names_that_people_can_read():
    assert class_names(3) == ("easy", "medium", "hard")
    assert class_names(6)[-1] == "level-6"
