"""Audits: what groups get, and gaps that are never over-claimed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from small_worlds import WORKLOAD, observation

from profiles.cells.audit import Audit, audits
from profiles.cells.by_group import GroupTable, with_groups
from profiles.profile import Cell, Profile
from profiles.query import Query, QueryGroup
from profiles.store.groups import add_groups
from profiles.store.store import Store

WORLDS = 400


def audited(
    rows: Sequence[tuple[str, str, str, float]],
    shares: dict[str, dict[str, float]],
    confidence: float = 0.95,
) -> Audit:
    """Of rows (group, class, strategy, score); rows of one strategy are different queries."""
    counts: dict[str, int] = {}
    outcomes, queries, groups = [], [], []
    for group, label, strategy, score in rows:
        number = counts[strategy] = counts.get(strategy, 0) + 1
        name = f"{group}-{label}-{number}"
        outcomes.append(observation(name, strategy, score=score, cost_usd=score + 1.0))
        queries.append(Query(name, None, label))
        groups.append(QueryGroup(name, "g", group))
    with Store.open(":memory:") as store:
        store.add(outcomes)
        store.add_queries(WORKLOAD, queries)
        add_groups(store, WORKLOAD, groups)
        with store.reading() as execute:
            profile = with_groups(execute, store.profile(WORKLOAD), ["g"])
    return audits(profile, profile.groups["g"], [shares], confidence)[0]


ONE = {"x": {"m/single": 1.0}}


def test_a_group_gets_the_mean_over_its_own_classes_and_the_plans_shares() -> None:
    rows = [("a", "x", "m/single", 1.0)] * 3 + [("a", "y", "m/single", 0.0)]
    rows += [("a", "x", "n/single", 0.5)] * 3 + [("a", "y", "n/single", 1.0)]
    rows += [("b", "y", "m/single", 1.0), ("b", "y", "n/single", 1.0)]
    shares = {"x": {"m/single": 0.5, "n/single": 0.5}, "y": {"m/single": 1.0}}
    found = {one.value: one for one in audited(rows, shares).groups}
    # a: three quarters of its queries are x, where half get 1.0 and half get 0.5
    assert found["a"].accuracy == pytest.approx(0.75 * 0.75 + 0.25 * 0.0)
    assert found["a"].cost_usd == pytest.approx(0.75 * 1.75 + 0.25 * 1.0)
    assert found["b"].accuracy == 1.0
    assert found["a"].share + found["b"].share == pytest.approx(1.0)


def test_a_group_of_one_query_is_shown_and_claims_next_to_nothing() -> None:
    rows = [("many", "x", "m/single", float(i % 10 > 0)) for i in range(50)]
    rows += [("one", "x", "m/single", 0.0)]
    found = audited(rows, ONE)
    (one,) = [group for group in found.groups if group.value == "one"]
    assert (one.queries, one.accuracy, one.cost_interval) == (1, 0.0, None)
    assert one.accuracy_interval[1] > 0.9
    assert found.gap is not None
    assert found.gap.difference == pytest.approx(0.9)
    assert found.gap.certain is None
    assert found.gap.interval[0] == 0.0


def test_what_was_never_measured_on_a_group_widens_its_interval_to_whatever_it_may_be() -> None:
    rows = [("a", "x", "m/single", 1.0)] * 100 + [("b", "x", "n/single", 1.0)] * 100
    shares = {"x": {"m/single": 0.7, "n/single": 0.3}}
    found = {one.value: one for one in audited(rows, shares).groups}
    assert found["a"].unmeasured == pytest.approx(0.3)
    assert found["a"].accuracy == pytest.approx(1.0)  # its class stands in
    low, high = found["a"].accuracy_interval
    assert 0.6 < low < 0.7
    assert high == 1.0
    assert found["a"].cost_interval is None


def test_a_class_that_nobody_knows_leaves_the_figure_unknown() -> None:
    rows = [("a", "x", "m/single", 1.0), ("b", "y", "m/single", 1.0)]
    found = {one.value: one for one in audited(rows, ONE).groups}
    assert found["b"].accuracy is None
    assert found["b"].accuracy_interval == (0.0, 1.0)
    assert audited(rows, ONE).gap is None


def test_groups_far_apart_are_told_with_the_least_that_is_certain() -> None:
    rng = np.random.default_rng(1)
    rows = [("a", "x", "m/single", float(rng.random() < 0.9)) for _ in range(200)]
    rows += [("b", "x", "m/single", float(rng.random() < 0.6)) for _ in range(200)]
    gap = audited(rows, ONE).gap
    assert gap is not None
    assert gap.certain == ("a", "b")
    assert 0.0 < gap.interval[0] < 0.3 < gap.interval[1] < 0.5


def _gap_of(rng: np.random.Generator, truth: np.ndarray, sizes: np.ndarray) -> Audit:
    """An audit straight from cells: one class, one strategy, scores of 0 or 1."""

    def cell(n: int, good: int) -> Cell:
        mean = good / n
        sd = float(np.sqrt(mean * (1 - mean) * n / (n - 1))) if n > 1 else 0.5
        unknown = dict.fromkeys(
            ("cost_usd", "cost_sd_usd", "cost_max_usd", "tokens_in", "tokens_out",
             "tokens_out_max", "calls", "exceeded", "latency_p95_s")
        )  # fmt: skip
        return Cell("x", "m/single", n, n, mean, sd, sd, latency_observations=0,
                    evidence=("simulated",), **unknown)  # fmt: skip

    good = rng.binomial(sizes, truth)
    values = tuple(f"g{i}" for i in range(len(truth)))
    own = {
        (value, "x", "m/single"): cell(int(n), int(k))
        for value, n, k in zip(values, sizes, good, strict=True)
    }
    counts = {(value, "x"): int(n) for value, n in zip(values, sizes, strict=True)}
    whole = cell(int(sizes.sum()), int(good.sum()))
    profile = Profile("w", ("x",), (1.0,), ("m/single",), {("x", "m/single"): whole}, (),
                      int(sizes.sum()), "sha256:0")  # fmt: skip
    return audits(profile, GroupTable("g", values, own, counts, 0), [ONE], 0.95)[0]


@pytest.mark.parametrize("spread", [0.0, 0.15])
def test_the_true_gap_lies_in_its_interval_and_none_is_certain_where_there_is_none(
    spread: float,
) -> None:
    """Six groups of 5 to 300 queries; Bonferroni's intervals may only be too wide."""
    rng = np.random.default_rng(2)
    missed = false = 0
    for _ in range(WORLDS):
        truth = np.clip(0.8 + spread * rng.uniform(-1, 1, 6), 0.02, 0.98)
        sizes = np.array([5, 20, 50, 100, 200, 300])
        gap = _gap_of(rng, truth, sizes).gap
        assert gap is not None
        missed += not gap.interval[0] <= np.ptp(truth) <= gap.interval[1]
        if gap.certain:
            better, worse = (int(name[1:]) for name in gap.certain)
            false += truth[better] <= truth[worse]
    standard_error = np.sqrt(0.05 * 0.95 / WORLDS)  # 0.011
    assert missed / WORLDS <= 0.05 + 2 * standard_error
    assert false / WORLDS <= 0.05 + 2 * standard_error
