"""Train or think longer: the cheapest set of fixed costs at every volume, against brute force."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from worlds import make_profile, make_spec, random_profile, table

from planner.explain import LimitsClashError
from planner.fees.break_even import break_even
from planner.fees.break_even_in_words import sentences
from planner.fees.envelope import candidates, lower_envelope
from planner.fees.fixed_costs import deployment, deployments, paying, settled
from planner.spec import Spec
from profiles.errors import InputError
from profiles.profile import Profile

ACCURACY = [[0.70, 0.90, 0.92], [0.40, 0.70, 0.80]]
COST = [[1e-5, 1e-3, 1e-4], [2e-5, 2e-3, 2e-4]]
"""Small in one pass, small thinking longer, tuned in one pass."""
FLOOR = 0.7


def tuning(**keys: Any) -> dict[str, Any]:
    return {"name": "tuning", "pays_for": ["m02"], "usd": 100.0, "per": "month", **keys}


def rent(usd: float = 30.0) -> dict[str, Any]:
    return {"name": "rent", "pays_for": ["m01"], "usd": usd, "per": "month"}


def spec_of(fees: list[dict[str, Any]], floor: float = FLOOR, **keys: Any) -> Spec:
    return make_spec(
        **{
            "limits": {"accuracy": {"overall": floor}},
            "traffic": {"requests": 100_000, "per": "month"},
            "fixed_costs": fees,
            **keys,
        }
    )


def by_hand(profile: Profile, floor: float, allowed: list[int]) -> float:
    """Dollars per request on point estimates, by scipy; infinite where the floor cannot be kept."""
    accuracy, cost = table(profile, "accuracy"), table(profile, "cost_usd")
    weights = np.array(profile.weights)[:, None]
    classes, n = len(weights), len(allowed)
    found = linprog(
        (weights * cost)[:, allowed].ravel(),
        A_ub=-(weights * accuracy)[:, allowed].reshape(1, -1),
        b_ub=[-floor],
        A_eq=np.kron(np.eye(classes), np.ones(n)),
        b_eq=np.ones(classes),
    )
    return np.inf if found.fun is None else float(found.fun)


def cheapest_by_hand(
    profile: Profile, floor: float, fees: list[dict[str, Any]], volumes: list[float]
) -> list[float]:
    """Least dollars of a window at every volume, over every set of fixed costs."""
    lines = []
    for size in range(len(fees) + 1):
        for paid in combinations(fees, size):
            unpaid = [fee for fee in fees if fee not in paid]
            closed = {int(model[1:]) for fee in unpaid for model in fee["pays_for"]}
            allowed = [s for s in range(len(profile.strategies)) if s not in closed]
            if allowed:
                c = by_hand(profile, floor, allowed)
                lines.append((sum(fee["usd"] for fee in paid), c))
    return [min(fees + volume * c for fees, c in lines) for volume in volumes]


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 10_000), floor=st.floats(0.3, 0.75))
def test_the_envelope_is_that_of_every_set_at_every_volume(seed: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    profile = random_profile(rng, 2, 5)
    fees = [
        {"name": f"fee {i}", "pays_for": [f"m{s:02d}" for s in rng.choice(5, 2, replace=False)],
         "usd": float(rng.uniform(1, 100)), "per": "month"}
        for i in range(3)
    ]  # fmt: skip
    spec = spec_of(fees, floor, confidence="none")
    volumes = [float(v) for v in np.geomspace(1e2, 1e8, 7)]
    expected = cheapest_by_hand(profile, floor, fees, volumes)
    if not np.isfinite(expected[0]):
        with pytest.raises(LimitsClashError):
            candidates(profile, spec)
        return
    envelope = lower_envelope(candidates(profile, spec))
    for volume, least in zip(volumes, expected, strict=True):
        assert min(one.total_usd(volume) for one in envelope) == pytest.approx(least, rel=1e-6)
        traffic = {"requests": int(volume), "per": "month"}
        asked = spec_of(fees, floor, confidence="none", traffic=traffic)
        chosen = deployment(profile, settled(profile, asked))
        assert chosen.total_usd(volume) == pytest.approx(least, rel=1e-6)


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 10_000), confidence=st.sampled_from(["none", 0.9]))
def test_sets_that_are_left_unsolved_are_nowhere_cheapest(seed: int, confidence: Any) -> None:
    rng = np.random.default_rng(seed)
    profile = random_profile(rng, 2, 4, queries=5000)
    fees = [
        {"name": f"fee {s}", "pays_for": [f"m{s:02d}"], "usd": float(rng.uniform(0, 100)),
         "per": "month"}
        for s in range(4)
    ]  # fmt: skip
    spec = spec_of(fees, 0.5, confidence=confidence)
    every = deployments(profile, spec, lambda *_: True)
    if not every:
        return
    few = candidates(profile, spec)
    assert len(few) <= len(every)
    assert [one.paid for one in lower_envelope(few)] == [one.paid for one in lower_envelope(every)]


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000), confidence=st.sampled_from(["none", 0.9]))
def test_more_volume_never_favours_dearer_requests(seed: int, confidence: Any) -> None:
    rng = np.random.default_rng(seed)
    profile = random_profile(rng, 2, 4, queries=5000)
    fees = [
        {"name": f"fee {s}", "pays_for": [f"m{s:02d}"], "usd": float(rng.uniform(1, 100)),
         "per": "month"}
        for s in range(1, 4)
    ]  # fmt: skip
    try:
        envelope = lower_envelope(candidates(profile, spec_of(fees, 0.5, confidence=confidence)))
    except LimitsClashError:
        return
    fees_usd = [one.fees_usd for one in envelope]
    per_request = [one.usd_per_request for one in envelope]
    assert fees_usd == sorted(fees_usd)
    assert per_request == sorted(per_request, reverse=True)
    volumes = np.geomspace(1, 1e9, 60)
    best = [min(range(len(envelope)), key=lambda i: envelope[i].total_usd(v)) for v in volumes]
    assert best == sorted(best)
    assert set(best) <= set(range(len(envelope)))


@settings(deadline=None, max_examples=5)
@given(usd=st.floats(1, 1e4), more=st.floats(1, 10))
def test_a_higher_fee_never_lowers_the_break_even(usd: float, more: float) -> None:
    profile = make_profile(ACCURACY, COST)
    volumes = []
    for fee in (usd, usd * more):
        envelope = lower_envelope(candidates(profile, spec_of([tuning(usd=fee)])))
        below, above = envelope
        saved = below.usd_per_request - above.usd_per_request
        volumes.append((above.fees_usd - below.fees_usd) / saved)
    assert volumes[1] >= volumes[0] * (1 - 1e-9)


def test_the_break_even_is_the_fee_over_what_a_request_saves() -> None:
    profile = make_profile(ACCURACY, COST)
    found = break_even(profile, spec_of([tuning()], confidence="none"), draws=20)
    (change,) = found.changes
    saved = by_hand(profile, FLOOR, [0, 1]) - by_hand(profile, FLOOR, [0, 1, 2])
    assert change.requests == pytest.approx(100 / saved, rel=1e-6)
    assert (change.below.paid, change.above.paid) == ((), ("tuning",))
    assert change.low is not None
    assert change.high is not None
    assert change.low < 100 / saved < change.high
    assert change.pays == 1.0
    assert change.judged_on_it == pytest.approx(change.requests)


def test_the_same_seed_gives_the_same_interval() -> None:
    profile = make_profile(ACCURACY, COST)
    once, again, other = (
        break_even(profile, spec_of([tuning()]), draws=20, seed=seed) for seed in (1, 1, 2)
    )
    assert once == again
    assert once.changes[0].low != other.changes[0].low


def test_volumes_state_the_cheapest_and_how_sure_that_is() -> None:
    profile = make_profile(ACCURACY, COST)
    found = break_even(profile, spec_of([tuning()]), volumes=[1e3, 1e7], draws=20)
    few, many = found.volumes
    assert (few.best.paid, many.best.paid) == ((), ("tuning",))
    assert (few.sure, many.sure) == (1.0, 1.0)
    for at in found.volumes:
        assert at.total_usd == at.best.total_usd(at.requests)
        assert at.next_usd is not None
        assert at.next_usd > at.total_usd


def test_promises_judged_on_fewer_requests_move_the_break_even() -> None:
    profile = make_profile(ACCURACY, COST, queries=5000)
    traffic = {"requests": 10**9, "per": "month"}
    fee = tuning(usd=0.5)
    (change,) = break_even(profile, spec_of([fee], traffic=traffic), draws=20).changes
    assert change.requests is not None
    assert change.judged_on_it is not None
    again = {"requests": round(change.requests), "per": "month"}
    (there,) = break_even(profile, spec_of([fee], traffic=again), draws=20).changes
    assert change.judged_on_it == pytest.approx(there.requests)
    assert change.judged_on_it < 0.9 * change.requests
    assert any("judged on as many" in line for line in sentences_of(profile, [fee], traffic))


def sentences_of(profile: Profile, fees: list[dict[str, Any]], traffic: Any = None) -> list[str]:
    keys = {} if traffic is None else {"traffic": traffic}
    return sentences(break_even(profile, spec_of(fees, **keys), draws=20))


def test_what_saves_nothing_never_pays_in_words() -> None:
    dearer = [[10 * c[0], c[1], 10 * c[1]] for c in COST]
    lines = sentences_of(make_profile(ACCURACY, dearer), [tuning()])
    assert lines == [
        "At any volume it is cheapest to pay for nothing.",
        "Paying for tuning never pays: it saves nothing per request, nor does it in any of 20 "
        "draws.",
    ]


def test_what_might_save_something_says_from_where_at_best() -> None:
    equal = make_profile([[0.9, 0.9]], [[1e-3, 1.01e-3]], queries=100)
    fee = {"name": "tuning", "pays_for": ["m01"], "usd": 10.0, "per": "month"}
    found = break_even(equal, spec_of([fee], 0.5), draws=60)
    (change,) = found.unused.values()
    assert change.requests is None
    assert change.high is None
    assert 0.1 < change.pays < 0.9
    assert change.low is not None
    assert change.low > 10 / 1e-3 * 0.9
    (_, line) = sentences(found)
    assert line.startswith("Paying for tuning never pays: it saves nothing per request; it does in")


def test_costs_equal_within_noise_have_an_interval_without_end() -> None:
    near = make_profile([[0.9, 0.9]], [[1.005e-3, 1e-3]], queries=100)
    fee = {"name": "tuning", "pays_for": ["m01"], "usd": 10.0, "per": "month"}
    found = break_even(near, spec_of([fee], 0.5), draws=60)
    (change,) = found.changes
    assert change.requests == pytest.approx(10 / 5e-6)
    assert change.high is None
    (_, line) = sentences(found)
    assert "or more); the costs per request are equal within noise" in line


def test_what_the_limits_need_is_paid_at_any_volume() -> None:
    lines = sentences_of(make_profile(ACCURACY, COST), [rent(), tuning()])
    assert lines[0] == (
        "At low volumes it is cheapest to pay for rent: nothing with lower fixed costs keeps the "
        "limits, however few the requests a month."
    )
    assert lines[1].startswith("From ")
    assert "pay for tuning (95 % interval" in lines[1]


def test_what_costs_nothing_is_paid() -> None:
    found = break_even(make_profile(ACCURACY, COST), spec_of([tuning(usd=0.0)]), draws=20)
    assert [one.paid for one in found.envelope] == [("tuning",)]
    assert sentences(found) == [
        "At any volume it is cheapest to pay for tuning, which costs nothing."
    ]


def test_where_nothing_keeps_the_limits_the_clash_is_explained() -> None:
    with pytest.raises(LimitsClashError, match=r"accuracy\.overall"):
        break_even(make_profile(ACCURACY, COST), spec_of([tuning()], 0.99), draws=20)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fixed_costs": []}, "needs a cost that requests do not change"),
        ({"pay": ["tuning"]}, "already says what is paid"),
    ],
)
def test_a_spec_that_has_no_break_even_is_refused(keys: dict[str, Any], message: str) -> None:
    spec = make_spec(
        **{"traffic": {"requests": 1000, "per": "month"}, "fixed_costs": [tuning()], **keys}
    )
    with pytest.raises(InputError, match=message):
        break_even(make_profile(ACCURACY, COST), spec)


@pytest.mark.parametrize(
    ("keys", "where", "instead"),
    [
        (
            {"limits": {"spend": {"usd": 9.0, "per": "month"}}},
            "limits.spend.usd",
            "usd_per_request",
        ),
        (
            {"limits": {"energy": {"kwh": 1.0, "per": "month"}}},
            "limits.energy.kwh",
            "joules_per_request",
        ),
        (
            {"limits": {"carbon": {"kg": 1.0, "per": "month", "g_per_kwh": 400}}},
            "limits.carbon.kg",
            "g_per_request",
        ),
        ({"limits": {"gpu": {"a100": {"gpus": 8}}}}, "limits.gpu.a100.gpus", "gpu_s_per_request"),
        (
            {"tenants": {"acme": {"share": 1.0, "spend": {"usd": 9.0, "per": "month"}}}},
            "tenants.acme.spend.usd",
            "usd_per_request",
        ),
    ],
)
def test_sums_of_one_volume_have_no_break_even(
    keys: dict[str, Any], where: str, instead: str
) -> None:
    with pytest.raises(InputError, match="is a limit for one volume") as raised:
        break_even(make_profile(ACCURACY, COST), spec_of([tuning()], **keys))
    assert raised.value.where == where
    assert f"give {instead}, or leave the limit out" in str(raised.value)


def test_means_per_request_hold_at_any_volume() -> None:
    limits = {"accuracy": {"overall": FLOOR}, "spend": {"usd_per_request": 1e-2}}
    found = break_even(make_profile(ACCURACY, COST), spec_of([tuning()], limits=limits), draws=20)
    assert found.changes[0].requests is not None


def test_a_volume_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="a number above 0"):
        break_even(make_profile(ACCURACY, COST), spec_of([tuning()]), volumes=[0.0])


def test_more_paid_for_never_costs_more_per_request() -> None:
    profile = random_profile(np.random.default_rng(5), 3, 5)
    fees = [tuning(), rent(), {**rent(), "name": "other", "pays_for": ["m04"]}]
    spec = spec_of(fees, 0.5)
    every, some = (
        deployment(profile, paying(spec, names)).usd_per_request
        for names in (["tuning", "rent", "other"], ["rent"])
    )
    assert every <= some * (1 + 1e-9)
