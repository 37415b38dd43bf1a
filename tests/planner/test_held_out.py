"""A plan judged by queries that it was not made from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from outcome_worlds import Sorted, easy_and_hard, sorted_into
from trust_worlds import grouped_world, slow_world, with_answers
from worlds import make_spec

from planner.planner import Planner
from planner.sorting.cells_of_outcomes import Outcomes, profile_of
from planner.trials.held_out import HeldOut, held_out
from planner.trials.resplit import OWN_ACCURACY, OWN_BILL, OWN_P95
from planner.trials.weighing import Held
from profiles.errors import InputError

FLOOR: dict[str, Any] = {"limits": {"accuracy": {"overall": 0.7}}}


def planned(outcomes: Outcomes, sorted_by: Sorted, rows: Any, **keys: Any) -> Planner:
    profile = profile_of(outcomes, sorted_by.classes, sorted_by.names, rows)
    return Planner(profile, make_spec(**keys))


def judge(planner: Planner, outcomes: Outcomes, sorted_by: Sorted, rows: Any) -> HeldOut:
    part = Sorted("", sorted_by.classes[rows], sorted_by.names)
    return held_out(planner, planner.solve(), outcomes.part(rows), part)


def of(found: HeldOut, name: str) -> Held:
    return next(one for one in found.promises if one.promise == name)


def halves_of(count: int) -> tuple[Any, Any]:
    return np.arange(0, count, 2), np.arange(1, count, 2)


def test_promises_are_weighed_on_the_new_queries_as_by_hand() -> None:
    world = slow_world(1)
    own, new = halves_of(600)
    limits = {"latency": {"p95_s": world.p95_s}}
    planner = planned(
        world.outcomes, world.sorted_by, own, objective="maximize accuracy", limits=limits
    )
    found = judge(planner, world.outcomes, world.sorted_by, new)
    rung = planner.solve()
    shares = np.array(
        [
            [rung.allocation[d].get(s, 0.0) for s in world.outcomes.strategies]
            for d in world.sorted_by.names
        ]
    )[world.sorted_by.classes[new]]
    assert world.outcomes.answers is not None
    seconds = world.outcomes.answers.latencies_s.reshape(600, -1)[new]
    slow = float((shares * (seconds > world.p95_s)).sum(axis=1).mean())
    accuracy = float((shares * world.outcomes.scores[new]).sum(axis=1).mean())
    dollars = float((shares * world.outcomes.costs[new]).sum(axis=1).mean())
    late, bill = of(found, "latency.p95_s"), of(found, OWN_BILL)
    assert late.found == pytest.approx(slow)
    assert late.allowed == 0.05
    assert late.kept == (slow <= 0.05)
    assert of(found, OWN_ACCURACY).found == pytest.approx(accuracy)
    assert bill.found == pytest.approx(dollars)
    assert (found.queries, found.confidence) == (300, 0.95)
    assert found.worth.accuracy == pytest.approx(accuracy)
    assert {one.promise for one in found.promises} == {
        "latency.p95_s", OWN_ACCURACY, OWN_BILL, OWN_P95,
    }  # fmt: skip
    for one in found.promises:
        assert one.low is not None
        assert one.high is not None
        assert one.found is not None
        assert one.low <= one.found <= one.high
        assert one.surely == (not one.low < one.allowed < one.high)


def test_intervals_of_new_queries_hold_what_many_more_would_say() -> None:
    """Coverage of 95 % intervals of accuracy, slow answers and dollars over 60 samples."""
    world = slow_world(2, 20_000)
    limits = {"latency": {"p95_s": world.p95_s}}
    planner = planned(
        world.outcomes,
        world.sorted_by,
        np.arange(600),
        objective="maximize accuracy",
        limits=limits,
    )
    everything = judge(planner, world.outcomes, world.sorted_by, np.arange(600, 20_000))
    rng = np.random.default_rng(5)
    names = ("latency.p95_s", OWN_ACCURACY, OWN_BILL)
    covered = 0
    for _ in range(60):
        rows = rng.choice(np.arange(600, 20_000), 300, replace=False)
        found = judge(planner, world.outcomes, world.sorted_by, rows)
        for name in names:
            one, truth = of(found, name), of(everything, name).found
            assert one.low is not None
            assert one.high is not None
            assert truth is not None
            covered += one.low <= truth <= one.high
    assert covered / 180 >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 180)  # 0.016 each


def test_floors_of_groups_and_gaps_are_judged_by_the_groups_of_the_new_queries() -> None:
    outcomes, sorted_by, floor = grouped_world(3)
    own, new = halves_of(800)
    limits = {"accuracy": {"by_group": {"region": {"south": floor}}, "max_gap": {"region": 0.4}}}
    planner = planned(outcomes, sorted_by, own, limits=limits)
    found = judge(planner, outcomes, sorted_by, new)
    rung = planner.solve()
    shares = np.array(
        [[rung.allocation[d].get(s, 0.0) for s in outcomes.strategies] for d in sorted_by.names]
    )[sorted_by.classes[new]]
    values = (shares * outcomes.scores[new]).sum(axis=1)
    south = outcomes.labels["region"].of[new] == 1
    one, gap = of(found, "accuracy.by_group.region.south"), of(found, "accuracy.max_gap.region")
    assert one.found == pytest.approx(values[south].mean())
    assert gap.found == pytest.approx(abs(values[south].mean() - values[~south].mean()))


def test_the_mix_of_the_spec_weighs_the_new_queries_and_narrows_what_is_sure() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(4), 800)
    sorted_by, (own, new) = sorted_into(hard), halves_of(800)
    traffic = {"requests": 400, "mix": {"c0": 0.9, "c1": 0.1}}
    planner = planned(outcomes, sorted_by, own, **FLOOR, traffic=traffic)
    found = of(judge(planner, outcomes, sorted_by, new), "accuracy.overall")
    rung = planner.solve()
    means = [
        sum(
            share * outcomes.scores[new][hard[new] == d, outcomes.strategies.index(name)].mean()
            for name, share in rung.allocation[f"c{d}"].items()
        )
        for d in (0, 1)
    ]
    assert found.found == pytest.approx(0.9 * means[0] + 0.1 * means[1])


def test_a_query_without_an_answer_is_judged_by_the_mean_of_its_class() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(6), 400)
    sorted_by, (own, new) = sorted_into(hard), halves_of(400)
    scores = outcomes.scores.copy()
    scores[new[:40], 1] = np.nan
    holes = replace(outcomes, scores=scores)
    planner = planned(outcomes, sorted_by, own, **FLOOR)
    found = judge(planner, holes, sorted_by, new)
    assert of(found, OWN_ACCURACY).found == pytest.approx(found.worth.accuracy)
    whole = judge(planner, outcomes, sorted_by, new)
    less, more = of(found, OWN_ACCURACY), of(whole, OWN_ACCURACY)
    assert less.low is not None
    assert less.high is not None
    assert more.low is not None
    assert more.high is not None
    assert less.high - less.low > more.high - more.low


def test_new_queries_that_never_met_a_cell_of_the_plan_are_refused() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(7), 400)
    sorted_by, (own, new) = sorted_into(hard), halves_of(400)
    scores = outcomes.scores.copy()
    scores[np.ix_(hard == 1, [1])] = np.nan
    planner = planned(outcomes, sorted_by, own, **FLOOR)
    with pytest.raises(InputError, match="no outcome of a strategy that the plan uses"):
        judge(planner, replace(outcomes, scores=scores), sorted_by, new)


def test_limits_of_tenants_are_judged_by_each_tenants_own_shares() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(9), 800)
    sorted_by, (own, new) = sorted_into(hard), halves_of(800)
    tenants = {
        "free": {"share": 0.7, "mix": {"c0": 0.5, "c1": 0.5}},
        "paid": {
            "share": 0.3,
            "mix": {"c0": 0.5, "c1": 0.5},
            "accuracy": {"overall": 0.85},
        },
    }
    limits = {"accuracy": {"overall": 0.6}}
    planner = planned(outcomes, sorted_by, own, tenants=tenants, limits=limits)
    one = of(judge(planner, outcomes, sorted_by, new), "tenants.paid.accuracy.overall")
    allocation = planner.solve().by_tenant["paid"].allocation
    means = [
        sum(
            share * outcomes.scores[new][hard[new] == d, outcomes.strategies.index(name)].mean()
            for name, share in allocation[f"c{d}"].items()
        )
        for d in (0, 1)
    ]
    assert one.found == pytest.approx(sum(means) / 2)
    assert one.kept == (sum(means) / 2 >= 0.85)
    assert one.low is None


def test_a_binding_limit_on_shares_of_traffic_is_judged_by_the_mix_that_was_planned_for() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(8), 400)
    sorted_by = sorted_into(hard)
    easy_first = np.argsort(hard, kind="stable")
    own = easy_first[:300]  # new queries are all hard, but for a few
    new = np.concatenate([easy_first[:20], easy_first[300:]])
    limits = {"shares": [{"name": "good", "strategies": ["good/single"], "at_most": 0.2}]}
    planner = planned(
        with_answers(outcomes), sorted_by, own, objective="maximize accuracy", limits=limits
    )
    one = of(judge(planner, with_answers(outcomes), sorted_by, new), "shares.good.at_most")
    shares = [planner.solve().allocation[d].get("good/single", 0.0) for d in ("c0", "c1")]
    weights, fresh = (np.bincount(hard[rows]) / len(rows) for rows in (own, new))
    assert weights @ shares == pytest.approx(0.2)
    assert fresh @ shares > 0.25
    assert one.found == pytest.approx(0.2)
    assert (one.kept, one.low, one.surely) == (True, None, None)
