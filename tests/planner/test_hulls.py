"""Merged hulls: the frontier that a linear programme finds point by point."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from planner.frontiers.hulls import ExactFrontier, Mix, exact_frontier
from profiles.errors import InfeasibleError, InputError

coarse = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0])  # many ties, equal slopes
fine = st.integers(-64, 64).map(lambda number: number / 32)
LENIENCE = 2e-5
"""HiGHS may miss a limit by 1e-7, and on these grids a unit of value costs up to 128."""


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Costs, values and weights, some unknown, many equal."""
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    numbers = draw(st.sampled_from([coarse, fine]))
    costs, values = (draw(arrays(float, shape, elements=numbers)) for _ in range(2))
    for table in (costs, values):
        gaps = draw(arrays(bool, shape, elements=st.booleans()))
        gaps[:, draw(st.integers(0, shape[1] - 1))] = draw(st.booleans())
        table[gaps & (np.cumsum(~gaps, axis=1) > 1)] = np.nan  # the first known one stays
    known = np.isfinite(costs) & np.isfinite(values)
    costs[~known.any(axis=1)], values[~known.any(axis=1)] = 1.0, 0.5
    weights = draw(arrays(float, shape[0], elements=st.sampled_from([0.0, 0.1, 0.5, 1.0])))
    return costs, values, weights


def programme(costs: Any, values: Any, weights: Any) -> dict[str, Any]:
    """Columns of known cells, row by row."""
    known = np.isfinite(costs) & np.isfinite(values)
    row = np.repeat(np.arange(len(costs)), costs.shape[1])[known.ravel()]
    share = weights[row]
    return {
        "cost": share * costs[known],
        "value": share * values[known],
        "A_eq": np.equal.outer(np.arange(len(costs)), row).astype(float),
        "b_eq": np.ones(len(costs)),
    }


def solved(objective: Any, row: Any, limit: float, lp: dict[str, Any]) -> Any:
    return linprog(
        objective, A_ub=row[None, :], b_ub=[limit], A_eq=lp["A_eq"], b_eq=lp["b_eq"],
        method="highs",
    )  # fmt: skip


def assert_is_an_allocation(mix: Mix, costs: Any, values: Any, weights: Any) -> None:
    shares = mix.shares(costs.shape[1])
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    assert ((shares > 0).sum(axis=1) > 1).sum() <= 1
    for table, claimed in ((costs, mix.cost), (values, mix.value)):
        assert np.isfinite(table[shares > 0]).all()
        truth = weights @ np.where(shares > 0, shares * table, 0).sum(axis=1)
        assert claimed == pytest.approx(truth, abs=1e-9)


@settings(deadline=None, max_examples=200)
@given(worlds(), st.floats(0, 1))
def test_any_budget_and_any_floor_give_what_highs_finds(world: Any, where: float) -> None:
    costs, values, weights = world
    found = exact_frontier(costs, values, weights)
    lp = programme(costs, values, weights)
    budget = found.costs[0] + where * (found.costs[-1] - found.costs[0])
    floor = found.values[0] + where * (found.values[-1] - found.values[0])

    richest = found.at_budget(budget)
    assert_is_an_allocation(richest, costs, values, weights)
    assert richest.cost <= budget + 1e-12
    theirs = solved(-lp["value"], lp["cost"], budget + 1e-9, lp)
    assert richest.value == pytest.approx(-theirs.fun, abs=LENIENCE)

    cheapest = found.at_value(min(floor, found.values[-1]))
    assert_is_an_allocation(cheapest, costs, values, weights)
    assert cheapest.value >= floor - 1e-9
    theirs = solved(lp["cost"], -lp["value"], 1e-9 - floor, lp)
    assert cheapest.cost == pytest.approx(theirs.fun, abs=LENIENCE)


@settings(deadline=None, max_examples=100)
@given(worlds())
def test_slopes_are_duals_and_both_ends_are_the_cheapest(world: Any) -> None:
    costs, values, weights = world
    found = exact_frontier(costs, values, weights)
    assert (found.slopes > 0).all()
    assert (np.diff(found.slopes) <= 0).all()
    assert (np.diff(found.costs) >= 0).all()
    assert (np.diff(found.values) >= 0).all()
    np.testing.assert_allclose(
        np.diff(found.values), found.slopes * np.diff(found.costs), atol=1e-9
    )
    known = np.isfinite(costs) & np.isfinite(values)
    price, worth = np.where(known, costs, np.inf), np.where(known, values, -np.inf)
    first, last = found.at_breakpoint(0), found.at_breakpoint(len(found.slopes))
    each = np.arange(len(costs))
    least = price.min(axis=1)
    np.testing.assert_array_equal(price[each, first.choices], least)
    best_of_least = np.where(price == least[:, None], worth, -np.inf).max(axis=1)
    np.testing.assert_array_equal(worth[each, first.choices], best_of_least)
    most = worth.max(axis=1)
    np.testing.assert_array_equal(worth[each, last.choices], most)
    least_of_most = np.where(worth == most[:, None], price, np.inf).min(axis=1)
    np.testing.assert_array_equal(price[each, last.choices], least_of_most)


@settings(deadline=None, max_examples=50)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_choices_does_not_matter(world: Any, random: Any) -> None:
    costs, values, weights = world
    rows, columns = (random.sample(range(n), n) for n in costs.shape)
    one = exact_frontier(costs, values, weights)
    other = exact_frontier(
        costs[rows][:, columns], values[rows][:, columns], np.asarray(weights)[rows]
    )
    np.testing.assert_allclose(other.slopes, one.slopes)
    for this, that in ((one, other), (other, one)):  # steps of one slope may change places
        on_that = np.interp(this.costs, that.costs, that.values)
        np.testing.assert_allclose(this.values, on_that, atol=1e-9)


