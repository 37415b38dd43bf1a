"""Resplits: what they keep in worlds with known truth, and that they judge what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from outcome_worlds import Sorted, easy_and_hard, sorted_into
from trust_worlds import grouped_world, slow_world
from worlds import make_spec

from planner.planner import Planner
from planner.sorting.cells_of_outcomes import Outcomes, profile_of
from planner.trials.dealing import Dealt, divisible, halves
from planner.trials.resplit import (
    NAIVE,
    ORACLE,
    OWN_ACCURACY,
    OWN_BILL,
    PLAN,
    SINGLE,
)
from planner.trials.simulate import Contender, Simulation, simulate
from profiles.cells.answers import Labels
from profiles.errors import InputError, UnknownValueError

QUERIES = 600
FLOOR: dict[str, Any] = {"limits": {"accuracy": {"overall": 0.8}}}


def world(seed: int) -> tuple[Outcomes, Sorted, float]:
    """Three classes, eight strategies of which dearer ones tend to be better, and a floor."""
    rng = np.random.default_rng(seed)
    skill = np.sort(rng.uniform(0.4, 0.95, 8))
    chance = np.clip(
        skill + np.array([[0.1], [0.0], [-0.2]]) + rng.normal(0, 0.05, (3, 8)), 0.05, 0.98
    )
    class_of = rng.integers(0, 3, QUERIES)
    solved = (rng.random((QUERIES, 8)) < chance[class_of]).astype(np.float64)
    dollars = 1e-5 * np.exp(4 * skill) * rng.uniform(0.5, 1.5, (QUERIES, 8))
    names = tuple(f"m{s}/single" for s in range(8))
    return (
        Outcomes("world", names, solved, dollars),
        sorted_into(class_of),
        float(chance.max(axis=1).mean()) - 0.12,
    )


def alone(count: int = QUERIES) -> NDArray[np.intp]:
    return np.arange(count)


def first_half(sorted_by: Sorted, seed: int = 0) -> NDArray[np.bool_]:
    """The queries that the first resplit profiles."""
    dealt = Dealt(sorted_by.classes, sorted_by.names, alone(len(sorted_by.classes)))
    return halves(dealt, np.random.default_rng([seed, 0]))


def of(found: Simulation, name: str) -> Contender:
    return next(one for one in found.contenders if one.name == name)


def kept(found: Simulation, name: str, promise: str = "accuracy.overall") -> tuple[int, int]:
    one = next(one for one in of(found, name).promises if one.promise == promise)
    return one.kept, one.judged


def test_certified_plans_keep_their_floor_on_the_other_half_and_naive_plans_do_not() -> None:
    totals = {PLAN: np.zeros(2), NAIVE: np.zeros(2)}
    for seed in range(12):
        outcomes, sorted_by, floor = world(seed)
        spec = make_spec(limits={"accuracy": {"overall": floor}})
        found = simulate(outcomes, sorted_by, alone(), spec, resplits=10, seed=seed)
        for name in totals:
            totals[name] += kept(found, name)
    certified, naive = (totals[name][0] / totals[name][1] for name in (PLAN, NAIVE))
    assert totals[PLAN][1] >= 100
    standard_error = np.sqrt(0.95 * 0.05 / totals[PLAN][1])  # 0.02
    assert certified >= 0.95 - standard_error
    assert naive < 0.6


def test_the_same_seed_gives_the_same_answer_and_another_seed_other_halves() -> None:
    outcomes, sorted_by, floor = world(3)
    spec = make_spec(limits={"accuracy": {"overall": floor}})
    first, again, other = (
        simulate(outcomes, sorted_by, alone(), spec, resplits=3, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert of(first, PLAN) != of(other, PLAN)


def test_one_resplit_is_the_planners_answer_weighed_by_hand_on_the_other_half() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(1), 400)
    sorted_by = sorted_into(hard)
    found = simulate(outcomes, sorted_by, alone(400), make_spec(**FLOOR), resplits=1, seed=9)
    seen = first_half(sorted_by, 9)
    profile = profile_of(outcomes, hard, sorted_by.names, np.flatnonzero(seen))
    spec = make_spec(**FLOOR, traffic={"requests": int((~seen).sum())})
    rung = Planner(profile, spec).solve()
    shares = np.array(
        [[rung.allocation[d].get(s, 0.0) for s in outcomes.strategies] for d in sorted_by.names]
    )[hard[~seen]]
    accuracy = float((shares * outcomes.scores[~seen]).sum(axis=1).mean())
    dollars = float((shares * outcomes.costs[~seen]).sum(axis=1).mean())
    plan = of(found, PLAN)
    assert plan.accuracy == pytest.approx(accuracy, rel=1e-8)
    assert plan.usd_per_request == pytest.approx(dollars, rel=1e-8)
    assert kept(found, PLAN) == (accuracy >= 0.8, 1)
    assert kept(found, PLAN, OWN_ACCURACY) == (accuracy >= rung.promised.accuracy, 1)
    bill = rung.promised.cost_usd_per_request
    assert bill is not None
    assert kept(found, PLAN, OWN_BILL) == (dollars <= bill, 1)
    naive, oracle = of(found, NAIVE).usd_per_request, of(found, ORACLE).usd_per_request
    assert naive is not None
    assert oracle is not None
    by_name = {premium.over: premium for premium in found.premiums}
    assert by_name[NAIVE].usd_per_request == pytest.approx(dollars - naive)
    assert by_name[ORACLE].relative == pytest.approx(dollars / oracle - 1)


def test_one_who_knows_the_judges_meets_the_floor_exactly_and_never_pays_more_for_it() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(2), 400)
    found = simulate(outcomes, sorted_into(hard), alone(400), make_spec(**FLOOR), resplits=10)
    oracle, single = of(found, ORACLE), of(found, SINGLE)
    assert oracle.accuracy == pytest.approx(0.8)
    assert oracle.promises == ()
    assert oracle.usd_per_request is not None
    assert single.usd_per_request is not None
    assert oracle.usd_per_request < single.usd_per_request


def test_near_duplicates_are_never_divided_and_both_halves_have_every_class() -> None:
    classes = np.array([0] * 40 + [1] * 2 + [2] * 3 + [3] * 2)
    groups = np.concatenate([np.arange(40) // 4, np.arange(10, 17)])
    dealt = Dealt(classes, ("c0", "c1", "c2", "c3"), groups)
    for seed in range(50):
        profiled = halves(dealt, np.random.default_rng(seed))
        for group in np.unique(groups):
            assert len(set(profiled[groups == group])) == 1
        assert set(classes[profiled]) == set(classes[~profiled]) == {0, 1, 2, 3}
        assert 18 <= profiled.sum() <= 29


def test_every_query_is_profiled_half_of_the_time() -> None:
    dealt = Dealt(np.array([0] * 20 + [1] * 2), ("c0", "c1"), alone(22))
    times = sum(halves(dealt, np.random.default_rng(seed)).astype(int) for seed in range(2000))
    assert np.abs(times / 2000 - 0.5).max() < 4 * 0.5 / 2000**0.5


def test_groups_of_several_classes_may_leave_no_halves() -> None:
    dealt = Dealt(np.array([0, 1, 0, 2, 1, 2]), ("a", "b", "c"), np.array([0, 0, 1, 1, 2, 2]))
    with pytest.raises(InputError, match="no two halves"):
        halves(dealt, np.random.default_rng(0))


def test_classes_of_one_query_or_of_near_duplicates_are_left_out_and_named() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(1), 203)
    hard[200:203] = [2, 2, 3]
    groups = np.concatenate([np.arange(200), [200, 200, 201]])
    found = simulate(outcomes, sorted_into(hard), groups, make_spec(**FLOOR), resplits=2)
    assert (found.queries, found.groups) == (200, 200)
    assert found.left_out == ("3 queries of classes that two halves cannot share: c2, c3",)
    backwards = outcomes.part(np.arange(203)[::-1])
    kept, dealt, _ = divisible(backwards, sorted_into(hard[::-1].copy()), groups[::-1], make_spec())
    assert dealt.names == ("c0", "c1")
    np.testing.assert_array_equal(kept.scores, backwards.scores[3:])


@pytest.mark.parametrize(
    "keys",
    [
        {"limits": {"accuracy": {"by_class": {"c2": 0.5}}}},
        {"traffic": {"requests": 10, "mix": {"c0": 0.5, "c1": 0.3, "c2": 0.2}}},
    ],
)
def test_a_class_that_the_spec_names_must_be_divisible(keys: dict[str, Any]) -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(1), 201)
    hard[200] = 2
    with pytest.raises(InputError, match="class c2"):
        simulate(outcomes, sorted_into(hard), alone(201), make_spec(**keys), resplits=1)


def test_a_single_query_cannot_be_divided() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(1), 1)
    with pytest.raises(InputError, match="cannot be divided"):
        simulate(outcomes, sorted_into(hard * 0), alone(1), make_spec(), resplits=1)


def test_limits_that_nobody_can_promise_are_told_as_refusals() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(2), 200)
    spec = make_spec(limits={"accuracy": {"overall": 0.99}})
    found = simulate(outcomes, sorted_into(hard), alone(200), spec, resplits=4)
    plan = of(found, PLAN)
    assert (plan.refused, plan.accuracy) == (4, None)
    assert [(one.share, one.error) for one in plan.promises] == [(None, None)]
    assert all(premium.usd_per_request is None for premium in found.premiums)


def test_floors_of_classes_and_spend_are_judged_each_alone() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(4), 400)
    spec = make_spec(
        objective="maximize accuracy",
        traffic={"requests": 1000},
        limits={"accuracy": {"by_class": {"c1": 0.5}}, "spend": {"usd": 6.0, "per": "month"}},
    )
    found = simulate(outcomes, sorted_into(hard), alone(400), spec, resplits=5)
    named = {one.promise: one.limit for one in of(found, PLAN).promises}
    assert named == {
        "accuracy.by_class.c1": 0.5,
        "spend.usd_per_request": 0.006,
        OWN_ACCURACY: None,
        OWN_BILL: None,
    }
    assert kept(found, PLAN, "spend.usd_per_request") == (5, 5)


def test_a_binding_limit_on_shares_is_kept_on_the_mix_of_each_plan_whatever_the_judges_mix() -> (
    None
):
    hard, outcomes = easy_and_hard(np.random.default_rng(4), 400)
    sorted_by = sorted_into(hard)
    good = {"name": "good", "strategies": ["good/single"]}
    cheap = {"name": "cheap", "strategies": ["cheap/single"], "at_least": 0.6}
    keys: dict[str, Any] = {"objective": "maximize accuracy", "limits": {}}
    for shares in ([{**good, "at_most": 0.3}], [cheap, {**good, "at_least": 0.1}]):
        keys["limits"] = {"shares": shares}
        found = simulate(outcomes, sorted_by, alone(400), make_spec(**keys), resplits=8, seed=2)
        for name in (PLAN, NAIVE):
            promises = [one for one in of(found, name).promises if one.limit is not None]
            assert [(one.kept, one.judged) for one in promises] == [(8, 8)] * len(shares)
    by_judges = []
    for number in range(8):
        dealt = Dealt(sorted_by.classes, sorted_by.names, alone(400))
        seen = halves(dealt, np.random.default_rng([2, number]))
        profile = profile_of(outcomes, hard, sorted_by.names, np.flatnonzero(seen))
        keys["limits"] = {"shares": [{**good, "at_most": 0.3}]}
        rung = Planner(profile, make_spec(**keys, traffic={"requests": int((~seen).sum())})).solve()
        share = np.array([rung.allocation[d].get("good/single", 0.0) for d in sorted_by.names])
        assert share[hard[seen]].mean() == pytest.approx(0.3)
        by_judges.append(share[hard[~seen]].mean())
    assert min(by_judges) < 0.3 < max(by_judges)  # why the judges' own mix says nothing


def test_plans_that_were_not_proven_in_time_are_no_refusals() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(3), 200)
    asked = outcomes, sorted_into(hard), alone(200), make_spec(**FLOOR)
    found = simulate(*asked, resplits=3, time_limit_s=1e-9)
    assert found.none_proven
    for name in (PLAN, NAIVE, ORACLE):
        way = of(found, name)
        assert (way.refused, way.unproven, way.unjudged) == (0, 3, 0)
        assert [(one.kept, one.judged, one.share) for one in way.promises] in ([], [(0, 0, None)])
    assert of(found, SINGLE).unproven == 0  # it needs no solver
    assert all(premium.usd_per_request is None for premium in found.premiums)
    in_time = simulate(*asked, resplits=3)
    assert not in_time.none_proven
    assert [of(in_time, name).unproven for name in (PLAN, NAIVE, ORACLE)] == [0, 0, 0]


def test_the_mix_of_the_spec_weighs_the_judges() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(5), 400)
    sorted_by = sorted_into(hard)
    mix = {"c0": 0.9, "c1": 0.1}
    spec = make_spec(
        strategies=["cheap/single"], confidence="none", traffic={"requests": 10, "mix": mix}
    )
    only = replace(
        outcomes,
        strategies=("cheap/single",),
        scores=outcomes.scores[:, :1],
        costs=outcomes.costs[:, :1],
    )
    found = simulate(only, sorted_by, alone(400), spec, resplits=1)
    judged = ~first_half(sorted_by)
    means = [outcomes.scores[judged & (hard == d), 0].mean() for d in (0, 1)]
    assert of(found, PLAN).accuracy == pytest.approx(0.9 * means[0] + 0.1 * means[1])


def test_limits_of_tenants_are_judged_on_the_other_half() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(5), 600)
    tenants = {
        "free": {"share": 0.7, "mix": {"c0": 0.5, "c1": 0.5}},
        "paid": {"share": 0.3, "mix": {"c0": 0.5, "c1": 0.5}, "accuracy": {"overall": 0.8}},
    }
    spec = make_spec(tenants=tenants, limits={"accuracy": {"overall": 0.6}})
    found = simulate(outcomes, sorted_into(hard), alone(600), spec, resplits=5)
    count, judged = kept(found, PLAN, "tenants.paid.accuracy.overall")
    assert judged == 5
    assert count >= 4


def test_point_estimates_have_no_naive_twin() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(6), 200)
    spec = make_spec(**FLOOR, confidence="none")
    found = simulate(outcomes, sorted_into(hard), alone(200), spec, resplits=2)
    assert [one.name for one in found.contenders] == [PLAN, SINGLE, ORACLE]
    assert found.confidence is None


def test_what_outcomes_cannot_judge_is_said() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(7), 200)
    spec = make_spec(limits={"accuracy": {"overall": 0.6}, "latency": {"p95_s": 1.0}})
    found = simulate(outcomes, sorted_into(hard), alone(200), spec, resplits=1)
    assert found.left_out == ("the limit on latency",)
    groups = {"accuracy": {"by_group": {"region": {"south": 0.5}}}}
    found = simulate(outcomes, sorted_into(hard), alone(200), make_spec(limits=groups), resplits=1)
    assert found.left_out == ("limits on groups",)


def test_certified_plans_keep_a_latency_limit_on_the_other_half_and_naive_plans_do_not() -> None:
    totals = {PLAN: np.zeros(2), NAIVE: np.zeros(2)}
    for seed in range(10):
        world = slow_world(seed)
        spec = make_spec(objective="maximize accuracy", limits={"latency": {"p95_s": world.p95_s}})
        found = simulate(world.outcomes, world.sorted_by, alone(), spec, resplits=10, seed=seed)
        for name in totals:
            totals[name] += kept(found, name, "latency.p95_s")
    certified, naive = (totals[name][0] / totals[name][1] for name in (PLAN, NAIVE))
    assert totals[PLAN][1] >= 90
    assert certified >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / totals[PLAN][1])  # 0.02 each
    assert naive < 0.7


def test_a_latency_verdict_is_the_share_of_slow_answers_weighed_by_hand() -> None:
    world = slow_world(3)
    spec = make_spec(objective="maximize accuracy", limits={"latency": {"p95_s": world.p95_s}})
    found = simulate(world.outcomes, world.sorted_by, alone(), spec, resplits=1, seed=4)
    classes, outcomes = world.sorted_by.classes, world.outcomes
    seen = first_half(world.sorted_by, 4)
    profile = profile_of(outcomes, classes, world.sorted_by.names, np.flatnonzero(seen))
    asked = spec.model_copy(update={"confidence": "none"})
    rung = Planner(profile, asked).solve()
    shares = np.array(
        [
            [rung.allocation[d].get(s, 0.0) for s in outcomes.strategies]
            for d in world.sorted_by.names
        ]
    )[classes]
    assert outcomes.answers is not None
    slow = outcomes.answers.latencies_s.reshape(shares.shape) > world.p95_s
    share = float((shares * slow)[~seen].sum(axis=1).mean())
    assert kept(found, NAIVE, "latency.p95_s") == (share <= 0.05, 1)


def test_certified_plans_keep_a_floor_of_a_group_on_the_other_half() -> None:
    totals = {PLAN: np.zeros(2), NAIVE: np.zeros(2)}
    promise = "accuracy.by_group.region.south"
    for seed in range(8):
        outcomes, sorted_by, floor = grouped_world(seed)
        spec = make_spec(limits={"accuracy": {"by_group": {"region": {"south": floor}}}})
        found = simulate(outcomes, sorted_by, alone(800), spec, resplits=6, seed=seed)
        for name in totals:
            totals[name] += kept(found, name, promise)
    certified, naive = (totals[name][0] / totals[name][1] for name in (PLAN, NAIVE))
    assert totals[PLAN][1] >= 40
    assert certified >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / totals[PLAN][1])
    assert naive < 0.75


def test_groups_that_halves_cannot_share_lose_their_label_and_not_their_queries() -> None:
    outcomes, sorted_by, _ = grouped_world(1, 200)
    label = outcomes.labels["region"]
    odd = Labels((*label.values, "west"), np.where(np.arange(200) == 7, 2, label.of))
    rare = replace(outcomes, labels={"region": odd})
    spec = make_spec(limits={"accuracy": {"max_gap": {"region": 0.9}}}, confidence="none")
    found = simulate(rare, sorted_by, alone(200), spec, resplits=2)
    assert found.queries == 200
    assert found.left_out == (
        "1 queries of groups region that two halves cannot share: west, as of no group",
    )
    asked = make_spec(limits={"accuracy": {"by_group": {"region": {"west": 0.1}}}})
    with pytest.raises(InputError, match="group region west"):
        simulate(rare, sorted_by, alone(200), asked, resplits=1)


def test_both_halves_have_every_group_that_a_limit_is_about() -> None:
    classes, few = np.zeros(40, dtype=np.intp), np.full(40, -1)
    few[[3, 17]] = 0
    dealt = Dealt(classes, ("all",), alone(40), (few,))
    for seed in range(50):
        profiled = halves(dealt, np.random.default_rng(seed))
        assert profiled[3] != profiled[17]


def test_a_plan_whose_cell_the_judges_lack_is_not_judged() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(8), 200)
    sorted_by = sorted_into(hard)
    seen = first_half(sorted_by)
    scores = outcomes.scores.copy()
    scores[~seen & (hard == 1), 1] = np.nan  # the judges never saw the good one on hard queries
    holes = replace(outcomes, scores=scores)
    found = simulate(holes, sorted_by, alone(200), make_spec(**FLOOR), resplits=1)
    assert (of(found, PLAN).unjudged, of(found, PLAN).refused) == (1, 0)


def test_an_unknown_cost_is_refused_and_never_counted_as_zero() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(9), 200)
    unknown = replace(outcomes, costs=np.full_like(outcomes.costs, np.nan))
    with pytest.raises(UnknownValueError, match="cost"):
        simulate(unknown, sorted_into(hard), alone(200), make_spec(**FLOOR), resplits=1)


def test_progress_is_told_after_every_resplit() -> None:
    hard, outcomes = easy_and_hard(np.random.default_rng(9), 200)
    told: list[tuple[int, int]] = []
    simulate(
        outcomes,
        sorted_into(hard),
        alone(200),
        make_spec(**FLOOR),
        resplits=2,
        advance=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 2), (2, 2)]
