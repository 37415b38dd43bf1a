"""Plans as a whole: ladder, figures, refusals, infeasibility."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from worlds import make_profile, make_spec, random_profile

from planner.explain import LimitsClashError
from planner.frontiers.frontier import frontier
from planner.limits import LimitSet
from planner.plan import Plan, read_plan
from planner.planner import Planner
from planner.solve import NO_MARGIN, solve
from planner.spec import Spec
from profiles.errors import InfeasibleError, InputError, UnknownValueError
from profiles.money import PriceCard
from profiles.profile import Profile

ACCURACY = [[0.70, 0.90, 0.97], [0.40, 0.70, 0.90]]
COST = [[1e-5, 1e-4, 1e-3], [2e-5, 2e-4, 2e-3]]


def _solve(profile: Profile, spec: Spec) -> Plan:
    return solve(profile, spec, prices=PriceCard(), estimator=None)


def _usd(plan: Plan) -> list[float]:
    return [rung.expected.cost_usd_per_request or np.nan for rung in plan.rungs]


def test_the_same_question_gives_the_same_bytes(tmp_path: Path) -> None:
    profile = random_profile(np.random.default_rng(0), 4, 8)
    spec = make_spec(limits={"accuracy": {"overall": 0.65}, "latency": {"p95_s": 8.0}})
    plan = _solve(profile, spec)
    plan.write(tmp_path / "plan.json")
    assert plan.to_json() == _solve(profile, spec).to_json()
    assert read_plan(tmp_path / "plan.json") == plan


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), low=st.floats(1.0, 4.0), more=st.floats(1.0, 4.0))
@example(seed=200, low=3.0, more=2.0)
def test_more_budget_never_lowers_planned_accuracy(seed: int, low: float, more: float) -> None:
    profile = random_profile(np.random.default_rng(seed), 3, 6)
    for confidence in ("none", 0.95):
        planner = Planner(profile, make_spec(objective="maximize accuracy", confidence=confidence))
        cheapest = min(
            float(planner.accounts.promised(x).cost_usd_per_request or 0)
            for _, x in planner.singles()
        )
        poor, rich = (
            planner.answer(
                planner.spec.objective, LimitSet({"spend.usd_per_request": cheapest * factor})
            )
            for factor in (low + 1e-3, (low + 1e-3) * more)
        )
        assert rich.value >= poor.value - 2e-6


def cheapest_within(planner: Planner, limits: LimitSet) -> float:
    """Dollars of the plan; infinite where there is none."""
    try:
        return planner.answer(planner.spec.objective, limits).value
    except InfeasibleError:
        return float("inf")


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), floor=st.floats(0.3, 0.6), tighter=st.floats(0, 0.1))
@example(seed=904, floor=0.59375, tighter=0.0)
def test_a_tighter_limit_never_makes_a_plan_cheaper(
    seed: int, floor: float, tighter: float
) -> None:
    profile = random_profile(np.random.default_rng(seed), 3, 6)
    planner = Planner(profile, make_spec())
    loose, tight = (
        cheapest_within(planner, LimitSet({"accuracy.overall": limit}))
        for limit in (floor, floor + tighter)
    )
    assert tight >= loose * (1 - 1e-6)


def test_rungs_fall_in_cost_and_keep_the_latency_limit() -> None:
    profile = random_profile(np.random.default_rng(1), 4, 10)
    limits = {"accuracy": {"overall": 0.65}, "latency": {"p95_s": 8.0}}
    plan = _solve(profile, make_spec(limits=limits, rungs=[1.0, 0.8, 0.6]))
    full = _usd(plan)[0]
    assert len(plan.rungs) == 3
    assert _usd(plan) == sorted(_usd(plan), reverse=True)
    for rung in plan.rungs:
        assert rung.promised.latency_p95_s is not None
        assert rung.promised.latency_p95_s <= 8.0
        assert (rung.expected.cost_usd_per_request or np.nan) <= full * rung.budget_fraction * (
            1 + 1e-9
        )


def test_the_ladder_ends_at_the_cheapest_allocation() -> None:
    profile = make_profile([[0.5, 0.9]], [[1e-4, 1.5e-4]])
    spec = make_spec(confidence="none", limits={"accuracy": {"overall": 0.9}})
    plan = _solve(profile, spec)
    assert plan.rungs[-1].allocation == {"c0": {"m00/single": 1.0}}
    assert [rung.budget_fraction for rung in plan.rungs] == [1.0, 0.75, 0.6667]


def test_a_lower_rung_names_the_floors_that_it_gives_up_and_no_others() -> None:
    profile = make_profile([[0.8, 0.9], [0.6, 0.9]], [[1e-4, 2e-4], [1e-4, 8e-4]])
    accuracy = {"overall": 0.85, "by_class": {"c0": 0.7, "c1": 0.8}}
    plan = _solve(profile, make_spec(confidence="none", limits={"accuracy": accuracy}))
    said = "rung {:g}, used when money runs short, gives up {}"
    for rung in plan.rungs[1:]:
        lost = "accuracy.overall 0.85 and accuracy.by_class.c1 0.8"
        assert said.format(rung.budget_fraction, lost) in plan.warnings
    assert not any("c0" in text for text in plan.warnings)
    assert len(plan.rungs) > 1


def test_a_plan_that_costs_nothing_has_no_ladder() -> None:
    profile = make_profile([[0.9, 0.7]], [[0.0, 1e-3]], queries=2000)
    spec = make_spec(objective="maximize accuracy", limits={"spend": {"usd_per_request": 0.002}})
    assert [rung.budget_fraction for rung in _solve(profile, spec).rungs] == [1.0]


def test_rungs_without_floors_give_nothing_up() -> None:
    profile = make_profile(ACCURACY, COST)
    spec = make_spec(objective="maximize accuracy", limits={"spend": {"usd_per_request": 0.001}})
    plan = _solve(profile, spec)
    assert len(plan.rungs) > 1
    assert plan.warnings == ()


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_a_floor_is_given_up_exactly_where_less_is_promised(seed: int) -> None:
    profile = random_profile(np.random.default_rng(seed), 3, 6)
    spec = make_spec(limits={"accuracy": {"overall": 0.55}})
    try:
        plan = _solve(profile, spec)
    except InfeasibleError:
        return
    for rung in plan.rungs:
        named = any(text.startswith(f"rung {rung.budget_fraction:g},") for text in plan.warnings)
        assert named == (rung.promised.accuracy < 0.55 - 1e-8)


def test_every_figure_is_the_mean_over_its_parts() -> None:
    profile = make_profile(ACCURACY, COST, weights=[0.75, 0.25])
    plan = _solve(profile, make_spec(limits={"accuracy": {"overall": 0.8}}))
    rung = plan.rungs[0]
    for field in ("accuracy", "cost_usd_per_request"):
        parts = [getattr(rung.by_class[name], field) for name in profile.classes]
        total = float(np.array([0.75, 0.25]) @ parts)
        assert getattr(rung.expected, field) == pytest.approx(total, rel=1e-7)
    assert rung.promised.accuracy >= 0.8 > rung.promised.accuracy - 1e-5


def test_the_best_single_strategy_keeps_the_same_limits() -> None:
    profile = make_profile(ACCURACY, COST)
    plan = _solve(profile, make_spec(limits={"accuracy": {"overall": 0.75}}))
    assert plan.best_single_strategy is not None
    assert plan.best_single_strategy.strategy == "m01/single"
    assert plan.best_single_strategy.expected.accuracy == pytest.approx(0.8, abs=0.01)
    floors = {"overall": 0.75, "by_class": {"c1": 0.75}}
    dearer = _solve(profile, make_spec(limits={"accuracy": floors})).best_single_strategy
    assert dearer is not None
    assert dearer.strategy == "m02/single"
    budget = {"accuracy": floors, "spend": {"usd_per_request": 1e-3}}
    assert _solve(profile, make_spec(limits=budget)).best_single_strategy is None


def test_point_estimates_carry_a_warning() -> None:
    profile = make_profile(ACCURACY, COST)
    assert _solve(profile, make_spec(confidence="none")).warnings == (NO_MARGIN,)
    assert _solve(profile, make_spec()).warnings == ()


def test_a_sum_of_money_is_shared_by_the_traffic() -> None:
    profile = make_profile(ACCURACY, COST)
    traffic = {"requests": 1000, "per": "day"}
    spec = make_spec(
        objective="maximize accuracy", traffic=traffic, limits={"spend": {"usd": 0.5, "per": "day"}}
    )
    promised = _solve(profile, spec).rungs[0].promised.cost_usd_per_request
    assert promised == pytest.approx(0.0005, rel=1e-3)
    assert promised is not None
    assert promised <= 0.0005


def test_a_tail_limit_has_a_price_per_share_of_slow_requests() -> None:
    slow = np.array([[[0.2, 0.01], [0.3, 0.02]]])
    profile = make_profile([[0.9, 0.9], [0.8, 0.8]], [[1e-4, 1e-3]] * 2, slow=slow, grid_s=(5.0,))
    rung = _solve(profile, make_spec(limits={"latency": {"p95_s": 5.0}})).rungs[0]
    assert rung.shadow_prices["latency.exceedance"] < 0
    assert rung.promised.latency_p95_s == 5.0


def test_a_latency_limit_between_two_grid_limits_is_planned_at_the_lower() -> None:
    profile = random_profile(np.random.default_rng(2), 3, 6)
    planner = Planner(profile, make_spec())
    assert planner.solve(p95_s=7.0) == planner.solve(p95_s=6.0)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"spend": {"usd_per_request": 1.0}}, "the cost of this cell is unknown"),
        ({"latency": {"p95_s": 5.0}}, "counted no latencies at or below"),
    ],
)
def test_a_limit_on_an_unknown_value_is_refused(limits: dict[str, Any], message: str) -> None:
    cost = [[1e-5, np.nan, 1e-3], [2e-5, 2e-4, 2e-3]]
    profile = make_profile(ACCURACY, cost)
    with pytest.raises(UnknownValueError, match=message):
        _solve(profile, make_spec(objective="maximize accuracy", limits=limits))


def test_an_unknown_cost_names_its_cell_and_excluding_it_helps() -> None:
    profile = make_profile(ACCURACY, [[1e-5, np.nan, 1e-3], [2e-5, 2e-4, 2e-3]])
    with pytest.raises(UnknownValueError, match="class c0, strategy m01/single"):
        _solve(profile, make_spec())
    plan = _solve(profile, make_spec(strategies=["m00/single", "m02/single"]))
    assert plan.rungs[0].allocation["c0"] == {"m00/single": 1.0}


def test_a_cost_that_no_limit_needs_stays_unknown() -> None:
    profile = make_profile(ACCURACY, [[1e-5, 1e-4, np.nan], [2e-5, 2e-4, 2e-3]])
    plan = _solve(profile, make_spec(objective="maximize accuracy"))
    assert plan.rungs[0].expected.cost_usd_per_request is None
    assert len(plan.rungs) == 1
    assert any("no cheaper rungs" in warning for warning in plan.warnings)


def test_a_class_without_cells_is_refused() -> None:
    profile = make_profile(ACCURACY, COST)
    for strategy in profile.strategies:
        del profile.cells["c1", strategy]
    with pytest.raises(UnknownValueError, match="no strategy was measured in this class"):
        _solve(profile, make_spec())


def test_a_pair_that_was_not_measured_gets_no_share() -> None:
    profile = make_profile(ACCURACY, COST)
    del profile.cells["c0", "m00/single"]
    plan = _solve(profile, make_spec())
    assert plan.rungs[0].allocation == {
        "c0": {"m01/single": 1.0},
        "c1": {"m00/single": 1.0},
    }
    assert plan.best_single_strategy is not None
    assert plan.best_single_strategy.strategy == "m01/single"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"workload": "other"}, "different workloads"),
        ({"limits": {"accuracy": {"by_class": {"c9": 0.5}}}}, "no class 'c9'"),
        ({"traffic": {"requests": 1, "mix": {"c0": 0.5}}}, "do not add up"),
        ({"strategies": ["other/single"]}, "never measured"),
    ],
)
def test_a_spec_about_something_else_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _solve(make_profile(ACCURACY, COST), make_spec(**keys))


def test_an_infeasible_plan_names_what_clashes_and_the_menu_mends_it() -> None:
    profile = random_profile(np.random.default_rng(3), 4, 10)
    limits = LimitSet(
        {"accuracy.overall": 0.7, "spend.usd_per_request": 2e-4, "latency.p95_s": 8.0}
    )
    planner = Planner(profile, make_spec(traffic={"requests": 5000}))
    with pytest.raises(LimitsClashError) as raised:
        planner.solve(accuracy=0.7, usd_per_request=2e-4, p95_s=8.0)
    error = raised.value
    assert len(error.clashing) >= 1
    assert error.menu
    for name, value in error.menu.items():
        assert planner.feasible(limits.moved(name, value)), name
    assert "no plan keeps all limits" in str(error)
    for name in error.clashing:
        assert name in str(error)


def test_two_limits_that_clash_are_both_named() -> None:
    profile = make_profile(ACCURACY, COST)
    spec = make_spec(
        limits={
            "accuracy": {"overall": 0.85},
            "spend": {"usd_per_request": 1e-4},
        }
    )
    with pytest.raises(LimitsClashError) as raised:
        _solve(profile, spec)
    assert raised.value.clashing == ("accuracy.overall", "spend.usd_per_request")
    assert set(raised.value.menu) == set(raised.value.clashing)
    assert "move only this limit: accuracy.overall to 0." in str(raised.value)


def test_a_floor_that_only_lacks_evidence_says_how_many_queries() -> None:
    profile = make_profile(ACCURACY, COST, queries=100)
    with pytest.raises(LimitsClashError, match=r"can be promised with 200 queries; about \d+ more"):
        _solve(profile, make_spec(limits={"accuracy": {"overall": 0.92}}))


def test_class_floors_are_priced_and_clash_by_name() -> None:
    profile = make_profile(ACCURACY, COST)
    spec = make_spec(limits={"accuracy": {"by_class": {"c1": 0.8}}})
    rung = _solve(profile, spec).rungs[0]
    assert rung.shadow_prices["accuracy.by_class.c1"] > 0
    assert rung.by_class["c1"].accuracy > 0.8
    with pytest.raises(LimitsClashError, match=r"accuracy\.by_class\.c1 0\.99 cannot hold"):
        _solve(profile, make_spec(limits={"accuracy": {"by_class": {"c1": 0.99}}}))


def test_a_frontier_rises_from_the_cheapest_to_the_most_accurate() -> None:
    profile = random_profile(np.random.default_rng(4), 4, 8)
    points = frontier(Planner(profile, make_spec()), points=12)
    usd = [point.usd_per_request for point in points]
    accuracy = [point.accuracy for point in points]
    assert len(points) > 5
    assert usd == sorted(usd)
    assert accuracy == sorted(accuracy)
    assert all(point.promised_accuracy < point.accuracy for point in points)


def test_a_slider_can_take_a_limit_away_and_bring_it_back() -> None:
    profile = make_profile(ACCURACY, COST)
    planner = Planner(profile, make_spec(limits={"accuracy": {"overall": 0.8}}))
    asked = planner.solve()
    free = planner.solve(accuracy=None)
    assert free.allocation == {"c0": {"m00/single": 1.0}, "c1": {"m00/single": 1.0}}
    assert planner.solve().allocation == asked.allocation


@pytest.mark.parametrize(("better", "mixed"), [(0.002, False), (0.2, True)])
def test_money_is_spent_on_a_dearer_strategy_only_where_traffic_would_show_the_gain(
    better: float, *, mixed: bool
) -> None:
    accuracy = [[0.90, 0.90], [0.70, 0.70 + better]]
    profile = make_profile(accuracy, [[0.001, 0.03], [0.001, 0.03]], queries=600)
    spec = make_spec(
        objective="maximize accuracy", limits={"spend": {"usd_per_request": 0.004}}, rungs=[1.0]
    )
    plan = solve(profile, spec, prices=PriceCard(), estimator=None)
    used = {name for found in plan.rungs[0].allocation.values() for name in found}
    assert (len(used) == 2) is mixed
    assert plan.best_single_strategy is not None
    single = plan.best_single_strategy.expected.accuracy
    assert plan.rungs[0].expected.accuracy >= single


def test_where_the_difficulty_graph_lies_does_not_change_the_digest() -> None:
    profile = make_profile(ACCURACY, COST)
    near, far = (
        solve(profile, make_spec(), prices=PriceCard(), estimator=path)
        for path in ("difficulty.onnx", "../elsewhere/difficulty.onnx")
    )
    assert near.digest == far.digest


def test_the_version_of_the_solver_is_told_but_another_one_finds_the_same_plan() -> None:
    profile = make_profile(ACCURACY, COST)
    found = solve(profile, make_spec(), prices=PriceCard(), estimator=None)
    assert found.solver.startswith("HiGHS ")
    other = found.model_copy(update={"solver": "HiGHS 99"}).sealed()
    assert other.digest == found.digest


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"limits": {"accuracy": {"overall": True}}}, "limits.accuracy.overall"),
        ({"traffic": {"requests": True}}, "traffic.requests"),
        ({"limits": {"latency": {"p95_s": True}}}, "limits.latency.p95_s"),
        ({"strategies": []}, "strategies"),
        ({"rungs": [0.5, 1.0]}, "rungs"),
        ({"rungs": [True, 0.5]}, "rungs.0"),
        ({"limits": {"spend": {"usd": 1, "per": "day"}}}, "limits"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_at_its_key(
    keys: dict[str, Any], place: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        make_spec(**keys)
    assert ".".join(map(str, refused.value.errors()[0]["loc"])) == place


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"limits": {"accuracy": {"by_class": {"c11": 0.5}}}}, "limits.accuracy.by_class.c11"),
        ({"traffic": {"requests": 9, "mix": {"c11": 1.0}}}, "traffic.mix.c11"),
        ({"strategies": ["m00/singel"]}, "m00/singel"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_one(keys: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError, match=r"did you mean '(c1|m00/single)'") as refused:
        Planner(make_profile(ACCURACY, COST), make_spec(**keys))
    assert place in str(refused.value)


def test_too_few_timed_queries_are_named_as_the_reason() -> None:
    slow = np.zeros((1, 1, 1))
    profile = make_profile([[0.9]], [[1e-4]], queries=20, slow=slow, grid_s=(1.0,))
    spec = make_spec(limits={"latency": {"p95_s": 1.0}})
    with pytest.raises(LimitsClashError, match=r"only 20 timed queries.*about (39|4[0-9]) more"):
        Planner(profile, spec).solve()  # 0 slow of 59 is the least that proves it: 0.95^59 < 0.05
    always = make_profile([[0.9]], [[1e-4]], queries=20, slow=slow + 1, grid_s=(1.0,))
    with pytest.raises(LimitsClashError, match="even 1 s, the slowest limit"):
        Planner(always, spec).solve()
