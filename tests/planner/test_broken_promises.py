"""The benchmark about broken promises plans as it says it does, and goes on where it was killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, NonlinearConstraint, minimize

from benchmarks.broken_promises import (
    FLOORS,
    Block,
    Seen,
    answered,
    blocks,
    by_chance,
    figures,
    main,
    measured,
    on_means,
    outcomes,
    profile_of,
    spec_of,
    world,
)
from planner.planner import Planner

Z = 1.6448536


def _seen(seed: int, size: tuple[int, int] = (5, 20)) -> tuple[Seen, float]:
    rng = np.random.default_rng(seed)
    truth = world(rng, size)
    return measured(truth, rng, 100, 0.4), truth.floor(0.7)


@pytest.mark.parametrize("seed", range(5))
def test_the_naive_plan_costs_what_a_programme_by_hand_costs(seed: int) -> None:
    seen, floor = _seen(seed)
    profile = profile_of(seen)
    plan = answered(Planner(profile, spec_of(profile, "none", {"overall": floor})))
    by_hand = on_means(seen.accuracy, seen, floor)
    assert plan is not None
    assert by_hand is not None
    costs = [float(seen.weights @ (x * seen.cost_usd).sum(axis=1)) for x in (plan, by_hand)]
    assert costs[0] == pytest.approx(costs[1], rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_cuts_find_the_chance_constraint_s_optimum(seed: int) -> None:
    seen, floor = _seen(seed, (3, 4))
    found = by_chance(seen, floor)
    assert found is not None
    share = seen.weights[:, None]
    s = share * np.sqrt(seen.accuracy * (1 - seen.accuracy) / seen.queries)

    def kept(x: np.ndarray) -> float:
        x = x.reshape(s.shape)
        return float(np.sum(share * seen.accuracy * x) - Z * np.linalg.norm((s * x).sum(axis=1)))

    dollars = (share * seen.cost_usd).ravel() * 1e4
    ones = np.kron(np.eye(3), np.ones(4))
    smooth = minimize(
        lambda x: dollars @ x,
        np.full(12, 0.25),
        jac=lambda _: dollars,
        method="SLSQP",
        bounds=[(0, 1)] * 12,
        constraints=[LinearConstraint(ones, 1, 1), NonlinearConstraint(kept, floor, np.inf)],
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert kept(found.ravel()) >= floor - 2e-6
    assert dollars @ found.ravel() == pytest.approx(smooth.fun, rel=1e-4)


def test_one_world_tells_every_method_at_every_floor() -> None:
    for block in (Block("overall", 3, 5, 50, 0.0), Block("by class", 3, 5, 300, 0.4)):
        rows = figures(block, [outcomes(block, number) for number in range(2)])
        methods = [row["method"] for row in rows if row["floor_share"] == FLOORS[0]]
        assert len(rows) == len(FLOORS) * len(methods)
        assert {"certified", "naive"} < set(methods)
        assert all(row["plans"] + row["refused"] == 2 for row in rows)


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "result.json"
    words = ["broken_promises", "--worlds", "1", "--sizes", "2x3", "--out", str(out)]
    monkeypatch.setattr("sys.argv", words)
    main()
    whole = json.loads(out.read_text())
    first = len(figures(blocks([(2, 3)])[0], [outcomes(blocks([(2, 3)])[0], 0)]))
    out.write_text(json.dumps(whole | {"finished": False, "rows": whole["rows"][:first]}))
    main()
    assert json.loads(out.read_text()) == whole
