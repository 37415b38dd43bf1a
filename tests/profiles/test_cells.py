import math
import statistics
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import WORKLOAD, observation

from profiles.cells import latency_grid
from profiles.errors import InputError, UnknownValueError
from profiles.query import Query
from profiles.report import profile_rows, wilson
from profiles.store import Store

amounts = st.none() | st.floats(1e-6, 50)
rows = st.lists(
    st.builds(
        lambda q, s, n, score, cost, latency, out: observation(
            f"q{q}",
            f"m{s}/single",
            n,
            score=score,
            cost_usd=cost,
            latency_s=latency,
            tokens_out=out,
        ),
        st.integers(0, 4),
        st.integers(0, 1),
        st.integers(0, 2),
        st.floats(0, 1),
        amounts,
        amounts,
        st.none() | st.integers(0, 900),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda row: (row.query_id, row.strategy, row.sample),
)


def stored(observations, labels=None):
    store = Store.open(":memory:")
    store.add(observations)
    store.add_queries(WORKLOAD, [Query(q, None, label) for q, label in (labels or {}).items()])
    return store


@settings(max_examples=15, deadline=None)
@given(rows, st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_insertion(observations, random):
    shuffled = random.sample(observations, len(observations))
    with stored(observations) as one, stored([]) as other:
        for row in shuffled:
            other.add([row])
        assert one.profile(WORKLOAD) == other.profile(WORKLOAD)


@settings(max_examples=25, deadline=None)
@given(rows)
def test_cells_equal_a_naive_computation(observations):
    limit = 2.5
    labels = {f"q{i}": "even" if i % 2 == 0 else "odd" for i in range(5)}
    with stored(observations, labels) as store:
        profile = store.profile(WORKLOAD, latency_limits=[limit])
    groups = defaultdict(list)
    for row in observations:
        groups[labels[row.query_id], row.strategy].append(row)
    assert set(profile.cells) == set(groups)
    for key, members in groups.items():
        check_cell(profile.cells[key], members, profile.latency_grid_s)
    assert limit in profile.latency_grid_s
    assert math.isclose(sum(profile.weights), 1)


def check_cell(cell, members, grid):
    queries = defaultdict(list)
    for row in members:
        queries[row.query_id].append(row)
    means = [statistics.fmean(r.score for r in q) for q in queries.values()]
    assert (cell.queries, cell.observations) == (len(queries), len(members))
    assert math.isclose(cell.accuracy, statistics.fmean(means), abs_tol=1e-12)
    sd = statistics.stdev(means) if len(means) > 1 else 0.5
    assert math.isclose(cell.accuracy_sd, sd, abs_tol=1e-9)
    if any(row.cost_usd is None for row in members):
        assert (cell.cost_usd, cell.cost_sd_usd, cell.cost_max_usd) == (None, None, None)
    else:
        by_query = [statistics.fmean(r.cost_usd for r in q) for q in queries.values()]
        assert math.isclose(cell.cost_usd, statistics.fmean(by_query))
        assert cell.cost_max_usd == max(row.cost_usd for row in members)
    latencies = [row.latency_s for row in members if row.latency_s is not None]
    assert cell.latency_observations == len(latencies)
    slower = tuple(sum(value > point for value in latencies) for point in grid)
    assert cell.exceeded == (slower if latencies else None)
    known = [row.tokens_out for row in members]
    assert cell.tokens_out_max == (None if None in known else max(known))


def test_with_one_sample_each_an_answer_varies_as_queries_do():
    with stored([observation(f"q{i}", score=i % 2) for i in range(10)]) as store:
        cell = store.profile(WORKLOAD).cell("all", "m/single")
    assert math.isclose(cell.score_sd, cell.accuracy_sd)


def test_an_answer_also_varies_within_a_query():
    with stored([observation(f"q{i}", sample=k, score=k) for i in range(50) for k in (0, 1)]) as s:
        cell = s.profile(WORKLOAD).cell("all", "m/single")
    assert cell.accuracy_sd == 0
    assert math.isclose(cell.score_sd, 0.5, rel_tol=0.02)


def test_classes_are_ordered_easiest_first_and_ties_by_name():
    scores = {"a": 0.2, "b": 0.9, "c": 0.9}
    with stored([observation(q, score=s) for q, s in scores.items()], {q: q for q in scores}) as s:
        assert s.profile(WORKLOAD).classes == ("b", "c", "a")
        assert s.profile(WORKLOAD, class_names=["a", "b", "c"]).classes == ("a", "b", "c")
        with pytest.raises(InputError, match="classes that were not named: c"):
            s.profile(WORKLOAD, class_names=["a", "b"])


def test_a_few_queries_without_a_label_are_an_error_and_not_a_class():
    store = stored([observation("a"), observation("b")], {"a": "x"})
    with store, pytest.raises(InputError, match="1 of 2 queries have no class label"):
        store.profile(WORKLOAD)


def test_queries_newer_than_the_estimator_are_an_error():
    with stored([observation("a"), observation("b"), observation("no prompt")]) as store:
        store.add_queries(WORKLOAD, [Query("a", "p"), Query("b", "p")])
        store.save_classes("sha256:1", WORKLOAD, {"a": "easy"})
        with pytest.raises(InputError, match="1 of 2 queries have no class from this estimator"):
            store.profile(WORKLOAD, estimator_digest="sha256:1")
        store.save_classes("sha256:1", WORKLOAD, {"b": "hard"})
        names = ["easy", "hard"]
        profile = store.profile(WORKLOAD, estimator_digest="sha256:1", class_names=names)
    assert profile.weights == (0.5, 0.5)
    with pytest.raises(UnknownValueError, match="never measured in this class"):
        profile.cell("easy", "other/single")


def test_an_empty_workload_is_an_error():
    with stored([]) as store, pytest.raises(InputError, match="no scored observation is stored"):
        store.profile("nothing")


@given(st.lists(st.floats(1e-3, 1e3), max_size=30), st.lists(st.floats(1e-3, 1e3), max_size=3))
def test_the_latency_grid_spans_the_measured_range_and_holds_every_limit(latencies, limits):
    grid = latency_grid(np.array(latencies, dtype=np.float64), limits)
    assert set(limits) <= set(grid)
    assert list(grid) == sorted(set(grid))
    assert len(grid) <= 62 + len(limits)
    if latencies:
        assert min(latencies) in grid
        assert max(latencies) in grid


def test_rows_for_people_name_what_was_not_measured():
    rows = [observation("a", "x/single", cost_usd=0.1), observation("b", "y/single")]
    with stored(rows, {"a": "one", "b": "two"}) as store:
        shown = profile_rows(store.profile(WORKLOAD))
    assert [row["queries"] for row in shown] == [1, 0, 0, 1]
    assert shown[1]["accuracy"] is None
    assert (shown[1]["accuracy_low"], shown[1]["accuracy_high"]) == (0.0, 1.0)


def test_the_wilson_interval_matches_published_values():
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263
    low, high = wilson(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_a_strategy_measured_on_a_part_of_a_class_has_fewer_queries_than_the_class():
    queries = [Query(f"q{n}", None, "easy" if n < 6 else "hard") for n in range(10)]
    rows = [observation(q.query_id, "big/single") for q in queries]
    rows += [observation(f"q{n}", "small/single", latency_s=1.0) for n in range(3)]
    rows += [observation("q0", "small/single", 1, latency_s=2.0)]
    store = Store.open(":memory:")
    with store:
        store.add(rows)
        store.add_queries(WORKLOAD, queries)
        found = store.profile(WORKLOAD)
        other = store.profile(WORKLOAD, class_names=("hard", "easy"))
        absent = store.profile(WORKLOAD, class_names=("easy", "hard", "none"))
    assert dict(zip(found.classes, found.class_queries, strict=True)) == {"easy": 6, "hard": 4}
    assert dict(zip(other.classes, other.class_queries, strict=True)) == {"easy": 6, "hard": 4}
    assert absent.class_queries == (6, 4, 0)
    assert found.cell("easy", "big/single").queries == 6
    small = found.cell("easy", "small/single")
    assert (small.queries, small.latency_observations, small.latency_queries) == (3, 4, 3)
    assert found.cell("easy", "big/single").latency_queries == 0
    assert replace(small, latency_queries=-1).latency_queries == 4
