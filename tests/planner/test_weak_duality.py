"""Any prices of the rows bound the objective from below; the right ones prove the optimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog
from worlds import make_spec, random_profile

from planner.estimating.estimates import estimate
from planner.programme.model import build_model, compile_model
from planner.programme.sifting import Sifted
from planner.programme.weak_duality import least_objective, usable
from profiles.errors import UnprovenError

Array = NDArray[np.float64]
CLASSES, STRATEGIES = 3, 4
SHARES = CLASSES * STRATEGIES
CLASS_OF = np.repeat(np.arange(CLASSES), STRATEGIES)


def _world(seed: int) -> tuple[Array, Array, Array, Array, Array]:
    """Costs, a matrix with the classes' sums first, bounds of its rows, least and most of columns.

    Behind the shares stand a column with a largest value and one without; a point is feasible.
    """
    rng = np.random.default_rng(seed)
    costs = np.append(rng.normal(0, 1, SHARES + 1), 1.0)
    ones = np.pad(np.kron(np.eye(CLASSES), np.ones(STRATEGIES)), ((0, 0), (0, 2)))
    other = rng.normal(0, 1, (4, SHARES + 2))
    most = np.concatenate([rng.choice([0.0, np.inf], SHARES, p=[0.2, 0.8]), [2.0, np.inf]])
    most[::STRATEGIES] = np.inf
    least = np.where(most[:SHARES] > 0, rng.choice([0.0, 0.1], SHARES), 0.0)
    point = np.append(np.maximum(least, 0), [1.0, 0.5])
    point[:SHARES:STRATEGIES] += 1 - np.bincount(CLASS_OF, least)
    room = rng.choice([0.1, np.inf], (2, 4))
    bounds = np.column_stack([other @ point - room[0], other @ point + room[1]])
    rows = np.vstack([np.ones((CLASSES, 2)), bounds])
    return costs, np.vstack([ones, other]), rows, least, most


def _bound(
    duals: Array, costs: Array, matrix: Array, rows: Array, least: Array, most: Array
) -> float | None:
    y = usable(duals, rows)
    prices = costs - matrix.T @ y
    return least_objective(y, rows, prices, class_of=CLASS_OF, least=least, most=most)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 100_000))
def test_no_point_is_below_the_bound_and_the_right_prices_reach_the_optimum(seed: int) -> None:
    costs, matrix, rows, least, most = _world(seed)
    low = np.append(least, [0.0, 0.0])
    kept = [
        (sign * matrix[i], sign * rows[i, side])
        for side, sign in ((0, -1), (1, 1))
        for i in range(CLASSES, len(rows))
        if np.isfinite(rows[i, side])
    ]
    found = linprog(
        costs,
        A_ub=np.array([body for body, _ in kept]) if kept else None,
        b_ub=[bound for _, bound in kept] if kept else None,
        A_eq=matrix[:CLASSES],
        b_eq=np.ones(CLASSES),
        bounds=np.column_stack([low, most]),
        method="highs-ds",
    )
    if found.status == 3:
        return
    assert found.status == 0
    rng = np.random.default_rng(seed)
    for scale in (0.0, 0.1, 1.0):
        any_bound = _bound(rng.normal(0, scale, len(rows)), costs, matrix, rows, least, most)
        assert any_bound is None or any_bound <= found.fun + 1e-9
    duals = np.concatenate([found.eqlin.marginals, np.zeros(len(rows) - CLASSES)])
    places = [
        (i, side)
        for side in (0, 1)
        for i in range(CLASSES, len(rows))
        if np.isfinite(rows[i, side])
    ]
    for (i, side), marginal in zip(places, found.ineqlin.marginals if kept else [], strict=True):
        duals[i] += marginal if side else -marginal
    assert _bound(duals, costs, matrix, rows, least, most) == pytest.approx(found.fun, abs=1e-7)


@pytest.mark.parametrize("whole", [0, 10_000])
def test_a_solve_that_is_stopped_at_once_says_what_nothing_can_beat(whole: int) -> None:
    profile = random_profile(np.random.default_rng(3), 6, 30)
    numbers = estimate(profile, make_spec(confidence="none"))
    programme = compile_model(build_model(numbers, ()), ())
    lp = Sifted(programme, numbers.columns, whole=whole)
    lp.set_costs(programme.objectives["cost"])
    with pytest.raises(UnprovenError, match="none can have less than") as stopped:
        lp.run(0.0)
    lp.run(60.0)
    assert stopped.value.bound is not None
    assert 0 < stopped.value.bound <= lp.objective * (1 + 1e-9)
    assert stopped.value.incumbent is None or stopped.value.incumbent >= lp.objective - 1e-9