def test_of_equal_choices_the_first_is_taken_and_of_equal_rows_the_first_moves() -> None:
    costs = np.array([[1.0, 1.0, 2.0, 2.0]] * 2)
    values = np.array([[0.0, 0.0, 1.0, 1.0]] * 2)
    found = exact_frontier(costs, values)
    assert found.first.tolist() == [0, 0]
    assert found.rows.tolist() == [0, 1]
    assert found.upgrades.tolist() == [2, 2]
    assert found.at_budget(1.5).choices.tolist() == [2, 0]
    assert found.at_budget(1.6).row == 1
    assert found.at_value(0.75).share == pytest.approx(0.5)


def test_many_rows_are_treated_as_few_are() -> None:
    rng = np.random.default_rng(3)
    costs, values = rng.lognormal(0, 1, (20_000, 7)), rng.uniform(0, 1, (20_000, 7))
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 0] = 0.1
    together = exact_frontier(costs, values)
    apart = [exact_frontier(costs[i : i + 1], values[i : i + 1]) for i in range(0, 20_000, 97)]
    for i, one in zip(range(0, 20_000, 97), apart, strict=True):
        own = together.rows == i
        np.testing.assert_array_equal(together.upgrades[own], one.upgrades)
        np.testing.assert_array_equal(together.slopes[own], one.slopes)
    price = float(together.slopes[len(together.slopes) // 2])
    taken = together.at_breakpoint(int(np.searchsorted(-together.slopes, -price, side="left")))
    net = np.where(np.isfinite(values), values - price * costs, -np.inf)
    np.testing.assert_allclose(
        net[np.arange(len(net)), taken.choices], net.max(axis=1), atol=1e-12
    )  # at a price, every row takes what is worth most


def test_a_concave_curve_keeps_all_points_and_a_spike_takes_all_but_two() -> None:
    cost = np.arange(300.0)
    values = np.array([np.sqrt(cost), np.append(np.sqrt(cost[:-1]), 1e6)])
    found = exact_frontier(np.array([cost, cost]), values)
    assert (found.rows == 0).sum() == 299
    assert found.upgrades[found.rows == 1].tolist() == [299]


def test_thinning_keeps_both_ends() -> None:
    rng = np.random.default_rng(5)
    costs, values = rng.uniform(0, 1, (50, 20)), rng.uniform(0, 1, (50, 20))
    found = exact_frontier(costs, values)
    kept = found.thinned(10)
    assert len(kept) == 10
    assert kept[0] == 0
    assert kept[-1] == len(found.slopes)
    assert exact_frontier(costs[:1, :1], values[:1, :1]).thinned(5).tolist() == [0]
    free = exact_frontier(np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]]))
    assert free.thinned(9).tolist() == [0, 1]


@settings(max_examples=200)
@given(st.floats(1e-9, 1e3), st.integers(2, 40))
def test_where_one_choice_is_best_at_any_price_thinning_keeps_it_alone(
    cost: float, count: int
) -> None:
    found = exact_frontier(np.array([[cost, 1.7 * cost]]), np.array([[0.5, 0.4]]))
    assert found.thinned(count).tolist() == [0]


def test_nothing_is_thinned_where_all_may_stay_however_close_they_lie() -> None:
    found = exact_frontier(np.array([[1.0, 1.0 + 1e-9, 2.0]]), np.array([[0.1, 0.2, 0.3]]))
    assert found.thinned(3).tolist() == [0, 1, 2]
    assert found.thinned(2).tolist() == [0, 2]


def test_what_cannot_be_had_is_refused_in_words() -> None:
    found = exact_frontier(np.array([[1.0, 2.0]]), np.array([[0.3, 0.6]]))
    assert found.at_budget(9.0).value == 0.6
    assert found.at_value(-1.0).cost == 1.0
    for ask in (lambda: found.at_budget(0.9), lambda: found.at_budget(float("nan"))):
        with pytest.raises(InfeasibleError, match=r"every row costs 1$"):
            ask()
    with pytest.raises(InfeasibleError, match=r"every row has 0\.6$"):
        found.at_value(0.61)


@pytest.mark.parametrize(
    ("costs", "values", "weights", "words"),
    [
        ([[1.0, np.nan]], [[np.nan, 1.0]], None, "row 0"),
        ([[1.0]], [[1.0, 2.0]], None, "one shape"),
        (np.empty((0, 3)), np.empty((0, 3)), None, "one shape"),
        ([[1.0]], [[np.inf]], None, "infinite"),
        ([[1.0]], [[1.0]], [-1.0], "weight"),
        ([[1.0]], [[1.0]], [1.0, 1.0], "weight"),
    ],
)
def test_broken_tables_are_refused(costs: Any, values: Any, weights: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        exact_frontier(np.array(costs), np.array(values), weights)


def test_the_same_tables_give_the_same_bytes() -> None:
    rng = np.random.default_rng(1)
    costs, values = rng.integers(0, 5, (400, 9)) / 4, rng.integers(0, 5, (400, 9)) / 4
    one, other = exact_frontier(costs, values), exact_frontier(costs.copy(), values.copy())
    for field in fields(ExactFrontier):
        assert getattr(one, field.name).tobytes() == getattr(other, field.name).tobytes()
