"""Tenants have limits of their own and share what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from worlds import make_spec, random_profile, shares, table

from planner.explain import LimitsClashError
from planner.plan import Figures, Plan
from planner.planner import Planner
from planner.solve import solve
from planner.spec import Spec
from policies.check import check
from policies.compile import compile_plan
from policies.file import write_policy
from profiles.errors import InputError
from profiles.money import PriceCard
from profiles.profile import Profile

SHARES = {"acme": 0.3, "bolt": 0.6, "cask": 0.1}
MIXES = {"acme": (0.6, 0.3, 0.1), "bolt": (0.2, 0.5, 0.3), "cask": (0.1, 0.1, 0.8)}


def tenants(**own: Any) -> dict[str, Any]:
    """Three tenants with mixes of their own, and these further limits."""
    return {
        name: {
            "share": share,
            "mix": {f"c{d}": part for d, part in enumerate(MIXES[name])},
            **own.get(name, {}),
        }
        for name, share in SHARES.items()
    }


def cheapest(profile: Profile, floors: dict[str, float], overall: float, usd: float) -> Any:
    """By scipy: floors per tenant and over all, and a limit on what acme may spend."""
    a, c = table(profile, "accuracy"), table(profile, "cost_usd")
    mixes = [np.array(MIXES[name])[:, None] * np.ones_like(a) for name in SHARES]
    weights = [share * mix for share, mix in zip(SHARES.values(), mixes, strict=True)]
    rows = [np.concatenate([-(w * a).ravel() for w in weights])]
    bounds = [-overall]
    for number, name in enumerate(SHARES):
        row = np.zeros((3, a.size))
        row[number] = -(mixes[number] * a).ravel()
        if name in floors:
            rows.append(row.ravel())
            bounds.append(-floors[name])
    row = np.zeros((3, a.size))
    row[0] = (mixes[0] * c).ravel() * 1e4
    return linprog(
        np.concatenate([(w * c).ravel() for w in weights]) * 1e4,
        A_ub=np.array([*rows, row.ravel()]),
        b_ub=[*bounds, usd * 1e4],
        A_eq=np.kron(np.eye(9), np.ones(a.shape[1])),
        b_eq=np.ones(9),
        method="highs-ipm",
    )


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    acme=st.floats(0.5, 0.9),
    cask=st.floats(0.3, 0.8),
    overall=st.floats(0.4, 0.8),
    usd=st.floats(1e-4, 1e-3),
)
def test_plans_with_tenants_agree_with_scipy(
    seed: int, acme: float, cask: float, overall: float, usd: float
) -> None:
    profile = random_profile(np.random.default_rng(seed), 3, 5)
    spec = make_spec(
        confidence="none",
        limits={"accuracy": {"overall": overall}},
        tenants=tenants(
            acme={"accuracy": {"overall": acme}, "spend": {"usd_per_request": usd}},
            cask={"accuracy": {"overall": cask}},
        ),
    )
    theirs = cheapest(profile, {"acme": acme, "cask": cask}, overall, usd)
    planner = Planner(profile, spec)
    if theirs.status == 2:
        with pytest.raises(LimitsClashError):
            planner.solve()
        return
    rung = planner.solve()
    assert rung.expected.cost_usd_per_request == pytest.approx(theirs.fun / 1e4, rel=1e-6)
    for name, floor in (("acme", acme), ("cask", cask)):
        assert rung.by_tenant[name].expected.accuracy >= floor - 1e-7
    paid = rung.by_tenant["acme"].expected.cost_usd_per_request
    assert paid is not None
    assert paid <= usd * (1 + 1e-7)


@pytest.mark.parametrize("confidence", ["none", 0.95])
def test_tenants_without_limits_of_their_own_change_nothing(confidence: Any) -> None:
    profile = random_profile(np.random.default_rng(3), 3, 5)
    keys = {
        "confidence": confidence,
        "traffic": {"requests": 5000},
        "limits": {"accuracy": {"overall": 0.6}, "spend": {"usd_per_request": 1e-3}},
    }
    alone = Planner(profile, make_spec(**keys)).solve()
    alike = {name: {"share": share} for name, share in SHARES.items()}
    together = Planner(profile, make_spec(**keys, tenants=alike)).solve()
    assert together.promised.cost_usd_per_request == pytest.approx(
        alone.promised.cost_usd_per_request, rel=1e-6
    )
    assert together.promised.accuracy == pytest.approx(alone.promised.accuracy, rel=1e-6)


def test_promises_to_tenants_hold_together_and_cost_their_margin() -> None:
    profile = random_profile(np.random.default_rng(5), 3, 5, queries=400)
    floors = {name: {"accuracy": {"overall": 0.55}} for name in SHARES}
    spec = make_spec(tenants=tenants(**floors), traffic={"requests": 100_000})
    rung = Planner(profile, spec).solve()
    for name in SHARES:
        figures = rung.by_tenant[name]
        assert figures.promised.accuracy >= 0.55 - 1e-9
        assert figures.promised.accuracy < figures.expected.accuracy
        assert rung.limits[f"tenants.{name}.accuracy.overall"].promised >= 0.55 - 1e-9
    naive = Planner(profile, spec.model_copy(update={"confidence": "none"})).solve()
    assert rung.expected.cost_usd_per_request > naive.expected.cost_usd_per_request  # type: ignore[operator]


def test_a_rungs_own_allocation_is_the_mean_of_its_tenants() -> None:
    profile = random_profile(np.random.default_rng(6), 3, 5)
    spec = make_spec(
        confidence="none",
        tenants=tenants(acme={"accuracy": {"overall": 0.8}}),
        limits={"accuracy": {"overall": 0.6}},
    )
    rung = Planner(profile, spec).solve()
    parts = {
        name: SHARES[name] * np.array(MIXES[name])[:, None]
        * shares(profile, rung.by_tenant[name].allocation)
        for name in SHARES
    }  # fmt: skip
    weights = np.array([SHARES[name] * np.array(MIXES[name]) for name in SHARES]).sum(axis=0)
    mean = sum(parts.values()) / weights[:, None]
    assert shares(profile, rung.allocation) == pytest.approx(mean, abs=1e-9)


def test_a_tenants_latency_and_class_floor_are_its_own() -> None:
    profile = random_profile(np.random.default_rng(7), 3, 6)
    own = {"acme": {"latency": {"p95_s": 4.0}, "accuracy": {"by_class": {"c1": 0.6}}}}
    spec = make_spec(confidence="none", tenants=tenants(**own))
    rung = Planner(profile, spec).solve()
    assert rung.by_tenant["acme"].expected.latency_p95_s <= 4.0  # type: ignore[operator]
    assert rung.by_tenant["acme"].by_class["c1"].accuracy >= 0.6 - 1e-9
    free = Planner(profile, make_spec(confidence="none", tenants=tenants())).solve()
    assert rung.by_tenant["bolt"].allocation == free.by_tenant["bolt"].allocation


def test_a_clash_of_one_tenant_names_it_and_its_menu_helps() -> None:
    profile = random_profile(np.random.default_rng(8), 3, 4)
    own = {"cask": {"accuracy": {"overall": 0.99}}, "acme": {"accuracy": {"overall": 0.5}}}
    planner = Planner(profile, make_spec(confidence="none", tenants=tenants(**own)))
    with pytest.raises(LimitsClashError) as raised:
        planner.solve()
    assert raised.value.clashing == ("tenants.cask.accuracy.overall",)
    value = raised.value.menu["tenants.cask.accuracy.overall"]
    assert planner.feasible(planner.limits.moved("tenants.cask.accuracy.overall", value))


def test_a_plan_with_tenants_is_the_same_bytes_and_has_a_ladder() -> None:
    profile = random_profile(np.random.default_rng(9), 3, 5)
    spec = make_spec(
        tenants=tenants(acme={"accuracy": {"overall": 0.7}}), limits={"accuracy": {"overall": 0.6}}
    )
    plans = [solve(profile, spec, prices=PriceCard(), estimator=None) for _ in range(2)]
    assert plans[0].to_json() == plans[1].to_json()
    assert len(plans[0].rungs) > 1
    assert all(set(rung.by_tenant) == set(SHARES) for rung in plans[0].rungs)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"mix": {"c0": 0.5, "c1": 0.2}}, "tenants.acme.mix"),
        ({"mix": {"c0": 0.5, "easy": 0.5}}, "tenants.acme.mix"),
        ({"accuracy": {"by_class": {"easy": 0.5}}}, "easy"),
    ],
)
def test_a_tenant_that_the_profile_does_not_fit_is_refused(change: Any, where: str) -> None:
    profile = random_profile(np.random.default_rng(10), 3, 4)
    with pytest.raises(InputError) as raised:
        Planner(profile, make_spec(tenants=tenants(acme=change)))
    assert where in str(raised.value)


def test_each_tenant_gets_a_policy_of_its_own() -> None:
    profile = random_profile(np.random.default_rng(11), 3, 5)
    own = {"acme": {"spend": {"usd": 20.0, "per": "month"}, "accuracy": {"overall": 0.6}}}
    spec = make_spec(
        tenants=tenants(**own),
        traffic={"requests": 100_000, "per": "month"},
        limits={"accuracy": {"overall": 0.5}},
    )
    plan = solve(profile, spec, prices=PriceCard(), estimator=None)
    of_acme = plan.of_tenant("acme")
    assert of_acme.digest == of_acme.content_digest()
    assert of_acme.traffic is not None
    assert of_acme.traffic.requests == 30_000
    assert of_acme.classes.weights == pytest.approx(MIXES["acme"])
    assert of_acme.limits.spend is not None
    assert of_acme.limits.spend.usd == 20.0
    assert of_acme.rungs[0].allocation == plan.rungs[0].by_tenant["acme"].allocation
    assert set(of_acme.rungs[0].limits) == {"accuracy.overall", "spend.usd_per_request"}
    assert "accuracy.overall hold over all tenants together" in of_acme.warnings[-1]
    with pytest.raises(InputError, match="has no tenant 'acne'"):
        plan.of_tenant("acne")
    with pytest.raises(InputError, match="--tenant NAME"):
        compile_plan(plan, estimator=None)


@pytest.mark.parametrize("names", [{"a.b": 1.0}, {"a": 0.5}, {"": 1.0}])
def test_tenants_need_plain_names_and_shares_of_one(names: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="tenants"):
        make_spec(tenants={name: {"share": share} for name, share in names.items()})


def plan_of(profile: Profile, spec: Spec) -> Plan:
    return solve(profile, spec, prices=PriceCard(), estimator=None)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    acme=st.floats(0.3, 0.9),
    cask=st.floats(0.3, 0.9),
    confidence=st.sampled_from(["none", 0.9]),
)
def test_every_rung_of_a_tenant_spends_less_of_its_own_money(
    seed: int, acme: float, cask: float, confidence: Any
) -> None:
    profile = random_profile(np.random.default_rng(seed), 3, 5, queries=1000)
    own = {"acme": {"accuracy": {"overall": acme}}, "cask": {"accuracy": {"overall": cask}}}
    rungs = (1.0, 0.9, 0.75, 0.6, 0.5, 0.25, 0.1)
    spec = make_spec(confidence=confidence, tenants=tenants(**own), rungs=rungs)
    try:
        plan = plan_of(profile, spec)
    except LimitsClashError:
        return
    for name in SHARES:
        ladder = plan.of_tenant(name).rungs
        spent = [rung.expected.cost_usd_per_request or 0.0 for rung in ladder]
        fractions = [rung.budget_fraction for rung in ladder]
        assert fractions[0] == 1.0
        for (usd, fraction), above in zip(
            zip(spent[1:], fractions[1:], strict=True),
            zip(spent, fractions, strict=False),
            strict=False,
        ):
            assert usd < above[0]
            assert fraction < above[1]
            assert 0 <= fraction - usd / spent[0] <= 1e-4 + 1e-12
        solved = [rung.by_tenant[name].allocation for rung in plan.rungs]
        assert ladder[0].allocation == solved[0]
        assert all(rung.allocation in solved for rung in ladder)


def uneven() -> Plan:
    """A plan whose middle rung is dearer for acme, and the same for cask; its last spends less."""

    def figures(usd: float) -> Figures:
        return Figures(accuracy=0.5, cost_usd_per_request=usd, latency_p95_s=None)

    profile = random_profile(np.random.default_rng(9), 3, 5)
    own = {"acme": {"accuracy": {"overall": 0.7}}, "bolt": {"accuracy": {"overall": 0.7}}}
    plan = plan_of(profile, make_spec(tenants=tenants(**own), rungs=(1.0, 0.75, 0.5)))
    spent = {"acme": (2.0, 3.0, 1.0), "bolt": (3.0, 2.0, 0.99), "cask": (1.0, 1.0, 0.25)}
    rungs = tuple(
        rung.model_copy(
            update={
                "by_tenant": {
                    name: part.model_copy(update={"expected": figures(spent[name][number] / 1e4)})
                    for name, part in rung.by_tenant.items()
                }
            }
        )
        for number, rung in enumerate(plan.rungs)
    )
    return plan.model_copy(update={"rungs": rungs})


def test_rungs_that_are_dearer_for_a_tenant_are_left_out_of_its_ladder() -> None:
    plan = uneven()
    fractions = {
        name: [rung.budget_fraction for rung in plan.of_tenant(name).rungs] for name in SHARES
    }
    assert fractions == {"acme": [1.0, 0.5], "bolt": [1.0, 0.6667, 0.33], "cask": [1.0, 0.25]}


def test_what_a_tenants_lower_rungs_give_up_is_said_of_its_own_ladder_alone() -> None:
    plan = uneven()
    assert any("gives up tenants.acme.accuracy.overall" in line for line in plan.warnings)
    said = [line for line in plan.of_tenant("acme").warnings if "gives up" in line]
    assert said == ["rung 0.5, used when money runs short, gives up accuracy.overall 0.7"]
    assert not [line for line in plan.of_tenant("cask").warnings if "gives up" in line]


PRICED: list[tuple[str, Any, str, float]] = [
    ("minimize cost", {"accuracy": {"overall": 0.6}}, "accuracy.overall", 1e-4),
    ("minimize cost", {"accuracy": {"by_class": {"c1": 0.6}}}, "accuracy.by_class.c1", 1e-4),
    ("maximize value", {"spend": {"usd_per_request": 2e-4}}, "spend.usd_per_request", 1e-7),
    ("maximize accuracy", {"spend": {"usd_per_request": 2e-4}}, "spend.usd_per_request", 1e-7),
]


@pytest.mark.parametrize(("objective", "limit", "name", "step"), PRICED)
def test_a_tenants_price_is_the_change_of_its_own_objective(
    objective: str, limit: Any, name: str, step: float
) -> None:
    profile = random_profile(np.random.default_rng(12), 3, 5)
    value = {"usd_per_correct": 1e-3}
    spec = make_spec(
        confidence="none",
        objective=objective,
        tenants=tenants(acme=limit),
        **({"value": value} if objective == "maximize value" else {}),
    )
    planner = Planner(profile, spec)
    own = f"tenants.acme.{name}"

    def reached(by: float) -> float:
        limits = planner.limits.moved(own, planner.limits.values[own] + by)
        figures = planner.rung(planner.explained(limits), spec.objective).by_tenant["acme"].expected
        usd = figures.cost_usd_per_request or 0.0
        return {
            "minimize cost": usd,
            "maximize accuracy": figures.accuracy,
            "maximize value": 1e-3 * figures.accuracy - usd,
        }[objective]

    plan = plan_of(profile, spec).of_tenant("acme")
    assert set(plan.rungs[0].shadow_prices) == {name}
    slope = (reached(step) - reached(-step)) / (2 * step)
    assert plan.rungs[0].shadow_prices[name] == pytest.approx(slope, rel=1e-4)


def test_a_tenants_latency_has_a_price_per_share_of_its_slower_requests() -> None:
    profile = random_profile(np.random.default_rng(12), 3, 6)
    spec = make_spec(
        confidence="none",
        tenants=tenants(acme={"latency": {"p95_s": 4.0}, "accuracy": {"overall": 0.6}}),
    )
    plan = plan_of(profile, spec)
    prices = plan.of_tenant("acme").rungs[0].shadow_prices
    joint = plan.rungs[0].shadow_prices["tenants.acme.latency.exceedance"]
    assert prices["latency.exceedance"] == pytest.approx(joint / SHARES["acme"])
    assert not plan.of_tenant("bolt").rungs[0].shadow_prices


@pytest.mark.parametrize(
    "keys",
    [
        {"limits": {"accuracy": {"overall": 0.7}}},
        {"objective": "minimize cost per correct"},
        {"objective": "maximize accuracy", "confidence": 0.95},
    ],
)
def test_where_tenants_answer_together_no_price_is_one_tenants_own(keys: dict[str, Any]) -> None:
    profile = random_profile(np.random.default_rng(12), 3, 5, queries=5000)
    own = {"accuracy": {"overall": 0.65}, "spend": {"usd_per_request": 3e-4}}
    plan = plan_of(
        profile, make_spec(**{"confidence": "none", "tenants": tenants(acme=own), **keys})
    )
    assert any(name.startswith("tenants.acme.") for name in plan.rungs[0].shadow_prices)
    assert not plan.of_tenant("acme").rungs[0].shadow_prices


def test_a_tenants_traffic_has_its_own_mix_and_the_growth_of_all() -> None:
    profile = random_profile(np.random.default_rng(13), 3, 4)
    growth, shape = {"rate": 0.1, "windows": 6}, [1.0, 3.0]
    traffic = {"requests": 1000, "per": "day", "growth": growth, "shape": shape,
               "mix": {"c0": 0.2, "c1": 0.3, "c2": 0.5}}  # fmt: skip
    who = {"own": {"share": 0.3, "mix": {"c0": 1.0}}, "alike": {"share": 0.7}}
    plan = plan_of(profile, make_spec(confidence="none", traffic=traffic, tenants=who))
    mixes = {"own": [1, 0, 0], "alike": [0.2, 0.3, 0.5]}
    for name, mix in mixes.items():
        own = plan.of_tenant(name).traffic
        assert own is not None
        assert own.mix is not None
        assert list(own.mix) == ["c0", "c1", "c2"]
        assert list(own.mix.values()) == pytest.approx(mix)
        assert own.growth is not None
        assert own.growth.model_dump() == growth
        assert own.shape == tuple(shape)


@pytest.mark.parametrize("seed", range(6))
def test_policies_of_tenants_pass_their_own_check(seed: int, tmp_path: Path) -> None:
    profile = random_profile(np.random.default_rng(seed), 3, 5)
    own = {
        "acme": {"accuracy": {"overall": 0.65}},
        "bolt": {"spend": {"usd": 60.0, "per": "month"}},
        "cask": {"spend": {"usd_per_request": 1e-3}},
    }
    traffic = {"requests": 100_000, "per": "month", "growth": {"rate": 0.2, "windows": 6}}
    plan = plan_of(profile, make_spec(confidence="none", traffic=traffic, tenants=tenants(**own)))
    for name in SHARES:
        write_policy(compile_plan(plan.of_tenant(name), estimator=None), tmp_path / f"{name}.yaml")
        assert {finding.code for finding in check(tmp_path / f"{name}.yaml")} <= {"prices-none"}
