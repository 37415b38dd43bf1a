"""Floors of groups and caps on their gaps: against scipy, against the truth, and in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from group_worlds import COLUMN, Truth, grouped, random_truth
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from worlds import Array, make_profile, make_spec, random_profile, shares, table

from planner.advice.advise import advise
from planner.explain import LimitsClashError
from planner.planner import Planner
from planner.solve import solve
from planner.spec import Spec
from profiles.errors import InfeasibleError, InputError
from profiles.money import PriceCard
from profiles.profile import Profile

FLOOR = f"accuracy.by_group.{COLUMN}."
GAP = f"accuracy.max_gap.{COLUMN}"
WORLDS = 60


def _measured(seed: int, queries: int = 400, **size: int) -> Profile:
    rng = np.random.default_rng(seed)
    return random_truth(rng, **size).measured(rng, queries, 0.4)


def _tables(profile: Profile) -> tuple[Array, Array]:
    """P(class | group), shape (groups, classes), and means, (groups, classes, strategies)."""
    groups = profile.groups[COLUMN]
    counts = np.array(
        [[groups.queries.get((v, d), 0) for d in profile.classes] for v in groups.values]
    )
    own = [
        [
            [
                groups.cells.get((v, d, s), profile.cell(d, s)).accuracy
                for s in profile.strategies
            ]
            for d in profile.classes
        ]
        for v in groups.values
    ]  # fmt: skip
    joint = counts * np.array(profile.weights) / counts.sum(axis=0)
    return joint / joint.sum(axis=1, keepdims=True), np.array(own)


def _linprog(profile: Profile, floors: dict[int, float], gap: float | None) -> Any:
    w, c = np.array(profile.weights), table(profile, "cost_usd")
    mix, own = _tables(profile)
    scores = (mix[:, :, None] * own).reshape(len(mix), -1)
    rows, most = [-scores[g] for g in floors], [-floor for floor in floors.values()]
    if gap is not None:
        rows += [one - other for one in scores for other in scores]
        most += [gap] * len(scores) ** 2
    return linprog(
        (w[:, None] * c).ravel() * 1e4,
        A_ub=np.array(rows),
        b_ub=most,
        A_eq=np.kron(np.eye(len(w)), np.ones(c.shape[1])),
        b_eq=np.ones(len(w)),
        method="highs-ipm",
    )


def _spec(floors: dict[int, float], gap: float | None, **more: Any) -> Spec:
    accuracy: dict[str, Any] = {}
    if floors:
        accuracy["by_group"] = {COLUMN: {f"g{g}": floor for g, floor in floors.items()}}
    if gap is not None:
        accuracy["max_gap"] = {COLUMN: gap}
    return make_spec(limits={"accuracy": accuracy}, **more)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 4),
    strategies=st.integers(1, 6),
    groups=st.integers(2, 4),
    floor=st.floats(0.3, 0.95),
    gap=st.none() | st.floats(0.0, 0.3),
)
def test_floors_and_gaps_on_point_estimates_cost_what_scipy_says(
    seed: int, classes: int, strategies: int, groups: int, floor: float, gap: float | None
) -> None:
    profile = _measured(seed, 60, classes=classes, strategies=strategies, groups=groups)
    floors = {0: floor, groups - 1: floor - 0.1}
    theirs = _linprog(profile, floors, gap)
    planner = Planner(profile, _spec(floors, gap, confidence="none"))
    if theirs.status == 2:
        with pytest.raises(InfeasibleError):
            planner.solve()
        return
    rung = planner.solve()
    assert rung.expected.cost_usd_per_request == pytest.approx(theirs.fun / 1e4, rel=1e-6)
    mix, own = _tables(profile)
    scores = np.einsum("gd,gds,ds->g", mix, own, shares(profile, rung.allocation))
    told = [rung.by_group[COLUMN][f"g{g}"].accuracy for g in range(groups)]
    assert told == pytest.approx(scores, abs=1e-8)
    assert rung.gaps[COLUMN].expected == pytest.approx(np.ptp(scores), abs=1e-8)
    if gap is not None:
        assert rung.gaps[COLUMN].promised == pytest.approx(np.ptp(scores), abs=1e-8)


def test_a_group_of_all_queries_is_planned_like_the_overall_floor() -> None:
    profile = random_profile(np.random.default_rng(3), 3, 8)
    counts = np.full((1, 3), 1000.0)
    whole = grouped(
        replace(profile, class_queries=(1000,) * 3), counts, table(profile, "accuracy")[None]
    )
    mix = dict(zip(profile.classes, profile.weights, strict=True))
    traffic = {"requests": 100_000, "mix": mix}
    by_group = Planner(whole, _spec({0: 0.65}, None, traffic=traffic)).solve()
    floor = {"accuracy": {"overall": 0.65}}
    overall = Planner(profile, make_spec(limits=floor, traffic=traffic)).solve()
    promised = by_group.by_group[COLUMN]["g0"].promised_accuracy
    assert promised is not None
    # the mix of a group is counted from its queries, whatever mix the traffic has
    assert promised == pytest.approx(0.65, abs=1e-4)
    assert promised <= by_group.promised.accuracy
    assert by_group.by_group[COLUMN]["g0"].accuracy == by_group.expected.accuracy
    dearer = by_group.expected.cost_usd_per_request or 0.0
    assert 1.0 <= dearer / (overall.expected.cost_usd_per_request or 1.0) < 1.1


def test_certified_floors_and_gaps_hold_with_their_margins() -> None:
    profile = _measured(5, 1000)
    floors, gap = {0: 0.64, 1: 0.64, 2: 0.64}, 0.2
    rung = Planner(profile, _spec(floors, gap)).solve()
    told = rung.by_group[COLUMN].values()
    assert all((one.promised_accuracy or 0.0) > 0.64 - 1e-6 for one in told)
    assert all((one.promised_accuracy or 1.0) < one.accuracy - 0.01 for one in told)
    assert rung.gaps[COLUMN].expected < (rung.gaps[COLUMN].promised or 0.0) <= 0.2 + 1e-6
    naive = Planner(profile, _spec(floors, gap, confidence="none")).solve()
    assert naive.expected.cost_usd_per_request < rung.expected.cost_usd_per_request  # type: ignore[operator]


def test_a_moved_floor_gives_the_same_answer_warm_and_cold() -> None:
    profile = _measured(6)
    warm = Planner(profile, _spec({0: 0.55, 2: 0.6}, 0.32))
    for floor, gap in ((0.55, 0.32), (0.58, 0.3), (0.5, 0.35)):
        limits = warm.limits.moved(FLOOR + "g0", floor).moved(GAP, gap)
        cold = Planner(profile, _spec({0: floor, 2: 0.6}, gap)).solve()
        again = warm.rung(warm.answer(warm.spec.objective, limits), warm.spec.objective)
        assert again.expected.cost_usd_per_request == pytest.approx(
            cold.expected.cost_usd_per_request, rel=1e-5
        )


@pytest.mark.parametrize(("limit", "step"), [(FLOOR + "g1", 0.002), (GAP, 0.002)])
def test_shadow_prices_of_groups_match_finite_differences(limit: str, step: float) -> None:
    profile = _measured(15)
    spec = _spec({1: 0.72}, 0.03, confidence="none")
    planner = Planner(profile, spec)
    answer = planner.answer(spec.objective, planner.limits)
    value = planner.limits.values[limit]
    more, less = (
        planner.answer(spec.objective, planner.limits.moved(limit, value + by)).value
        for by in (step, -step)
    )
    price = answer.shadow_prices.get(limit, 0.0)
    assert price == pytest.approx((more - less) / (2 * step), rel=0.05, abs=1e-9)
    assert price != 0.0


def test_an_infeasible_floor_of_a_group_is_named_with_what_would_do() -> None:
    profile = _measured(8)
    planner = Planner(profile, _spec({0: 0.99, 1: 0.5}, None))
    with pytest.raises(LimitsClashError) as caught:
        planner.solve()
    assert caught.value.clashing == (FLOOR + "g0",)
    assert f"fewest queries behind {FLOOR}g0:" in str(caught.value)
    menu = caught.value.menu
    assert planner.feasible(planner.limits.moved(FLOOR + "g0", menu[FLOOR + "g0"]))
    assert not planner.feasible(planner.limits.moved(FLOOR + "g0", menu[FLOOR + "g0"] + 1e-3))


def test_an_infeasible_gap_is_named_with_what_would_do() -> None:
    profile = _measured(9)
    planner = Planner(profile, _spec({}, 0.0))
    with pytest.raises(LimitsClashError) as caught:
        planner.solve()
    assert caught.value.clashing == (GAP,)
    value = caught.value.menu[GAP]
    assert planner.feasible(planner.limits.moved(GAP, value))
    assert not planner.feasible(planner.limits.moved(GAP, value - 1e-3))


def test_a_floor_that_clashes_with_the_budget_offers_both_ways_out() -> None:
    profile = _measured(10)
    cheapest = float(np.array(profile.weights) @ table(profile, "cost_usd").min(axis=1))
    limits = {
        "accuracy": {"by_group": {COLUMN: {"g2": 0.8}}},
        "spend": {"usd_per_request": 1.2 * cheapest},
    }
    with pytest.raises(LimitsClashError) as caught:
        Planner(profile, make_spec(limits=limits)).solve()
    assert set(caught.value.clashing) == {FLOOR + "g2", "spend.usd_per_request"}
    assert set(caught.value.menu) == set(caught.value.clashing)


def test_a_worse_group_is_not_lent_the_scores_of_its_class() -> None:
    """One group of 60 queries at 0.5, the others of the class at 0.8: the floor sees the 0.5."""
    means = np.array([[[0.5, 0.52]], [[0.8, 0.82]], [[0.8, 0.82]], [[0.8, 0.82]]])
    counts = np.array([[60.0], [400.0], [400.0], [400.0]])
    base = make_profile([[0.786, 0.806]], [[1e-4, 2e-4]], queries=1260)
    profile = grouped(replace(base, class_queries=(1260,)), counts, means)
    rung = Planner(profile, _spec({0: 0.3}, None)).solve()
    assert rung.by_group[COLUMN]["g0"].accuracy == pytest.approx(0.5, abs=0.03)
    with pytest.raises(LimitsClashError, match="60 of g0"):
        Planner(profile, _spec({0: 0.6}, None)).solve()


def test_a_strategy_that_a_group_was_never_measured_with_is_doubted_and_warned_of() -> None:
    profile = make_profile([[0.6, 0.9]], [[1e-4, 2e-4]])
    counts, means = np.array([[200.0], [800.0]]), np.array([[[0.6, 0.9]], [[0.6, 0.9]]])
    whole = grouped(replace(profile, class_queries=(1000,)), counts, means)
    table_ = whole.groups[COLUMN]
    cells = {key: cell for key, cell in table_.cells.items() if key[::2] != ("g0", "m01/single")}
    part = replace(whole, groups={COLUMN: replace(table_, cells=cells)})
    known, unknown = (Planner(p, _spec({0: 0.5}, None)).solve() for p in (whole, part))
    for rung in (known, unknown):
        assert rung.by_group[COLUMN]["g0"].promised_accuracy
    with pytest.raises(LimitsClashError):
        Planner(part, _spec({0: 0.84}, None)).solve()
    assert Planner(whole, _spec({0: 0.84}, None)).solve()
    overall = {"accuracy": {"overall": 0.8, "by_group": {COLUMN: {"g0": 0.1}}}}
    plan = solve(part, make_spec(limits=overall), prices=PriceCard(), estimator=None)
    assert any("no query of task g0" in text for text in plan.warnings)


def test_columns_and_groups_that_the_profile_lacks_are_refused_by_name() -> None:
    profile = _measured(11)
    limits = {"accuracy": {"by_group": {"language": {"de": 0.5}}}}
    with pytest.raises(InputError, match=r"limits\.accuracy\.by_group\.language"):
        Planner(profile, make_spec(limits=limits))
    with pytest.raises(InputError, match=r"by_group\.task\.g9"):
        Planner(profile, _spec({9: 0.5}, None))
    with pytest.raises(InputError, match="--group tenant"):
        Planner(profile, make_spec(limits={"accuracy": {"max_gap": {"tenant": 0.1}}}))


def test_more_groups_than_a_cap_can_compare_are_refused() -> None:
    profile = _measured(12, 300, groups=41, classes=1, strategies=2)
    with pytest.raises(InputError, match="too many groups"):
        Planner(profile, _spec({}, 0.5))


def test_a_spec_and_a_plan_without_groups_are_written_as_before() -> None:
    profile = random_profile(np.random.default_rng(1), 2, 3)
    spec = make_spec(limits={"accuracy": {"overall": 0.5}})
    plan = solve(profile, spec, prices=PriceCard(), estimator=None)
    assert "group" not in spec.model_dump_json()
    assert "group" not in plan.to_json()
    assert "gap" not in plan.to_json()


def test_a_plan_with_groups_survives_its_file() -> None:
    profile = _measured(13)
    plan = solve(profile, _spec({0: 0.6}, 0.5), prices=PriceCard(), estimator=None)
    again = type(plan).model_validate_json(plan.to_json())
    assert again.content_digest() == plan.digest
    assert again.rungs[0].by_group[COLUMN]["g0"].queries == plan.rungs[0].by_group[COLUMN][
        "g0"
    ].queries  # fmt: skip


def _best_scores(truth: Truth) -> Array:
    """Scores of the groups where every class is answered by its truly best strategy."""
    means = table(truth.profile, "accuracy")
    return truth.scores(np.eye(means.shape[1])[means.argmax(axis=1)])


def _broken(queries: int, below: float, confidence: float | str, gap: float | None) -> float:
    """Share of planned worlds in which some group's promise is truly broken."""
    broken = planned = 0
    for seed in range(WORLDS):
        rng = np.random.default_rng(seed)
        truth = random_truth(rng)
        best = _best_scores(truth)
        floors = {} if gap is not None else {g: float(best[g]) - below for g in range(3)}
        most = None if gap is None else float(np.ptp(best)) + gap
        mix = dict(zip(truth.profile.classes, truth.profile.weights, strict=True))
        traffic = {"requests": 10**9, "mix": mix}
        seen = truth.measured(rng, queries, 0.4)
        try:
            rung = Planner(
                seen, _spec(floors, most, confidence=confidence, traffic=traffic)
            ).solve()
        except InfeasibleError:  # too few queries of some group: nothing was promised
            continue
        planned += 1
        scores = truth.scores(shares(truth.profile, rung.allocation))
        missed = any(scores[g] < floor for g, floor in floors.items())
        broken += missed or (most is not None and bool(np.ptp(scores) > most))
    assert planned >= WORLDS / 2
    return broken / planned


