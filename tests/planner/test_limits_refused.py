"""Limits that say nothing sensible, or that cannot be kept for want of numbers, are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from group_worlds import COLUMN, random_truth
from worlds import make_spec, random_profile

from planner.frontiers.frontier import frontier
from planner.limits import LimitSet
from planner.planner import Planner
from planner.solve import solve
from planner.spec import Objective
from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard
from profiles.profile import Profile


def without(profile: Profile, cell: tuple[str, str], **fields: Any) -> Profile:
    """The profile with some numbers of one cell unknown."""
    return replace(profile, cells=profile.cells | {cell: replace(profile.cells[cell], **fields)})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"limits": {"shares": [{"name": "x", "models": ["m00"], "at_most": 0.2}] * 2}}, "'x'"),
        (
            {"limits": {"shares": [{"name": "x", "models": ["m00"], "at_least": 0.8,
                                    "at_most": 0.2}]}},
            "at_least 0.8 is more than at_most 0.2",
        ),
        (
            {"limits": {"gpu": {"a": {"gpu_s_per_request": 1.0, "utilization": 0.5}}}},
            "it needs gpus",
        ),
        ({"traffic": {"requests": 10, "per": "hour", "shape": [1, 2]}}, "traffic per hour"),
        (
            {"traffic": {"requests": 10, "growth": {"rate": 10.0, "windows": 400}}},
            "more than 1e15 requests",
        ),
        (
            {"traffic": {"requests": 10, "per": "total", "growth": {"rate": 0.1, "windows": 9}}},
            "per total has only one",
        ),
        (
            {"traffic": {"requests": 10, "growth": {"rate": 0.1, "windows": 10**9}}},
            "less than or equal to 10000",
        ),
        (
            {"traffic": {"requests": 10, "mix": {"c0": 1.0}},
             "tenants": {"a": {"share": 1.0, "mix": {"c1": 1.0}}}},
            "leave traffic.mix out",
        ),
    ],
)  # fmt: skip
def test_a_spec_that_contradicts_itself_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_spec(**keys)


def test_a_spend_limit_needs_every_cost_a_tenants_too() -> None:
    profile = random_profile(np.random.default_rng(1), 2, 3)
    unknown = without(profile, ("c0", "m00/single"), cost_usd=None)
    spec = make_spec(
        objective="maximize accuracy",
        tenants={"a": {"share": 1.0, "spend": {"usd_per_request": 1e-5}}},
    )
    with pytest.raises(UnknownValueError, match="class c0, strategy m00/single"):
        Planner(unknown, spec).solve()


def test_a_limit_that_no_row_is_made_for_is_refused() -> None:
    planner = Planner(random_profile(np.random.default_rng(2), 2, 3), make_spec())
    with pytest.raises(InputError, match=r"limits\.energy\.joules_per_request"):
        planner.answer(
            Objective.MINIMIZE_COST, planner.limits.moved("energy.joules_per_request", 1.0)
        )


def test_a_worth_of_a_class_that_there_is_not_is_refused() -> None:
    value = {"usd_per_correct": 0.1, "by_class": {"c9": 1.0}}
    with pytest.raises(InputError, match=r"value\.by_class"):
        Planner(
            random_profile(np.random.default_rng(3), 2, 3),
            make_spec(objective="maximize value", value=value),
        )


def test_a_class_that_is_named_twice_counts_once() -> None:
    profile = random_profile(np.random.default_rng(4), 2, 3)
    part = {"name": "x", "models": ["m00"], "at_least": 0.4, "classes": ["c0", "c0"]}
    spec = make_spec(objective="maximize accuracy", confidence="none", limits={"shares": [part]})
    assert Planner(profile, spec).solve().allocation["c0"]["m00/single"] == pytest.approx(0.4)


def test_a_limit_on_one_class_needs_only_its_latencies() -> None:
    profile = random_profile(np.random.default_rng(5), 2, 3)
    unknown = without(profile, ("c0", "m00/single"), exceeded=None, latency_observations=0)
    spec = make_spec(limits={"latency": {"by_class": {"c1": {"p90_s": 8.0}}}})
    rung = Planner(unknown, spec).solve()
    assert rung.limits["latency.by_class.c1.p90_s"].kept
    other = make_spec(limits={"latency": {"by_class": {"c0": {"p90_s": 8.0}}}})
    with pytest.raises(UnknownValueError, match=r"latency\.by_class\.c0\.p90_s needs it"):
        Planner(unknown, other).solve()


def test_a_latency_limit_below_the_grid_is_named_as_written() -> None:
    spec = make_spec(limits={"latency": {"p99_s": 0.1}})
    with pytest.raises(UnknownValueError, match=r"limits\.latency\.p99_s"):
        Planner(random_profile(np.random.default_rng(6), 2, 3), spec).solve()


def test_a_class_without_traffic_keeps_its_floor_with_tenants_too() -> None:
    profile = random_profile(np.random.default_rng(7), 3, 4)
    keys = {"confidence": "none", "limits": {"accuracy": {"by_class": {"c2": 0.45}}}}
    mix = {"c0": 0.5, "c1": 0.5}
    alone = Planner(profile, make_spec(**keys, traffic={"requests": 10, "mix": mix})).solve()
    tenants = {"a": {"share": 0.5, "mix": mix}, "b": {"share": 0.5, "mix": mix}}
    together = Planner(profile, make_spec(**keys, tenants=tenants)).solve()
    assert together.by_class["c2"].accuracy >= 0.45 - 1e-9
    assert alone.by_class["c2"].accuracy >= 0.45 - 1e-9
    assert together.expected.cost_usd_per_request == pytest.approx(
        alone.expected.cost_usd_per_request
    )


def test_groups_go_by_the_tenants_mixes() -> None:
    rng = np.random.default_rng(8)
    profile = random_truth(rng).measured(rng, 400, 0.4)
    shares = rng.dirichlet(np.ones(len(profile.classes)))
    mix = dict(zip(profile.classes, (float(part) for part in shares), strict=True))
    keys = {
        "workload": profile.workload,
        "confidence": "none",
        "limits": {"accuracy": {"by_group": {COLUMN: {"g0": 0.4}}}},
    }
    alone = Planner(profile, make_spec(**keys, traffic={"requests": 10, "mix": mix})).solve()
    one = Planner(profile, make_spec(**keys, tenants={"a": {"share": 1.0, "mix": mix}})).solve()
    assert one.by_group == alone.by_group


def test_a_tenants_unknown_class_is_named_with_the_tenant() -> None:
    spec = make_spec(
        tenants={"acme": {"share": 1.0, "latency": {"by_class": {"cx": {"p95_s": 4.0}}}}}
    )
    with pytest.raises(InputError, match=r"tenants\.acme\.latency\.by_class"):
        Planner(random_profile(np.random.default_rng(9), 2, 3), spec)


def test_a_tenants_plan_knows_the_facts_of_classes_that_it_does_not_send() -> None:
    profile = random_profile(np.random.default_rng(10), 3, 5)
    tenants = {
        "a": {"share": 0.5, "mix": {"c0": 1.0}, "accuracy": {"overall": 0.6}},
        "b": {"share": 0.5, "mix": {"c1": 0.5, "c2": 0.5}},
    }
    plan = solve(profile, make_spec(tenants=tenants), prices=PriceCard(), estimator=None)
    for rung in plan.rungs:
        for part in rung.by_tenant.values():
            for name, mix in part.allocation.items():
                assert set(mix) <= set(plan.cells[name])


def test_a_frontier_of_tenants_without_limits_is_one() -> None:
    profile = random_profile(np.random.default_rng(11), 2, 4)
    spec = make_spec(confidence="none", tenants={"a": {"share": 0.4}, "b": {"share": 0.6}})
    assert len(frontier(Planner(profile, spec), 5)) > 1
    assert LimitSet.of(spec).values == {}
