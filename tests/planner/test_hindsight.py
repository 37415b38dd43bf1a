"""In hindsight: what the best choice for every single outcome would have been."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from outcome_worlds import easy_and_hard
from worlds import make_spec

from planner.frontiers.frontier import frontier
from planner.frontiers.hindsight import hindsight, weights_of
from planner.planner import Planner
from planner.sorting.cells_of_outcomes import Outcomes, profile_of
from profiles.errors import InputError, UnknownValueError

NAN = np.nan


def test_the_bound_is_that_of_all_choices_tried_one_by_one() -> None:
    rng = np.random.default_rng(2)
    scores, costs = rng.integers(0, 2, (6, 3)).astype(float), rng.uniform(0.1, 1, (6, 3))
    found = hindsight(Outcomes("world", ("a", "b", "c"), scores, costs), points=100)
    tried = [
        (costs[range(6), chosen].mean(), scores[range(6), chosen].mean())
        for chosen in itertools.product(range(3), repeat=6)
    ]
    for point in found.points:
        best = max(score for cost, score in tried if cost <= point.usd_per_request + 1e-12)
        assert point.accuracy == pytest.approx(best)
        least = min(cost for cost, score in tried if score >= point.accuracy - 1e-12)
        assert point.usd_per_request == pytest.approx(least)
    assert found.breakpoints == len(found.points)
    assert (found.queries, found.strategies, found.outcomes, found.missing) == (6, 3, 18, 0)


def test_no_plan_by_classes_does_better_on_the_same_outcomes() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(1), 400)
    bound = hindsight(outcomes, points=10_000)
    profile = profile_of(outcomes, hard, ("easy", "hard"), np.arange(400))
    loose = {"accuracy": {"by_class": {"easy": 0.0}}}  # so budgets are solved one by one
    planned = frontier(Planner(profile, make_spec(confidence="none", limits=loose)), points=8)
    assert len(planned) > 3
    usd = [point.usd_per_request for point in bound.points]
    accuracy = [point.accuracy for point in bound.points]
    for point in planned:
        # both frontiers are concave, so between breakpoints the bound is the line
        assert point.accuracy <= np.interp(point.usd_per_request, usd, accuracy) + 1e-9
    assert planned[0].usd_per_request >= usd[0] - 1e-12


def test_a_further_correct_answer_costs_what_the_next_query_needs() -> None:
    scores, costs = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 3.0], [1.0, 9.0]])
    found = hindsight(Outcomes("world", ("a", "b"), scores, costs))
    assert [point.usd_per_further_correct_answer for point in found.points] == [2.0, 8.0, None]
    assert [point.usd_per_request for point in found.points] == [1.0, 2.0, 6.0]
    assert [point.accuracy for point in found.points] == [0.0, 0.5, 1.0]


def test_what_was_not_measured_is_not_chosen_and_is_counted() -> None:
    scores = np.array([[0.0, NAN], [0.0, 1.0], [NAN, NAN]])
    costs = np.array([[1.0, NAN], [1.0, 2.0], [NAN, NAN]])
    found = hindsight(Outcomes("world", ("a", "b"), scores, costs))
    assert found.points[-1].accuracy == 0.5
    assert (found.queries, found.left_out, found.outcomes, found.missing) == (2, 1, 3, 1)


def test_a_mix_weighs_the_classes_of_the_queries() -> None:
    scores, costs = np.array([[1.0], [0.0], [0.0]]), np.ones((3, 1))
    outcomes = Outcomes("world", ("a",), scores, costs)
    weights = weights_of(["easy", "hard", None], {"easy": 0.2, "hard": 0.8})
    assert hindsight(outcomes).points[0].accuracy == pytest.approx(1 / 3)
    found = hindsight(outcomes, weights=weights)
    assert found.points[0].accuracy == pytest.approx(0.2)
    assert found.left_out == 1
    assert weights_of(["easy"], None) is None
    with pytest.raises(InputError, match=r"traffic\.mix\.odd"):
        weights_of(["easy"], {"easy": 0.5, "odd": 0.5})


def test_an_unknown_cost_is_never_free() -> None:
    outcomes = Outcomes("world", ("a", "b"), np.ones((2, 2)), np.array([[1.0, NAN], [1.0, 2.0]]))
    with pytest.raises(UnknownValueError, match="1 of 4 outcomes") as error:
        hindsight(outcomes)
    assert "strategy b" in str(error.value)


def test_without_scores_there_is_no_bound() -> None:
    table = np.full((2, 1), NAN)
    with pytest.raises(InputError, match="no query has a score"):
        hindsight(Outcomes("world", ("a",), table, table))
