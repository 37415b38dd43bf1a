"""Plans of a simpler shape, asked for in a spec."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from worlds import make_spec, random_profile, shares, table

from planner.explain import LimitsClashError
from planner.frontiers.frontier import frontier
from planner.planner import Planner
from planner.solve import solve
from profiles.errors import ExitCode, UnprovenError
from profiles.money import PriceCard


def keys(allocation: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "allocation": allocation,
        "limits": {"accuracy": {"overall": 0.62}},
        "confidence": "none",
        **more,
    }


def test_one_strategy_per_class_matches_brute_force() -> None:
    for seed in range(6):
        profile = random_profile(np.random.default_rng(seed), 3, 5)
        w, a, c = np.array(profile.weights), table(profile, "accuracy"), table(profile, "cost_usd")
        costs = [
            sum(w[d] * c[d, s] for d, s in enumerate(chosen))
            for chosen in itertools.product(range(5), repeat=3)
            if sum(w[d] * a[d, s] for d, s in enumerate(chosen)) >= 0.62
        ]
        spec = make_spec(**keys({"one_strategy_per_class": True}))
        rung = Planner(profile, spec).solve()
        assert all(list(mix.values()) == [1.0] for mix in rung.allocation.values())
        assert rung.expected.cost_usd_per_request == pytest.approx(min(costs), rel=1e-4)


def test_no_more_strategies_than_asked_for_and_none_for_crumbs() -> None:
    profile = random_profile(np.random.default_rng(1), 5, 12)
    free = Planner(profile, make_spec(**keys({}) | {"allocation": None})).solve()
    shaped = Planner(
        profile, make_spec(**keys({"at_most_strategies": 2, "minimum_share": 0.2}))
    ).solve()
    used = {name for mix in shaped.allocation.values() for name in mix}
    assert len(used) <= 2
    assert shares(profile, shaped.allocation)[shares(profile, shaped.allocation) > 0].min() >= 0.2
    assert shaped.expected.accuracy >= 0.62 - 1e-9
    assert shaped.expected.cost_usd_per_request >= free.expected.cost_usd_per_request  # type: ignore[operator]


@pytest.mark.parametrize(
    "allocation",
    [{"one_strategy_per_class": True}, {"at_most_strategies": 2}, {"minimum_share": 0.3}],
)
@pytest.mark.parametrize("objective", ["minimize cost", "maximize accuracy", "maximize value"])
def test_certified_plans_of_every_shape_keep_their_limits(
    allocation: dict[str, Any], objective: str
) -> None:
    profile = random_profile(np.random.default_rng(2), 3, 6)
    more: dict[str, Any] = {"confidence": 0.95, "objective": objective}
    if objective == "maximize value":
        more["value"] = {"usd_per_correct": 0.005}
    spec = make_spec(
        **keys(
            allocation,
            **more,
            traffic={"requests": 2000},
        )
    )
    spec = make_spec(
        **{
            **spec.model_dump(mode="json", exclude_none=True, exclude={"workload"}),
            "limits": {"accuracy": {"overall": 0.55}, "spend": {"usd_per_request": 1e-3}},
        }
    )
    plans = [solve(profile, spec, prices=PriceCard(), estimator=None) for _ in range(2)]
    assert plans[0].to_json() == plans[1].to_json()
    rung = plans[0].rungs[0]
    assert all(limit.kept for limit in rung.limits.values())
    mixes = rung.allocation.values()
    if "one_strategy_per_class" in allocation:
        assert all(len(mix) == 1 for mix in mixes)
    if "minimum_share" in allocation:
        assert min(share for mix in mixes for share in mix.values()) >= 0.3 - 1e-9
    if "at_most_strategies" in allocation:
        assert len({name for mix in mixes for name in mix}) <= 2


def test_a_shape_that_no_limit_survives_says_what_would_help() -> None:
    profile = random_profile(np.random.default_rng(4), 3, 5)
    w, a = np.array(profile.weights), table(profile, "accuracy")
    best = float(w @ a.max(axis=1))
    one = float((w[:, None] * a).sum(axis=0).max())
    assert best > one + 0.01
    floor = (best + one) / 2
    spec = make_spec(
        **keys({"at_most_strategies": 1}) | {"limits": {"accuracy": {"overall": floor}}}
    )
    planner = Planner(profile, spec)
    with pytest.raises(LimitsClashError) as raised:
        planner.solve()
    value = raised.value.menu["accuracy.overall"]
    assert value == pytest.approx(one, abs=2e-4)
    assert planner.feasible(planner.limits.moved("accuracy.overall", value))


def test_a_frontier_has_the_shape_too() -> None:
    profile = random_profile(np.random.default_rng(4), 3, 6)
    points = frontier(Planner(profile, make_spec(**keys({"one_strategy_per_class": True}))), 6)
    assert len(points) > 2
    assert all(len(mix) == 1 for point in points for mix in point.allocation.values())


def test_a_search_that_runs_out_of_time_says_what_it_had() -> None:
    profile = random_profile(np.random.default_rng(5), 20, 40)
    spec = make_spec(**keys({"at_most_strategies": 4, "minimum_share": 0.1}))
    with pytest.raises(UnprovenError) as raised:
        Planner(profile, spec, time_limit_s=1e-3).solve()
    assert raised.value.exit_code is ExitCode.UNPROVEN
