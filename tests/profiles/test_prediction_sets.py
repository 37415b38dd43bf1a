import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.difficulty.honesty.prediction_sets import (
    UNKNOWN,
    best_in_hindsight,
    class_chances,
    conformal_quantile,
    nearest_in_hindsight,
    prediction_sets,
)

REPETITIONS = 400


def world(n, rng, classes=3):
    """Predicted scores of two strategies, and true classes that depend on them."""
    level = rng.random(n)
    predicted = np.column_stack([level, 1 - 0.5 * level])
    sorted_as = np.minimum((level * classes).astype(int), classes - 1)
    noisy = (level + rng.normal(0, 0.2, n)).clip(0, 0.999)
    return predicted, sorted_as, (noisy * classes).astype(int)


@pytest.mark.parametrize("alpha", [0.1, 0.05])
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_a_new_query_is_covered_as_often_as_exact_ranks_say(n, alpha):
    """Chance of being covered is exactly ceil((n + 1)(1 - alpha)) / (n + 1) without ties."""
    rng = np.random.default_rng(0)
    exact = math.ceil((n + 1) * (1 - alpha) - 1e-9) / (n + 1)
    held = np.array(
        [
            (rng.random(200) <= conformal_quantile(rng.random(n), alpha)).mean()
            for _ in range(REPETITIONS)
        ]
    )
    error = held.std(ddof=1) / math.sqrt(REPETITIONS)
    assert abs(held.mean() - exact) < 3 * error
    assert 1 - alpha <= exact < 1 - alpha + 1 / (n + 1)


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_sets_cover_what_they_say_with_chances_that_were_learned(n):
    """New queries by the threshold of all, training queries by other folds."""
    alpha, fresh, own = 0.1, [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        predicted, sorted_as, truth = world(n + 200, rng)
        fold_of = np.concatenate([np.arange(n) % 5, np.full(200, 5)])
        learning = np.where(fold_of == 5, UNKNOWN, truth)
        chances = class_chances(predicted, sorted_as, learning, fold_of, 3)
        found = prediction_sets(chances, learning, fold_of, alpha)
        own.append(found.overall.covered)
        new = fold_of == 5
        fresh.append((found.members[new, truth[new]]).mean())
        assert found.overall.queries == n
    for shares in (fresh, own):
        error = np.std(shares, ddof=1) / math.sqrt(len(shares))
        assert np.mean(shares) > 1 - alpha - 3 * error
        assert np.mean(shares) < 1 - alpha + 1.5 / (0.8 * n + 1) + 3 * error


def test_better_predictions_make_smaller_sets_at_the_same_coverage():
    rng = np.random.default_rng(0)
    predicted, sorted_as, truth = world(2000, rng)
    fold_of = np.arange(2000) % 5
    blind = np.zeros_like(predicted), np.zeros_like(sorted_as)
    sizes = [
        prediction_sets(class_chances(*seen, truth, fold_of, 3), truth, fold_of).mean_size
        for seen in [(predicted, sorted_as), blind]
    ]
    assert sizes[0] < 2 < sizes[1]


def test_a_class_that_no_fold_can_learn_is_told_to_be_covered_less():
    rng = np.random.default_rng(0)
    truth = (rng.random(1000) < 0.03).astype(int)
    fold_of = np.arange(1000) % 5
    nothing = np.zeros((1000, 1))
    chances = class_chances(nothing, np.zeros(1000, dtype=int), truth, fold_of, 2)
    found = prediction_sets(chances, truth, fold_of, 0.1)
    assert found.overall.covered > 0.9
    assert found.by_class[1].covered < 0.1
    assert found.by_class[1].queries == truth.sum()


@given(st.integers(1, 60), st.floats(0.01, 0.9), st.integers(0, 99))
def test_every_set_holds_the_likeliest_class_and_grows_as_errors_get_rarer(n, alpha, seed):
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.ones(3), n)
    truth = rng.integers(-1, 3, n)
    fold_of = np.arange(n) % 5
    wide = prediction_sets(chances, truth, fold_of, alpha / 2)
    narrow = prediction_sets(chances, truth, fold_of, alpha)
    assert wide.members[np.arange(n), chances.argmax(axis=1)].all()
    assert (wide.members >= narrow.members).all()
    assert wide.smallest_chance <= narrow.smallest_chance
    assert narrow.mean_size == pytest.approx(narrow.members.sum() / n)


