import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association

from profiles.cells.intervals import wilson
from profiles.difficulty.honesty.confusion import changes, confusion

NAMES = ("easy", "hard")


def test_counts_shares_and_intervals_are_those_of_the_table():
    sorted_as = np.array([0, 0, 0, 1, 1])
    found = confusion(sorted_as, NAMES, ["x", "x", "y", "y", None])
    assert found.labels == ("x", "y")
    assert (found.queries, found.unlabelled) == (4, 1)
    assert [[one.count for one in row] for row in found.table] == [[2, 1], [0, 1]]
    assert found.table[0][0].share == pytest.approx(2 / 3)
    assert (found.table[0][0].low, found.table[0][0].high) == wilson(2 / 3, 3)
    assert (found.guessed, found.base) == (0.75, 0.5)
    assert found.same_name is None


def test_where_labels_are_names_of_classes_it_says_how_often_they_agree():
    found = confusion(np.array([0, 1, 1, 0]), NAMES, ["easy", "hard", "easy", "easy"])
    assert (found.same_name.count, found.same_name.share) == (3, 0.75)


def test_without_labels_there_is_no_table_and_one_label_has_no_association():
    assert confusion(np.array([0, 1]), NAMES, [None, None]) is None
    assert confusion(np.array([0, 1]), NAMES, ["x", "x"]).association is None


def test_an_empty_class_knows_nothing():
    empty = confusion(np.array([0, 0]), NAMES, ["x", "y"]).table[1]
    assert [(one.share, one.low, one.high) for one in empty] == [(0, 0, 1)] * 2


def test_the_association_of_many_queries_is_cramers_v():
    rng = np.random.default_rng(0)
    sorted_as = rng.integers(0, 3, 20_000)
    labels = np.where(rng.random(20_000) < 0.5, sorted_as, rng.integers(0, 4, 20_000))
    found = confusion(sorted_as, ("a", "b", "c"), [str(label) for label in labels])
    counts = np.array([[one.count for one in row] for row in found.table])
    assert found.association == pytest.approx(association(counts, method="cramer"), abs=0.01)


def test_unrelated_labels_have_no_association_on_average_and_equal_ones_have_all():
    rng = np.random.default_rng(0)
    squares = [
        confusion(
            rng.integers(0, 3, 60), ("a", "b", "c"), [str(x) for x in rng.integers(0, 3, 60)]
        ).association
        ** 2
        for _ in range(300)
    ]
    assert np.mean(squares) < 0.02  # without the correction it is 2 / 60 on average
    same = rng.integers(0, 3, 60)
    assert confusion(same, ("a", "b", "c"), [str(x) for x in same]).association == pytest.approx(1)


SHARES = np.array([[1.0, 0.0], [0.25, 0.75]])


def test_changes_are_those_of_serving_every_query_once_more():
    scores = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    costs = np.array([[1.0, 5.0], [1.0, 5.0], [1.0, 9.0]])
    found = changes(SHARES, scores, costs, np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert found.moved == pytest.approx(1 / 3)
    assert found.score.mean == pytest.approx(0.75 / 3)
    assert found.score.standard_error == pytest.approx(0.75 / 3)
    assert found.cost_usd.mean == pytest.approx(3 / 3)
    assert found.cost_usd.queries == 3


def test_a_query_counts_only_where_every_strategy_that_would_serve_it_is_measured():
    scores = np.array([[1.0, np.nan], [np.nan, 1.0], [0.0, 1.0]])
    found = changes(SHARES, scores, None, np.array([0, 0, 0]), np.array([0, 1, 1]))
    assert (found.score.queries, found.score.mean) == (2, pytest.approx(0.75 / 2))
    assert found.cost_usd is None
    nothing = changes(SHARES, scores * np.nan, None, np.array([0, 0, 0]), np.array([0, 1, 1]))
    assert nothing.score is None


@given(st.integers(2, 50), st.integers(0, 99))
def test_the_way_back_costs_what_the_way_there_saves(n, seed):
    rng = np.random.default_rng(seed)
    scores, first, second = rng.random((n, 2)), rng.integers(0, 2, n), rng.integers(0, 2, n)
    there = changes(SHARES, scores, scores, first, second).score
    back = changes(SHARES, scores, scores, second, first).score
    assert there.mean == pytest.approx(-back.mean)
    assert there.standard_error == pytest.approx(back.standard_error)


def test_the_standard_error_is_that_of_the_mean_over_queries():
    rng = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(500):
        scores = (rng.random((200, 2)) < [0.5, 0.8]).astype(float)
        first, second = np.zeros(200, dtype=int), rng.integers(0, 2, 200)
        found = changes(SHARES, scores, None, first, second).score
        means.append(found.mean)
        errors.append(found.standard_error)
    spread = np.std(means, ddof=1)
    assert abs(np.mean(errors) - spread) < 3 * spread / math.sqrt(2 * 500)
