"""Price rules: choices per query, the multiplier of a budget, and classes that are choices."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from predicted import names, predictions, served
from scipy.optimize import linprog

from profiles.difficulty.nodes import Graph
from profiles.difficulty.predicting.predictor import Predictions
from profiles.difficulty.sorting.multiplier import frontier, multiplier_for_budget
from profiles.difficulty.sorting.price_rule import PriceRule
from profiles.errors import InputError

BOTH = Predictions(
    np.array([[0.5, 0.9], [0.5, 0.6], [0.5, 0.5], [0.5, 0.2]]), np.array([[0.001, 0.101]] * 4)
)


def programme(scores, costs, budget):
    """The best mean score of shares of strategies under a budget, by a general solver."""
    n, s = scores.shape
    return -linprog(
        -scores.ravel() / n,
        A_ub=costs.ravel()[None] / n,
        b_ub=[budget],
        A_eq=np.kron(np.eye(n), np.ones(s)),
        b_eq=np.ones(n),
        bounds=(0, 1),
    ).fun


@settings(deadline=None)
@given(predictions(rows=(1, 12), columns=(2, 4), costs=True), st.floats(0, 1))
def test_the_multiplier_of_a_budget_is_the_dual_of_the_linear_programme(given_, share):
    scores, costs = given_.scores, given_.costs.astype(np.float32).astype(float)
    least, most = costs.min(axis=1).mean(), costs.max(axis=1).mean()
    budget = least + share * (most - least)
    assume(budget >= least)
    multiplier = multiplier_for_budget(given_, budget)
    dual = multiplier * budget + (scores - multiplier * costs).max(axis=1).mean()
    # a slack budget's multiplier stays above 0 by what changes no choice: half a step of 1e-5
    assert dual == pytest.approx(programme(scores, costs, budget), abs=1e-5)


@settings(deadline=None)
@given(predictions(rows=(1, 40), columns=(1, 4), costs=True), st.floats(0, 1))
def test_choices_at_the_multiplier_keep_the_budget_and_below_it_they_do_not(given_, share):
    costs = given_.costs.astype(np.float32).astype(float)
    least, most = costs.min(axis=1).mean(), costs.max(axis=1).mean()
    budget = least + share * (most - least)
    assume(budget >= least)

    def spend(multiplier):
        worth = given_.scores - multiplier * costs
        return np.take_along_axis(costs, worth.argmax(axis=1)[:, None], axis=1).mean()

    multiplier = multiplier_for_budget(given_, budget)
    assert spend(multiplier * (1 + 1e-9)) <= budget * (1 + 1e-9)
    if spend(0.4e-5 / costs.max()) > budget * (1 + 1e-9):
        assert spend(multiplier * (1 - 1e-6)) >= budget * (1 - 1e-9)


def test_a_slack_budget_takes_the_cheaper_of_equals_and_changes_nothing_else():
    given_ = Predictions(np.array([[0.5, 0.5], [0.5, 0.50001]]), np.array([[2.0, 1.0]] * 2))
    rule = PriceRule.fit(given_, names(2), [multiplier_for_budget(given_, 9.0)], most=2)
    assert rule.choices == ((1,),)
    dear = Predictions(np.array([[0.5, 0.5], [0.5, 0.50001]]), np.array([[1.0, 2.0]] * 2))
    rule = PriceRule.fit(dear, names(2), [multiplier_for_budget(dear, 9.0)], most=2)
    assert [rule.choices[c] for c in rule.sort(dear)] == [(0,), (1,)]


def test_a_budget_below_the_cheapest_choices_is_refused_with_the_least_that_is_needed():
    with pytest.raises(InputError, match=r"at least 0.001 USD per request"):
        multiplier_for_budget(BOTH, 0.0009)


def test_a_multiplier_without_any_costs_is_refused():
    with pytest.raises(InputError, match="needs costs"):
        multiplier_for_budget(Predictions(BOTH.scores, None), 1.0)


def test_a_frontier_spreads_its_budgets_between_the_cheapest_and_the_best():
    rng = np.random.default_rng(0)
    given_ = Predictions(rng.random((500, 4)).round(5), np.tile([0.001, 0.01, 0.1, 1.0], (500, 1)))
    prices = frontier(given_, 3)
    spend = []
    for price in prices:
        chosen = (given_.scores - price * given_.costs).argmax(axis=1)
        spend.append(given_.costs[0, chosen].mean())
    most = given_.costs[0, given_.scores.argmax(axis=1)].mean()
    wanted = 0.001 * (most / 0.001) ** (np.arange(3, 0, -1) / 4)
    np.testing.assert_allclose(spend, wanted, rtol=0.05)


def test_there_is_no_frontier_where_the_cheapest_is_best():
    assert frontier(Predictions(np.array([[0.9, 0.1]]), np.array([[1.0, 2.0]])), 3) == ()


def test_a_frontier_over_a_free_strategy_divides_the_spend_in_equal_parts():
    gains = np.linspace(0.01, 0.4, 100).round(5)
    given_ = Predictions(np.column_stack([np.full(100, 0.5), 0.5 + gains]), None)
    prices = frontier(given_, 3, np.array([0.0, 1.0]))
    assert [(gains > price).sum() for price in prices] == [75, 50, 25]


def test_one_multiplier_makes_a_class_of_every_choice():
    rule = PriceRule.fit(BOTH, names(2), [2.0], most=5)
    assert rule.names == ("easy", "hard")
    assert rule.choices == ((1,), (0,))
    assert rule.sort(BOTH).tolist() == [0, 1, 1, 1]
    assert rule.describe()[0] == "model-1/single (tried down to 0.5 USD)"


def test_several_multipliers_make_classes_of_choices_in_a_row():
    rule = PriceRule.fit(BOTH, names(2), [2.0, 0.5, 2.0], most=5)
    assert rule.multipliers == (0.5, 2.0)
    assert rule.choices == ((1, 1), (1, 0), (0, 0))
    assert rule.describe()[1] == (
        "model-1/single where a correct answer is worth at least 2 USD, "
        "else model-0/single (tried down to 0.5 USD)"
    )
    assert rule.sort(BOTH).tolist() == [0, 1, 2, 2]


def test_a_rare_choice_joins_the_class_where_it_loses_least():
    scores = np.array([[0.9, 0.2, 0.0]] * 60 + [[0.1, 0.9, 0.0]] * 38 + [[0.1, 0.6, 0.8]] * 2)
    given_ = Predictions(scores, np.ones((100, 3)))
    rule = PriceRule.fit(given_, names(3), [0.1], most=5)
    assert rule.choices == ((0,), (1,))
    assert np.bincount(rule.sort(given_)).tolist() == [60, 40]


def test_no_more_classes_than_asked_for_come_back():
    given_ = Predictions(np.eye(6), np.ones((6, 6)))
    assert len(PriceRule.fit(given_, names(6), [0.1], most=4).names) == 4


def test_of_very_many_choices_in_a_row_the_common_ones_become_classes():
    rng = np.random.default_rng(0)
    given_ = Predictions(
        rng.random((2000, 8)).round(5), np.geomspace(1e-3, 1, 8) * np.ones((2000, 8))
    )
    prices = frontier(given_, 6)
    own = {
        tuple((row - p * usd).argmax() for p in prices)
        for row, usd in zip(given_.scores, given_.costs, strict=True)
    }
    assert len(own) > 100
    rule = PriceRule.fit(given_, names(8), prices, most=6)
    assert np.bincount(rule.sort(given_), minlength=len(rule.names)).min() >= 100
    assert 2 <= len(rule.names) <= 6


@settings(deadline=None)
@given(
    predictions(),
    st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=3),
    st.integers(1, 6),
)
def test_nodes_of_a_price_rule_agree_with_numpy_to_the_bit(given_, multipliers, most):
    columns = given_.scores.shape[1]
    means = np.geomspace(1e-4, 1e-1, columns) if given_.costs is None else None
    rule = PriceRule.fit(given_, names(columns), multipliers, most=most, mean_costs=means)
    index = rule.sort(given_)
    np.testing.assert_array_equal(served(rule, given_), index)
    assert len(set(rule.names)) == len(rule.names) <= most
    assert np.bincount(index, minlength=len(rule.names)).min() >= 0.05 * len(index)


def test_a_rule_on_predicted_dollars_refuses_a_graph_or_predictions_without_them():
    rule = PriceRule.fit(BOTH, names(2), [2.0], most=5)
    with pytest.raises(InputError, match="predicted dollars"):
        rule.append(Graph(), "scores", None)
    with pytest.raises(InputError, match="needs costs"):
        rule.sort(Predictions(BOTH.scores, None))


def test_a_rule_as_plain_values_says_its_prices_and_choices():
    rule = PriceRule.fit(BOTH, names(2), [0.0], most=5, mean_costs=np.array([1.0, 2.0]))
    assert rule.describe()[0].endswith("(money is no object)")
    assert rule.to_json() == {
        "kind": "price rule",
        "names": rule.names,
        "multipliers": (0.0,),
        "choices": [[rule.strategies[s] for s in row] for row in rule.choices],
        "mean_costs_usd": (1.0, 2.0),
    }
