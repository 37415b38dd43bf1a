"""The value of information against brute force, and advice in the cases that people meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import make_profile, make_spec, random_profile, table

from planner.advice.advice import Advice
from planner.advice.advise import advise
from planner.advice.information import Information, expected_smaller
from planner.planner import Planner
from profiles.errors import InfeasibleError, InputError, UnknownValueError
from profiles.profile import Profile

REQUESTS = 1_000_000


def seen_world(
    seed: int, classes: int = 3, strategies: int = 4, queries: int = 100
) -> tuple[Profile, float]:
    """What so many queries showed of a random world, and a floor that a plan can promise."""
    rng = np.random.default_rng(seed)
    truth = random_profile(rng, classes, strategies)
    accuracy = table(truth, "accuracy")
    seen = rng.binomial(queries, accuracy) / queries
    profile = make_profile(seen, table(truth, "cost_usd"), queries=queries, weights=truth.weights)
    return profile, float(np.array(truth.weights) @ accuracy.max(axis=1)) - 0.15


def cheapest(profile: Profile, floor: float, **keys: Any) -> Any:
    mix = dict(zip(profile.classes, profile.weights, strict=True))
    return make_spec(
        limits={"accuracy": {"overall": floor}},
        traffic={"requests": REQUESTS, "mix": mix},
        **keys,
    )


def measured_further(profile: Profile, key: tuple[str, str], more: int, mean: float) -> Profile:
    cell = profile.cells[key]
    queries = cell.queries + more
    accuracy = (cell.queries * cell.accuracy + more * mean) / queries
    sd = float(np.sqrt(accuracy * (1 - accuracy) * queries / (queries - 1)))
    changed = replace(
        cell,
        queries=queries,
        observations=queries,
        accuracy=accuracy,
        accuracy_sd=sd,
        score_sd=sd,
    )
    return replace(profile, cells={**profile.cells, key: changed})


def certified(profile: Profile, spec: Any) -> float:
    planner = Planner(profile, spec)
    return planner.answer(spec.objective, planner.limits).value


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 5])
def test_values_agree_with_brute_force_in_size_and_order(seed: int) -> None:
    """Draw a truth from the belief, measure, plan again: the mean saving is the value."""
    profile, floor = seen_world(seed)
    spec = cheapest(profile, floor)
    information = Information(Planner(profile, spec))
    beliefs, more, draws = information.beliefs, 100, 120
    closed = information.value(float(more))
    now = certified(profile, spec)
    rng = np.random.default_rng(seed)
    brute, error = np.zeros(len(closed)), np.zeros(len(closed))
    for j, (d, s) in enumerate(zip(beliefs.class_of, beliefs.strategy_of, strict=True)):
        key = (profile.classes[d], profile.strategies[s])
        truths = np.clip(rng.normal(beliefs.accuracy[j], np.sqrt(beliefs.doubt[j]), draws), 0, 1)
        means = rng.binomial(more, truths) / more
        saved = [now - certified(measured_further(profile, key, more, m), spec) for m in means]
        brute[j], error[j] = np.mean(saved), np.std(saved) / np.sqrt(draws)
    assert np.corrcoef(closed, brute)[0, 1] > 0.85
    assert np.argmax(brute) in np.argsort(closed)[-3:]
    large = brute > 0.2 * brute.max()
    assert np.all(closed[large] <= 2.5 * (brute + 2 * error)[large])
    assert np.all(closed[large] >= (brute - 2 * error)[large] / 2.5)


@given(
    mean=st.floats(-1, 1),
    sd=st.floats(1e-6, 1),
    other=st.floats(-1, 1),
)
def test_the_expected_smaller_of_a_normal_and_a_number(
    mean: float, sd: float, other: float
) -> None:
    grid = np.linspace(-9, 9, 20_001)
    weight = np.exp(-(grid**2) / 2)
    integral = float(np.sum(weight * np.minimum(mean + sd * grid, other)) / weight.sum())
    found = expected_smaller(np.array([mean]), np.array([sd]), np.array([other]))
    assert found[0] == pytest.approx(integral, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), more=st.integers(1, 1000))
def test_values_are_never_negative_grow_with_queries_and_stay_below_the_plan(
    seed: int, more: int
) -> None:
    profile, floor = seen_world(seed, queries=200)
    information = Information(Planner(profile, cheapest(profile, floor)))
    few, many = information.value(float(more)), information.value(10.0 * more)
    assert np.all(few >= 0)
    assert np.all(many >= few - 1e-15)
    if information.position.blocked is None:
        assert np.all(many <= information.position.value)


def test_what_is_known_for_certain_is_not_worth_measuring() -> None:
    profile, floor = seen_world(2)
    certain = make_profile(
        table(profile, "accuracy"),
        table(profile, "cost_usd"),
        queries=10**12,
        weights=profile.weights,
    )
    advice = advise(certain, cheapest(profile, floor))
    assert [row.value_usd for row in advice.rows if row.worth_it] == []
    assert "no cell is worth measuring further" in advice.summary


def test_more_data_makes_the_advice_worth_less() -> None:
    worth = []
    for queries in (100, 1000, 10_000):
        truth = random_profile(np.random.default_rng(4), 3, 4)
        profile = make_profile(table(truth, "accuracy"), table(truth, "cost_usd"), queries=queries)
        advice = advise(profile, cheapest(profile, 0.55))
        worth.append(max((row.value_usd or 0.0 for row in advice.rows), default=0.0))
    assert worth[0] > worth[1] > worth[2]


def test_a_row_says_queries_cost_and_worth_in_dollars() -> None:
    profile, floor = seen_world(2)
    advice = advise(profile, cheapest(profile, floor))
    row = advice.rows[0]
    cell = profile.cells[row.class_name, row.strategy]
    assert advice.unit == "USD per request"
    assert cell.cost_usd is not None
    assert row.cost_usd == pytest.approx(cell.cost_usd * row.queries)
    assert row.value_usd == pytest.approx(row.value * REQUESTS)
    assert row.worth_it
    assert row.measured == 100
    assert advice.missing_evidence_usd is not None
    assert advice.certified is not None
    assert advice.hindsight is not None
    assert advice.missing_evidence_usd == pytest.approx(
        (advice.certified - advice.hindsight) * REQUESTS
    )


def test_without_traffic_nothing_is_said_in_dollars_per_window() -> None:
    profile, floor = seen_world(2)
    advice = advise(profile, make_spec(limits={"accuracy": {"overall": floor - 0.05}}))
    assert advice.rows
    assert {row.value_usd for row in advice.rows} == {None}
    assert {row.worth_it for row in advice.rows} == {None}


def test_an_accuracy_under_a_budget_is_turned_into_dollars_by_the_budgets_price() -> None:
    profile, _ = seen_world(3, queries=400)
    budget = float(np.median(table(profile, "cost_usd")))
    spec = make_spec(
        objective="maximize accuracy",
        limits={"spend": {"usd_per_request": budget}},
        traffic={"requests": REQUESTS},
    )
    advice = advise(profile, spec)
    assert advice.unit == "accuracy"
    row = advice.rows[0]
    assert row.value_usd is not None
    assert 0 < row.value < 0.5
    assert row.value_usd > row.value  # a point of accuracy costs more than a cent a window here


def test_an_accuracy_that_no_money_limits_has_no_price() -> None:
    profile = make_profile([[0.80, 0.78], [0.60, 0.66]], [[1e-4, 2e-4]] * 2, queries=100)
    advice = advise(
        profile, make_spec(objective="maximize accuracy", traffic={"requests": REQUESTS})
    )
    assert advice.rows
    assert {row.value_usd for row in advice.rows} == {None}
    assert "no price" in advice.summary


def blocked_by_evidence() -> Advice:
    profile = make_profile([[0.90, 0.70], [0.80, 0.60]], [[2e-4, 1e-4]] * 2, queries=60)
    return advise(profile, cheapest(profile, 0.82))


def test_a_plan_that_cannot_be_certified_yet_says_which_cells_and_how_many_queries() -> None:
    advice = blocked_by_evidence()
    assert advice.blocked == "accuracy.overall"
    assert advice.certified is None
    assert {row.strategy for row in advice.rows} == {"m00/single"}
    assert "more queries of the cells listed would do" in advice.summary
    enough = 60 + max(row.queries for row in advice.rows)
    profile = make_profile([[0.90, 0.70], [0.80, 0.60]], [[2e-4, 1e-4]] * 2, queries=enough)
    assert Planner(profile, cheapest(profile, 0.82)).solve().promised.accuracy >= 0.82


def test_a_floor_that_no_evidence_would_reach_is_said_to_be_out_of_reach() -> None:
    profile = make_profile([[0.90, 0.70], [0.80, 0.60]], [[2e-4, 1e-4]] * 2, queries=60)
    advice = advise(profile, cheapest(profile, 0.95))
    assert advice.blocked == "accuracy.overall"
    assert "would not do" in advice.summary


def test_a_cell_that_was_never_measured_is_worth_something_by_its_other_classes() -> None:
    truth = random_profile(np.random.default_rng(4), 4, 4)
    profile = make_profile(table(truth, "accuracy"), table(truth, "cost_usd"), queries=200)
    spec = cheapest(profile, 0.55)
    used = Planner(profile, spec).solve().allocation["c1"]
    strategy = max(used, key=lambda name: used[name])
    cells = {key: cell for key, cell in profile.cells.items() if key != ("c1", strategy)}
    advice = advise(replace(profile, cells=cells), spec)
    row = next(row for row in advice.rows if (row.class_name, row.strategy) == ("c1", strategy))
    assert row.measured == 0
    assert row.worth_it
    assert "never measured in this class" in row.reason


def test_a_budget_takes_what_fits_best_value_per_dollar_first() -> None:
    profile, floor = seen_world(2)
    everything = advise(profile, cheapest(profile, floor))
    costs = [row.cost_usd for row in everything.rows if row.cost_usd is not None]
    budget = sum(costs) / 2
    part = advise(profile, cheapest(profile, floor), budget_usd=budget)
    assert 0 < len(part.rows) < len(everything.rows)
    assert sum(row.cost_usd or 0.0 for row in part.rows) <= budget
    rates = [row.value / row.cost_usd for row in part.rows if row.cost_usd]
    assert rates == sorted(rates, reverse=True)


def test_an_unknown_cost_is_refused_where_the_plan_needs_it_and_unknown_where_not() -> None:
    profile = make_profile([[0.9, 0.8]], [[1e-4, np.nan]], queries=100)
    with pytest.raises(UnknownValueError, match="cost of this cell is unknown"):
        advise(profile, cheapest(profile, 0.7))
    advice = advise(profile, make_spec(objective="maximize accuracy"))
    assert {row.strategy: row.cost_usd for row in advice.rows}["m01/single"] is None


def test_an_empty_list_or_no_budget_is_refused() -> None:
    profile, floor = seen_world(2)
    with pytest.raises(InputError):
        advise(profile, cheapest(profile, floor), limit=0)
    with pytest.raises(InputError):
        advise(profile, cheapest(profile, floor), budget_usd=0.0)


def test_class_floors_and_tails_are_valued_too() -> None:
    truth = random_profile(np.random.default_rng(5), 3, 4, queries=300)
    spec = make_spec(
        limits={
            "accuracy": {"by_class": {"c2": 0.4}},
            "latency": {"p95_s": 4.0},
        },
        traffic={"requests": REQUESTS},
    )
    advice = advise(truth, spec)
    assert any(row.class_name == "c2" for row in advice.rows)
    assert all(row.value >= 0 for row in advice.rows)


def test_several_limits_that_few_queries_cannot_certify_name_the_cells_to_measure() -> None:
    """Each class floor alone is kept by the means, and too tight for twenty queries."""
    profile = make_profile([[0.9, 0.5], [0.9, 0.5]], [[2e-4, 1e-4], [2e-4, 1e-4]], queries=20)
    floors = {"c0": 0.9, "c1": 0.9}
    advice = advise(profile, make_spec(limits={"accuracy": {"by_class": floors}}))
    assert (advice.blocked, advice.certified) == ("several limits", None)
    assert advice.hindsight == pytest.approx(2e-4)
    assert (
        "measure the cells that they rest on as often again for about 0.008 USD" in advice.summary
    )
    found = {(row.class_name, row.strategy, row.queries, row.value) for row in advice.rows}
    assert found == {("c0", "m00/single", 20, None), ("c1", "m00/single", 20, None)}
    impossible = {"c0": 0.95, "c1": 0.95}
    with pytest.raises(InfeasibleError):
        advise(profile, make_spec(limits={"accuracy": {"by_class": impossible}}))


def test_where_there_is_neither_a_choice_nor_a_limit_nothing_is_worth_measuring() -> None:
    profile = make_profile(np.array([[0.9]]), np.array([[0.01]]), queries=100)
    spec = make_spec(traffic={"requests": REQUESTS})
    assert advise(profile, spec).rows == ()
    assert not Information(Planner(profile, spec)).value(1000.0).any()
