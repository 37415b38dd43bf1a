"""Lessons: the same as by reading row after row, whatever the order in which rows were stored."""

from __future__ import annotations

import math
import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import WORKLOAD, observation

from profiles.difficulty.lessons import Lessons, read_lessons
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store


def lessons_of(queries: list[Query], observations: list[Observation]) -> Lessons:
    with Store.open(":memory:") as store:
        store.add(observations)
        store.add_queries(WORKLOAD, queries)
        return read_lessons(store, WORKLOAD)


def naive(queries: list[Query], observations: list[Observation]) -> Lessons:
    """Written down a second time, in Python."""
    rows = defaultdict(list)
    for row in observations:
        if row.score is not None and row.workload == WORKLOAD:
            rows[row.query_id, row.strategy].append(row)
    scored = {query for query, _ in rows}
    known = sorted(
        (q for q in queries if q.prompt is not None and q.query_id in scored),
        key=lambda q: q.query_id,
    )
    ids = [q.query_id for q in known]
    strategies = tuple(sorted({strategy for query, strategy in rows if query in set(ids)}))
    scores, costs = (np.full((len(ids), len(strategies)), np.nan) for _ in range(2))
    for i, query in enumerate(ids):
        for j, strategy in enumerate(strategies):
            if found := rows.get((query, strategy)):
                scores[i, j] = math.fsum(row.score for row in found) / len(found)
                if all(row.cost_usd is not None for row in found):
                    costs[i, j] = math.fsum(row.cost_usd for row in found) / len(found)
    return Lessons(
        WORKLOAD, ids, [q.prompt for q in known], [q.class_label for q in known], strategies,
        scores, costs, len(scored) - len(ids),
    )  # fmt: skip


def assert_same(found: Lessons, expected: Lessons) -> None:
    for name in ("query_ids", "prompts", "labels", "strategies", "without_prompt"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in ("scores", "costs"):
        got, truth = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(truth))
        np.testing.assert_allclose(got, truth, rtol=4e-16, atol=0)


amounts = st.floats(1e-9, 1e3) | st.sampled_from([0.0, 0.1, 1e-7])
rows = st.builds(
    observation,
    st.sampled_from(["q1", "q10", "q2", "é", "Z", "😀"]),
    st.sampled_from(["a/single", "B/single", "m/best_of(k=2)"]),
    st.integers(0, 4),
    score=st.none() | st.floats(0.001, 1) | st.sampled_from([0.0, 0.1, 1.0]),
    cost_usd=st.none() | amounts,
)
asked = st.builds(
    Query,
    st.sampled_from(["q1", "q10", "q2", "é", "Z", "alone"]),
    st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.none() | st.sampled_from(["easy", "hard"]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(rows, max_size=25, unique_by=lambda o: (o.query_id, o.strategy, o.sample)),
    st.lists(asked, max_size=6, unique_by=lambda q: q.query_id),
)
def test_lessons_are_those_of_a_naive_reading(
    observations: list[Observation], queries: list[Query]
) -> None:
    assert_same(lessons_of(queries, observations), naive(queries, observations))


def test_the_order_of_rows_does_not_show_in_the_bytes() -> None:
    rng = random.Random(2)
    queries = [Query(f"q{i}", f"prompt {i}", None) for i in range(40)]
    rows = [
        observation(
            f"q{i}", f"{s}/single", k, score=rng.random(), cost_usd=10 ** rng.uniform(-8, 2)
        )
        for i in range(40)
        for s in "abc"
        for k in range(7)
    ]
    first = lessons_of(queries, rows)
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        random.Random(seed).shuffle(queries)
        again = lessons_of(queries, rows)
        assert again.query_ids == first.query_ids
        assert again.scores.tobytes() == first.scores.tobytes()
        assert again.costs.tobytes() == first.costs.tobytes()


def test_the_only_sample_of_a_query_comes_back_to_the_bit() -> None:
    rng = random.Random(3)
    values = [(rng.random() ** 3, 10 ** rng.uniform(-9, 3)) for _ in range(300)]
    rows = [observation(f"q{i:03}", score=s, cost_usd=c) for i, (s, c) in enumerate(values)]
    found = lessons_of([Query(f"q{i:03}", "p") for i in range(300)], rows)
    assert found.scores[:, 0].tolist() == [score for score, _ in values]
    assert found.costs[:, 0].tolist() == [cost for _, cost in values]


@pytest.mark.parametrize("cost", [None, 0.0, 1e9, 1e-60])
def test_any_cost_is_kept_and_an_unrecorded_one_is_unknown(cost: float | None) -> None:
    found = lessons_of([Query("q", "p")], [observation("q", cost_usd=cost)])
    np.testing.assert_array_equal(found.costs, [[np.nan if cost is None else cost]])


def test_other_workloads_and_unscored_rows_teach_nothing() -> None:
    rows = [
        observation("q"),
        observation("bare"),
        Observation("other", "q", "x/single", 0, score=0.0),
        observation("unscored", "y/single", score=None),
    ]
    found = lessons_of([Query("q", "p", "easy"), Query("unscored", "p")], rows)
    assert (found.query_ids, found.labels) == (["q"], ["easy"])
    assert found.strategies == ("m/single",)
    assert found.without_prompt == 1


def test_an_empty_store_teaches_nothing() -> None:
    found = lessons_of([], [])
    assert found.scores.shape == found.costs.shape == (0, 0)
    assert found.prompts == []
