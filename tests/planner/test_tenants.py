"""Tenants have limits of their own and share what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from worlds import make_spec, random_profile, shares, table

from planner.explain import LimitsClashError
from planner.planner import Planner
from planner.solve import solve
from policies.compile import compile_plan
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
