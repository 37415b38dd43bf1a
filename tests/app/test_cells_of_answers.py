"""Cells from single answers are those that the store itself counts."""

from __future__ import annotations

import random

import numpy as np
import pytest

from app.planning import outcomes_under
from planner.sorting.cells_of_outcomes import profile_of
from profiles.cells.by_group import with_groups
from profiles.cells.by_query import QueryOutcomes, read_by_query
from profiles.observation import Observation
from profiles.profile import Profile
from profiles.query import Query, QueryGroup
from profiles.store.groups import add_groups
from profiles.store.store import Store

WORKLOAD = "w"
FIELDS = (
    "queries", "accuracy", "cost_usd", "exceeded", "latency_observations", "latency_queries",
    "tokens_in", "tokens_in_sd", "tokens_out", "tokens_out_sd", "calls", "gpu_s", "gpu_sd_s",
    "energy_j", "energy_sd_j",
)  # fmt: skip


@pytest.fixture(scope="module")
def stored() -> tuple[Profile, QueryOutcomes]:
    """Up to three samples a query; some rows lack their latency, one strategy all its joules."""
    rng = random.Random(1)
    rows, queries, groups = [], [], []
    for i in range(120):
        queries.append(Query(f"q{i:03}", None, "hard" if i % 3 == 0 else "easy"))
        if i % 5:
            groups.append(QueryGroup(f"q{i:03}", "region", "north" if i % 2 else "south"))
        for name in ("large/single", "small/single"):
            rows += [
                Observation(
                    WORKLOAD, f"q{i:03}", name, sample, float(rng.random() < 0.7),
                    cost_usd=rng.uniform(0.1, 0.2), tokens_in=rng.randrange(100),
                    tokens_out=rng.randrange(50), calls=1,
                    latency_s=None if rng.random() < 0.1 else rng.uniform(0.1, 3.0),
                    gpu_s=rng.random(), energy_j=rng.random() if name[0] == "l" else None,
                )
                for sample in range(rng.randrange(1, 4))
            ]  # fmt: skip
    with Store.open(":memory:") as store:
        store.add_queries(WORKLOAD, queries)
        store.add(rows)
        add_groups(store, WORKLOAD, groups)
        with store.reading() as execute:
            found = with_groups(execute, store.profile(WORKLOAD, latency_limits=(2.0,)), ["region"])
        return found, read_by_query(store, WORKLOAD, answers=True, groups=["region"])


def test_cells_and_groups_from_answers_are_those_of_the_store(
    stored: tuple[Profile, QueryOutcomes],
) -> None:
    profile, found = stored
    outcomes = outcomes_under(found, found.strategies, profile.latency_grid_s)
    classes = np.array([profile.classes.index(name or "") for name in found.class_names])
    own = profile_of(outcomes, classes, profile.classes, np.arange(len(classes)))
    assert own.cells.keys() == profile.cells.keys()
    for key, cell in profile.cells.items():
        for field in FIELDS:
            assert getattr(own.cells[key], field) == pytest.approx(getattr(cell, field)), field
    mine, its = own.groups["region"], profile.groups["region"]
    assert (mine.values, mine.queries, mine.without) == (its.values, its.queries, its.without)
    for group, cell in its.cells.items():
        assert mine.cells[group].accuracy == pytest.approx(cell.accuracy)
        assert mine.cells[group].queries == cell.queries


def test_a_part_under_fewer_strategies_counts_what_the_whole_does_there(
    stored: tuple[Profile, QueryOutcomes],
) -> None:
    profile, found = stored
    whole = outcomes_under(found, found.strategies, profile.latency_grid_s)
    classes = np.array([profile.classes.index(name or "") for name in found.class_names])
    rows = np.arange(0, len(classes), 2)
    names = profile.classes
    part = outcomes_under(found, ["small/single"], profile.latency_grid_s).part(rows)
    cut = profile_of(part, classes[rows], names, np.arange(len(rows)))
    for key, cell in cut.cells.items():
        assert cell == profile_of(whole, classes, names, rows).cells[key]
    assert whole.recorded == {"exceeded", "calls", "tokens_in", "tokens_out", "gpu_s", "energy_j"}