@pytest.mark.slow
@pytest.mark.parametrize(("queries", "below"), [(200, 0.13), (500, 0.1)])
def test_promised_floors_of_groups_are_broken_in_at_most_five_percent_of_worlds(
    queries: int, below: float
) -> None:
    standard_error = np.sqrt(0.05 * 0.95 / (0.6 * WORLDS))  # 0.036
    assert _broken(queries, below, 0.95, None) <= 0.05 + 2 * standard_error
    assert _broken(queries, below, "none", None) > 0.4  # without a margin they are


def _with_a_thin_group(rng: np.random.Generator) -> Truth:
    """Four classes, eight strategies, of which one serves a group of few queries much worse."""
    level = np.sort(rng.uniform(0.35, 0.95, 8))
    harder = np.linspace(0, 0.25, 4)[:, None]
    base = np.clip(level - harder + rng.normal(0, 0.04, (4, 8)), 0.05, 0.97)
    accuracy = np.repeat(base[None], 6, axis=0)
    accuracy[0, :, 4] -= 0.3
    accuracy = np.clip(accuracy, 0.02, 0.98)
    mix = np.full((6, 4), 0.975 / 5)
    mix[0] = 0.025
    cost = np.sort(rng.lognormal(0, 1, 8)) * 1e-3 * np.ones((4, 1))
    means = np.einsum("gd,gds->ds", mix, accuracy)
    return Truth(make_profile(means, cost, weights=(0.25,) * 4), accuracy, mix)


