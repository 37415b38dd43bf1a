"""What changed between two profiles, and what of it is noise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_worlds import observation

from app.cli.profile import profile
from profiles.aggregate import Aggregate
from profiles.cells.diff import diff_profiles, read_side
from profiles.cells.figures import Figure, Kind, mover
from profiles.errors import InputError
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

rows = st.lists(
    st.builds(
        observation,
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from(["m/single", "n/single"]),
        st.integers(0, 2),
        score=st.sampled_from([0.0, 0.5, 1.0]),
        cost_usd=st.none() | st.floats(0, 1),
        latency_s=st.none() | st.floats(0.01, 9),
    ),
    min_size=1,
    max_size=12,
)


def side(observations, labels=(), label="x"):
    with Store.open(":memory:") as store:
        store.add(observations)
        if labels:
            store.add_queries("w", [Query(query, None, name) for query, name in labels])
        return read_side(store, "w", label=label)


def outcomes(scores, **more):
    columns = {name: list(values) for name, values in more.items()}
    return [
        observation(f"q{i:04}", score=float(score), **{n: v[i] for n, v in columns.items()})
        for i, score in enumerate(scores)
    ]


@settings(max_examples=6, deadline=None)
@given(rows)
def test_a_profile_does_not_differ_from_itself(observations):
    found = diff_profiles(side(observations), side(list(reversed(observations_of(observations)))))
    assert found.is_empty
    assert not found.beyond_noise


def observations_of(observations):
    """Without rows that the store would refuse as contradictions."""
    first = {(row.query_id, row.strategy, row.sample): row for row in reversed(observations)}
    return list(first.values())


@settings(max_examples=6, deadline=None)
@given(rows, rows)
def test_turning_the_sides_around_turns_every_change_around(one, other):
    there = diff_profiles(side(one), side(other))
    back = diff_profiles(side(other), side(one))
    assert (there.only_before, there.only_after) == (back.only_after, back.only_before)
    for change, turned in zip(there.changes, back.changes, strict=True):
        assert (change.before, change.after) == (turned.after, turned.before)
        assert change.beyond_noise == turned.beyond_noise
        if change.low is not None:
            assert change.low == pytest.approx(-turned.high)


def test_paired_queries_show_a_difference_that_independent_ones_do_not():
    rng = np.random.default_rng(0)
    before = rng.random(200) < 0.6
    after = before.copy()
    after[np.flatnonzero(~before)[:12]] = True
    paired = diff_profiles(side(outcomes(before)), side(outcomes(after)))
    others = [observation(f"r{i}", score=float(score)) for i, score in enumerate(after)]
    independent = diff_profiles(side(outcomes(before)), side(others))
    (change,), (loose,) = paired.changes, independent.changes
    assert change.shared_queries == 200
    assert change.beyond_noise
    assert loose.shared_queries == 0
    assert not loose.beyond_noise
    assert loose.high - loose.low > 2 * (change.high - change.low)


def test_a_paired_interval_of_costs_is_close_to_student_s():
    rng = np.random.default_rng(1)
    old = rng.lognormal(-5, 0.4, 300)
    new = old * 1.05 + rng.normal(0, 1e-4, 300)
    found = diff_profiles(
        side(outcomes([1] * 300, cost_usd=old)), side(outcomes([1] * 300, cost_usd=new))
    )
    (change,) = found.changes
    expected = stats.ttest_rel(new, old).confidence_interval(0.95)
    assert (change.low, change.high) == pytest.approx((expected.low, expected.high), rel=0.05)
    assert change.beyond_noise


def test_a_slower_tail_is_found_and_a_short_sample_bounds_nothing():
    rng = np.random.default_rng(2)
    fast, slow = rng.lognormal(0, 0.3, 500), rng.lognormal(1, 0.3, 500)
    found = diff_profiles(
        side(outcomes([1] * 500, latency_s=fast)), side(outcomes([1] * 500, latency_s=slow))
    )
    assert [(change.measure, change.beyond_noise) for change in found.changes] == [
        ("latency_p95_s", True)
    ]
    few = diff_profiles(
        side(outcomes([1] * 20, latency_s=fast[:20])), side(outcomes([1] * 20, latency_s=slow[:20]))
    )
    assert few.changes[0].high is None
    assert not few.changes[0].beyond_noise


def test_cells_and_classes_of_one_side_are_named():
    before = side(
        [observation("a"), observation("b"), observation("a", "n/single")],
        [("a", "easy"), ("b", "hard")],
    )
    after = side([observation("a"), observation("c")], [("a", "easy"), ("c", "odd")])
    found = diff_profiles(before, after)
    assert found.only_before == (("easy", "n/single"), ("hard", "m/single"))
    assert found.only_after == (("odd", "m/single"),)
    shares = {one.class_name: (one.before, one.after) for one in found.changes}
    assert shares == {"hard": (0.5, 0.0), "odd": (0.0, 0.5)}
    assert found.beyond_noise


def test_a_figure_that_became_known_or_unknown_is_no_noise_and_has_no_interval():
    known = side(outcomes([1, 1], cost_usd=[0.1, 0.2]))
    unknown = side(outcomes([1, 1]))
    for before, after in ((unknown, known), (known, unknown)):
        found = diff_profiles(before, after)
        (change,) = found.changes
        assert (change.measure, change.low, change.high) == ("cost_usd", None, None)
        assert found.beyond_noise


def published(accuracy=0.7, queries=50, **more):
    with Store.open(":memory:") as store:
        store.add_aggregates([Aggregate("w", "all", "pub/single", queries, accuracy, **more)])
        return read_side(store, "w", label="x")


def test_published_accuracies_are_compared_by_wilson_intervals_of_independent_queries():
    found = diff_profiles(published(0.7), published(0.9))
    (change,) = found.changes
    expected = mover(
        Figure(0.7, Kind.ACCURACY, 50), Figure(0.9, Kind.ACCURACY, 50), 0.0, confidence=0.95
    )
    assert (change.low, change.high) == pytest.approx(expected)
    assert change.shared_queries == 0
    assert not diff_profiles(published(0.7), published(0.74)).beyond_noise
    assert diff_profiles(published(0.3), published(0.9)).beyond_noise


def test_a_published_cell_is_compared_with_one_that_was_measured():
    measured = side([observation(f"q{i}", "pub/single", score=float(i % 2)) for i in range(50)])
    (change,) = diff_profiles(published(0.9), measured).changes
    assert (change.measure, change.before, change.after) == ("accuracy", 0.9, 0.5)
    assert change.beyond_noise


def test_nobody_knows_the_noise_of_a_published_cost_or_latency():
    before = published(cost_usd=0.001, latency_p95_s=2.0)
    after = published(cost_usd=0.002, latency_p95_s=3.0)
    changes = diff_profiles(before, after).changes
    assert [change.measure for change in changes] == ["cost_usd", "latency_p95_s"]
    for change in changes:
        assert (change.low, change.high) == (None, None)
        assert change.uncertainty_unknown
        assert not change.beyond_noise


def test_more_queries_with_the_same_mean_are_a_change_but_no_difference():
    found = diff_profiles(side(outcomes([1, 0])), side(outcomes([1, 0, 1, 0])))
    assert [(one.measure, one.before, one.after) for one in found.changes] == [("queries", 2, 4)]
    assert not found.beyond_noise


def test_noise_is_judged_over_all_comparisons():
    """400 repetitions; 20 strategies whose truth did not change."""
    rng, alarms = np.random.default_rng(3), 0
    strategies = [f"m/best_of_n(n={n})" for n in range(1, 21)]
    quantiles = 1 - 0.05 / 20
    for _ in range(400):
        old, new = rng.binomial(100, 0.7, (2, len(strategies))) / 100
        intervals = [
            mover(Figure(a, Kind.ACCURACY, 100), Figure(b, Kind.ACCURACY, 100), 0.0, quantiles)
            for a, b in zip(old, new, strict=True)
        ]
        alarms += any(low > 0 or high < 0 for low, high in intervals)
    assert alarms / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(("shared", "truth"), [(0.0, 0.1), (0.6, 0.1), (0.95, 0.0)])
def test_intervals_of_a_difference_cover_it(shared, truth):
    """500 repetitions of 150 paired queries; standard error 0.01."""
    rng, held = np.random.default_rng(4), 0
    for _ in range(500):
        common = rng.standard_normal(150) * math.sqrt(shared)
        own = rng.standard_normal((2, 150)) * math.sqrt(1 - shared)
        levels = stats.norm.ppf([0.6, 0.6 + truth])[:, None]
        old, new = (common + own < levels).astype(float)
        correlation = float(np.corrcoef(old, new)[0, 1])
        figures = (Figure(float(one.mean()), Kind.ACCURACY, 150) for one in (old, new))
        low, high = mover(*figures, correlation, 0.95)
        held += low <= truth <= high
    assert 0.925 <= held / 500 <= 0.985


def test_order_statistics_bound_the_95th_percentile():
    """500 repetitions of 200 latencies; standard error 0.01."""
    rng, held = np.random.default_rng(5), 0
    truth = math.exp(stats.norm.ppf(0.95))
    for _ in range(500):
        latency_s = np.sort(rng.lognormal(0, 1, 200))
        value = float(np.quantile(latency_s, 0.95, method="inverted_cdf"))
        figure = Figure(value, Kind.LATENCY_P95_S, 200, rows=latency_s)
        low, high = figure.interval(0.95)
        assert low <= value <= high
        held += low <= truth <= high
    assert held / 500 >= 0.93


def run(*words: object):
    result = CliRunner().invoke(profile, ["diff", *(str(word) for word in words)])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def stores(tmp_path):
    before, after = tmp_path / "before.duckdb", tmp_path / "after.duckdb"
    with Store.open(before) as store:
        store.add(outcomes([1] * 60 + [0] * 60))
    with Store.open(after) as store:
        store.add(outcomes([1] * 100 + [0] * 20))
    return before, after


def test_the_command_line_is_silent_where_nothing_changed(stores):
    before, _ = stores
    for words in ((), ("--any",), ("--exit-code",), ("--format", "markdown")):
        assert run(before, f"{before}:w", *words) == (0, "")
    assert json.loads(run(before, before, "--format", "json")[1])["changes"] == []


def test_the_command_line_exits_1_only_when_asked(stores):
    before, after = stores
    code, text = run(before, after)
    assert code == 0
    assert "50.00 %" in text
    assert "accuracy of all m/single" in text
    assert run(before, after, "--exit-code")[0] == 1
    assert run(before, after, "--any")[0] == 1


def test_a_change_within_noise_exits_1_only_for_any(stores, tmp_path):
    before, _ = stores
    close = tmp_path / "close.duckdb"
    with Store.open(close) as store:
        store.add(outcomes([1] * 61 + [0] * 59))
    assert run(before, close, "--exit-code")[0] == 0
    assert run(before, close, "--any")[0] == 1


def test_markdown_is_one_table_whose_cells_cannot_break_it(stores):
    text = run(*stores, "--format", "markdown")[1]
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[1] == "| --- | --- | --- | --- | --- |"
    assert len({line.count("|") for line in table}) == 1


def test_a_store_with_two_workloads_needs_a_name(tmp_path):
    path = tmp_path / "two.duckdb"
    with Store.open(path) as store:
        store.add(outcomes([1, 0]))
        store.add([Observation("v", "a", "m/single", 0, 1.0)])
    with pytest.raises(InputError, match="STORE:WORKLOAD"):
        run(path, path)
    code, text = run(f"{path}:v", f"{path}:w", "--format", "json")
    assert code == 0
    assert {one["measure"] for one in json.loads(text)["changes"]} == {"accuracy", "queries"}


def test_a_store_of_published_cells_alone_has_a_workload_and_does_not_differ_from_itself(tmp_path):
    paths = [tmp_path / name for name in ("old.duckdb", "new.duckdb")]
    for path, cost_usd in zip(paths, (0.001, 0.002), strict=True):
        cell = Aggregate("w", "all", "pub/single", 50, 0.7, cost_usd=cost_usd)
        with Store.open(path) as store:
            store.add_aggregates([cell])
            assert store.workloads() == ["w"]
    assert run(paths[0], paths[0], "--any") == (0, "")
    code, text = run(*paths)
    assert code == 0
    (row,) = [line for line in text.splitlines() if "cost_usd of all pub/single" in line]
    assert "unknown" in row


def test_exit_code_flags_a_cost_that_became_unknown(tmp_path):
    paths = [tmp_path / name for name in ("old.duckdb", "new.duckdb")]
    for path, more in zip(paths, ({"cost_usd": [0.1, 0.2]}, {}), strict=True):
        with Store.open(path) as store:
            store.add(outcomes([1, 0], **more))
    code, text = run(*paths, "--exit-code")
    assert code == 1
    assert "yes" in text