def test_too_few_queries_leave_no_class_out():
    chances = np.tile([0.9, 0.1], (5, 1))
    found = prediction_sets(chances, np.zeros(5, dtype=int), np.arange(5), 0.1)
    assert found.smallest_chance == 0
    assert found.members.all()
    assert conformal_quantile(np.arange(9.0), 0.1) == 8
    assert conformal_quantile(np.arange(8.0), 0.1) == math.inf


def test_a_querys_own_class_does_not_reach_its_chances():
    rng = np.random.default_rng(0)
    predicted, sorted_as, truth = world(300, rng)
    fold_of = np.arange(300) % 5
    turned = np.where(fold_of == 1, 2 - truth, truth)
    first = class_chances(predicted, sorted_as, truth, fold_of, 3)
    second = class_chances(predicted, sorted_as, turned, fold_of, 3)
    np.testing.assert_array_equal(first[fold_of == 1], second[fold_of == 1])
    assert (first[fold_of == 0] != second[fold_of == 0]).any()
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-4)


def test_hindsight_takes_the_nearest_prototype_of_what_was_measured():
    prototypes = np.array([[0.9, 1.0], [0.1, 0.9], [0.1, 0.2]])
    scores = np.array([[1, 1], [0, 1], [0, 0], [np.nan, 0], [0, np.nan], [np.nan, np.nan]])
    assert nearest_in_hindsight(scores, prototypes).tolist() == [0, 1, 2, 2, 1, UNKNOWN]


def test_a_class_is_not_near_for_lacking_a_strategy():
    prototypes = np.array([[0.9, 0.8, 0.5], [0.1, 0.4, np.nan]])
    scores = np.array([[1, 1, 0], [0, 0, 1], [1, np.nan, 0], [np.nan, np.nan, 1]])
    assert nearest_in_hindsight(scores, prototypes).tolist() == [0, 1, 0, UNKNOWN]


@given(st.integers(0, 2**32 - 1))
def test_what_a_query_was_not_measured_on_says_nothing_of_its_class(seed):
    """Strategies that are taken out of the table for all classes leave its class as it is."""
    rng = np.random.default_rng(seed)
    prototypes, scores = rng.random((4, 5)), rng.random((30, 5))
    missing = rng.random(5) < 0.5
    part = np.where(missing, np.nan, scores)
    found = nearest_in_hindsight(part, prototypes)
    if missing.all():
        assert (found == UNKNOWN).all()
    else:
        expected = nearest_in_hindsight(scores[:, ~missing], prototypes[:, ~missing])
        assert found.tolist() == expected.tolist()


def test_hindsight_takes_the_class_that_the_plan_serves_best():
    shares = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    scores = np.array([[1, 1, np.nan], [0, 1, 1], [0, 0, 1], [1, np.nan, 1]])
    costs = np.tile([1.0, 3.0, 9.0], (4, 1))
    assert best_in_hindsight(shares, scores, costs, 10.0).tolist() == [0, 1, 0, UNKNOWN]
    assert best_in_hindsight(shares, scores, costs, 1.0).tolist() == [0, 0, 0, UNKNOWN]
    assert best_in_hindsight(shares, scores, None, 0.0).tolist() == [0, 1, 0, UNKNOWN]


def test_where_no_other_fold_knows_a_true_class_every_class_is_as_likely():
    truth = np.array([0, 1, UNKNOWN, UNKNOWN])
    fold_of = np.array([0, 0, 1, 1])
    chances = class_chances(np.zeros((4, 1)), np.zeros(4, dtype=int), truth, fold_of, 2)
    np.testing.assert_array_equal(chances[:2], 0.5)
    assert prediction_sets(chances, truth, fold_of).members[:2].all()