@pytest.mark.slow
def test_promised_floors_of_groups_with_twenty_queries_a_class_hold_too() -> None:
    rng = np.random.default_rng(11)
    planned = broken = 0
    for _ in range(WORLDS):
        truth = _with_a_thin_group(rng)
        own = np.einsum("d,ds->s", truth.within[0], truth.accuracy[0])
        floor = float(np.quantile(own, 0.6)) - 0.05
        mix = dict(zip(truth.profile.classes, truth.profile.weights, strict=True))
        spec = _spec({0: floor}, None, traffic={"requests": 10**9, "mix": mix})
        try:
            rung = Planner(truth.measured(rng, 800, 0.4), spec).solve()
        except InfeasibleError:
            continue
        planned += 1
        broken += truth.scores(shares(truth.profile, rung.allocation))[0] < floor - 1e-9
    assert planned >= WORLDS / 2
    assert broken / planned <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / planned)


@pytest.mark.slow
def test_promised_caps_on_gaps_are_broken_in_at_most_five_percent_of_worlds() -> None:
    standard_error = np.sqrt(0.05 * 0.95 / (0.6 * WORLDS))  # 0.036
    assert _broken(500, 0.0, 0.95, 0.08) <= 0.05 + 2 * standard_error


def test_advice_towards_a_floor_of_a_group_lists_the_cells_it_rests_on() -> None:
    profile = _measured(5, 1000)
    found = advise(profile, _spec({0: 0.8}, None))
    assert found.blocked == FLOOR + "g0"
    assert found.rows
    assert "cannot be certified, though the measured means keep all of them" in found.summary


