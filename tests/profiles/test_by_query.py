"""Outcomes query by query: the rows of the store, averaged over samples."""

from __future__ import annotations

import numpy as np
import pytest
from small_worlds import WORKLOAD, observation

from profiles.cells.by_query import read_by_query
from profiles.errors import InputError
from profiles.observation import Observation
from profiles.pricing.rates import Rate
from profiles.query import Query
from profiles.store.store import Store


@pytest.fixture
def rows() -> list[Observation]:
    return [
        observation("q2", "b/single", score=1.0, cost_usd=0.5),
        observation("q1", "a/single", 0, score=1.0, cost_usd=0.1),
        observation("q1", "a/single", 1, score=0.0, cost_usd=0.3),
        observation("q3", "a/single", score=0.25, tokens_in=10, tokens_out=0),
        observation("q4", "a/single", score=None, cost_usd=9.0),
    ]


def test_samples_are_averaged_and_what_is_missing_is_nan(rows: list[Observation]) -> None:
    with Store.open(":memory:") as store:
        store.add(rows)
        store.add_queries(WORKLOAD, [Query("q1", "prompt", "easy"), Query("q2", None, "hard")])
        found = read_by_query(store, WORKLOAD)
    assert found.query_ids == ("q1", "q2", "q3")
    assert found.class_names == ("easy", "hard", None)
    assert found.strategies == ("a/single", "b/single")
    nan = np.nan
    np.testing.assert_array_equal(found.scores, [[0.5, nan], [nan, 1.0], [0.25, nan]])
    np.testing.assert_allclose(found.costs, [[0.2, nan], [nan, 0.5], [nan, nan]])


def test_rates_price_rows_without_dollars(rows: list[Observation]) -> None:
    with Store.open(":memory:") as store:
        store.add(rows)
        found = read_by_query(store, WORKLOAD, rates=[Rate("a/single", 0.01, 0.02)])
    np.testing.assert_allclose(found.costs[2, 0], 0.1)


def test_an_estimator_leaves_out_queries_without_a_prompt(rows: list[Observation]) -> None:
    with Store.open(":memory:") as store:
        store.add(rows)
        store.add_queries(WORKLOAD, [Query("q1", "prompt", "easy"), Query("q2", None, "hard")])
        store.save_classes("sha256:graph", WORKLOAD, {"q1": "class 1"})
        found = read_by_query(store, WORKLOAD, estimator_digest="sha256:graph")
    assert found.query_ids == ("q1",)
    assert found.class_names == ("class 1",)
    assert found.strategies == ("a/single",)


def test_a_workload_without_scores_is_refused() -> None:
    with Store.open(":memory:") as store, pytest.raises(InputError, match="workload nothing"):
        read_by_query(store, "nothing")
