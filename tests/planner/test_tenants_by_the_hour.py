"""The benchmark about tenants by the hour asks all contenders the same question."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tenants_by_the_hour import CONTENDERS, Day, Size, budgets_of, contend, told

SMALL = Size(2, 3, 2, 4)


@pytest.mark.parametrize("name", ["session", "by_hand", "linprog", "milp"])
def test_contenders_find_the_planners_optima(name: str) -> None:
    ends = Day(SMALL).ends()
    ours, theirs = (
        dict(zip(budgets_of(one, *ends), contend(one, SMALL, *ends)["values"], strict=True))
        for one in ("planner", name)
    )
    assert theirs == pytest.approx({budget: ours[budget] for budget in theirs}, abs=1e-6)


def test_a_certified_day_scores_less() -> None:
    day = Day(Size(2, 3, 2, 6))
    low, high = day.ends()
    naive, careful = (CONTENDERS[name](day)() for name in ("planner", "certified"))
    assert careful(float(np.sqrt(low * high))) < naive(float(np.sqrt(low * high)))


def test_a_day_has_all_traffic_and_floors_within_reach() -> None:
    day = Day(SMALL)
    assert day.shares.sum() == pytest.approx(1)
    assert day.mixes.sum(axis=1) == pytest.approx(np.ones(6))
    assert (day.floors < day.mixes @ day.table.scores.max(axis=1)).all()


def test_figures_say_how_far_a_contender_is_from_the_one_by_hand() -> None:
    ends = Day(SMALL).ends()
    of_hand = contend("by_hand", SMALL, *ends)
    run = contend("linprog", SMALL, *ends)
    figures = told("linprog", run, of_hand)
    assert figures["again"]["budgets"] == 10
    assert figures["per_budget_ms"]["processor"] > 0
    assert figures["worst_difference"] < 1e-6
    assert told("linprog", {**run, "values": [0.0] * 11}, of_hand)["worst_difference"] > 0.1