def test_advice_for_a_plan_that_pays_for_a_group_says_what_it_does_not_count() -> None:
    profile = _measured(5, 1000)
    found = advise(profile, _spec({0: 0.64}, None, traffic={"requests": 1_000_000}))
    assert found.blocked is None
    assert f"the plan pays for {FLOOR}g0" in found.summary
    assert found.certified is not None
    assert found.rows
    assert all(row.value is None for row in found.rows)


def test_what_a_group_was_never_measured_with_counts_as_its_class_on_point_estimates() -> None:
    profile = make_profile([[0.6, 0.9]], [[1e-4, 2e-4]])
    counts, means = np.array([[200.0], [800.0]]), np.array([[[0.6, 0.9]], [[0.6, 0.9]]])
    whole = grouped(replace(profile, class_queries=(1000,)), counts, means)
    table_ = whole.groups[COLUMN]
    cells = {key: cell for key, cell in table_.cells.items() if key[::2] != ("g0", "m01/single")}
    part = replace(whole, groups={COLUMN: replace(table_, cells=cells)})
    rung = Planner(part, _spec({0: 0.75}, None, confidence="none")).solve()
    assert rung.allocation["c0"]["m01/single"] == pytest.approx(0.5)


def test_a_lower_rung_names_the_promises_to_groups_that_it_gives_up() -> None:
    profile = _measured(11)
    spec = _spec({0: 0.5, 1: 0.2}, 0.3)
    plan = solve(profile, spec, prices=PriceCard(), estimator=None)
    assert len(plan.rungs) > 1
    for rung in plan.rungs[1:]:
        start = f"rung {rung.budget_fraction:g}, "
        said = " ".join(text for text in plan.warnings if text.startswith(start))
        for g, floor in ((0, 0.5), (1, 0.2)):
            promised = rung.by_group[COLUMN][f"g{g}"].promised_accuracy
            assert promised is not None
            assert (f"{FLOOR}g{g} {floor:g}" in said) == (promised < floor - 1e-8)
        promised_gap = rung.gaps[COLUMN].promised
        assert promised_gap is not None
        assert (f"{GAP} 0.3" in said) == (promised_gap > 0.3 + 1e-8)
    assert any(f"{FLOOR}g0 0.5" in text for text in plan.warnings)
    assert not any(f"{FLOOR}g1" in text for text in plan.warnings)
