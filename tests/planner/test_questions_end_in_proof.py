"""Small questions of every kind end in an optimum or in a proof that there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from worlds import make_profile, make_spec

from planner.limit_names import BY_CLASS, LATENCY, OVERALL, SPEND
from planner.limits import LimitSet
from planner.planner import Planner
from planner.spec import Objective
from profiles.errors import InfeasibleError
from profiles.profile import Cell, Profile

GRID_S = (1.0, 2.0, 4.0)
QUESTIONS = 60
LOST_BY_THE_SIMPLEX = (41, 328)
"""Worlds with a question at which a simplex with presolve finds no verdict either."""

SPREADS: tuple[Callable[[Cell], float | None], ...] = (
    lambda cell: cell.cost_sd_usd,
    lambda cell: None,
    lambda cell: 0.0,
    lambda cell: 30 * (cell.cost_usd or 0.0),
)


def _world(rng: np.random.Generator) -> Profile:
    """1..3 classes and strategies, some measured on one query, prices up to 1e8 apart."""
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    queries = int(rng.choice([1, 2, 3, 5, 8, 20, 200]))
    profile = make_profile(
        rng.integers(0, queries + 1, shape) / queries,
        10 ** rng.uniform(-9, -1, shape) if rng.random() < 0.9 else np.zeros(shape),
        queries=queries,
        slow=np.exp(-np.array(GRID_S)[:, None, None] / rng.uniform(0.1, 2.5, shape)),
        grid_s=GRID_S,
        weights=rng.dirichlet(np.ones(shape[0])),
    )
    spread = SPREADS[rng.integers(len(SPREADS))]
    cells = {key: replace(c, cost_sd_usd=spread(c)) for key, c in profile.cells.items()}
    return replace(profile, cells=cells)


def _planner(rng: np.random.Generator) -> Planner:
    requests = int(rng.choice([1, 2, 5, 20, 100, 1000, 10**6]))
    traffic = {"traffic": {"requests": requests, "per": "month"}} if rng.random() < 0.8 else {}
    confidence = float(rng.choice([0.5, 0.9, 0.95, 0.999]))
    return Planner(_world(rng), make_spec(confidence=confidence, **traffic))


def _limits(rng: np.random.Generator) -> LimitSet:
    values = {
        OVERALL: float(rng.choice([0.0, 0.5, 0.625, 0.9, 1.0, rng.uniform()])),
        BY_CLASS + "c0": float(rng.uniform()),
        SPEND: float(10 ** rng.uniform(-10, 2)),
        LATENCY: float(rng.choice(GRID_S)),
    }
    return LimitSet({name: values[name] for name in values if rng.random() < 0.5})


def _ask(planner: Planner, rng: np.random.Generator) -> bool:
    """A question at random; whether it has an answer."""
    limits = _limits(rng)
    kind = rng.integers(3) if limits.values else 0
    objectives = (Objective.MINIMIZE_COST, Objective.MAXIMIZE_ACCURACY)
    try:
        if kind == 0:
            planner.answer(objectives[rng.integers(2)], limits)
        else:
            ask = planner.slack if kind == 1 else planner.nearest
            ask(limits, str(rng.choice(sorted(limits.values))))
    except InfeasibleError:
        return False
    return True


@pytest.mark.parametrize("seed", [*range(10), *LOST_BY_THE_SIMPLEX])
def test_no_question_is_left_unproven(seed: int) -> None:
    rng = np.random.default_rng([seed, 12])
    planner = _planner(rng)
    answered = sum(_ask(planner, rng) for _ in range(QUESTIONS))
    assert 0 < answered < QUESTIONS
