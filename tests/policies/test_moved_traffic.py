"""Traffic that a change of policy moves."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
from diff_examples import BEST, CELLS, LARGE, NEW_SHARES, OLD_SHARES, SMALL, policy
from generated_policies import any_policies, sound_policies
from hypothesis import given

from policies.diff_report import Difference
from policies.effects import effects
from policies.moved_traffic import Flow, flows
from policies.policy import Policy, PolicyClasses


def between(old: Policy, new: Policy) -> tuple[Flow, ...]:
    return flows(effects(old, new).first)


def test_a_strategy_keeps_what_it_can_and_others_gain_in_proportion() -> None:
    old = {"easy": {SMALL: 1.0}, "hard": {SMALL: 0.5, LARGE: 0.5}}
    new = {"easy": {SMALL: 1.0}, "hard": {SMALL: 0.1, LARGE: 0.6, BEST: 0.3}}
    found = between(policy(old), policy(new))
    hard = [(f.before, f.after, f.of_class, f.of_all) for f in found if f.class_name == "hard"]
    expected = [
        (SMALL, SMALL, 0.1, 0.03),
        (SMALL, LARGE, 0.1, 0.03),
        (SMALL, BEST, 0.3, 0.09),
        (LARGE, LARGE, 0.5, 0.15),
    ]
    assert sorted(h[:2] for h in hard) == sorted(e[:2] for e in expected)
    by_pair = {h[:2]: h[2:] for h in hard}
    for before, after, of_class, of_all in expected:
        assert by_pair[before, after] == pytest.approx((of_class, of_all))
    (easy,) = [flow for flow in found if flow.class_name == "easy"]
    assert (easy.moves, easy.of_class, easy.of_all) == (False, 1.0, 0.7)


def test_the_same_policy_moves_nothing() -> None:
    assert not any(flow.moves for flow in between(policy(), policy()))


def test_a_class_of_one_policy_alone_has_no_flow() -> None:
    cells = {**CELLS, "odd": CELLS["hard"]}
    new = policy(
        {"easy": {SMALL: 1.0}, "odd": {LARGE: 1.0}}, cells=cells, weights={"easy": 0.7, "odd": 0.3}
    )
    assert {flow.class_name for flow in between(policy(), new)} == {"easy"}
    assert flows(effects(None, policy()).first) == ()
    assert flows(effects(policy(), None).first) == ()


def test_without_a_recorded_mix_shares_of_all_requests_are_not_known() -> None:
    unweighed = PolicyClasses(source="label", names=("easy", "hard"), weights=None)
    new = policy(NEW_SHARES).model_copy(update={"classes": unweighed}).sealed()
    found = between(policy(OLD_SHARES), new)
    assert found
    assert {flow.of_all for flow in found} == {None}


def test_the_command_prints_every_flow() -> None:
    found = Difference.of(policy(), policy(NEW_SHARES))
    assert found.as_dict()["flows"] == [
        {
            "class_name": flow.class_name,
            "before": flow.before,
            "after": flow.after,
            "of_class": flow.of_class,
            "of_all": flow.of_all,
        }
        for flow in flows(found.effects.first)
    ]


@given(sound_policies(), sound_policies())
def test_what_flows_adds_up_to_both_policies(old: Policy, new: Policy) -> None:
    rung = effects(old, new).first
    sums: dict[tuple[str, str, str], float] = defaultdict(float)
    for flow in flows(rung):
        sums["before", flow.class_name, flow.before] += flow.of_class
        sums["after", flow.class_name, flow.after] += flow.of_class
    for one in rung.classes:
        if one.shares_before is None or one.shares_after is None:
            continue
        for side, shares in (("before", one.shares_before), ("after", one.shares_after)):
            for text, share in shares.items():
                found = sums[side, one.name, text]
                assert math.isclose(found, share, abs_tol=1e-6), (side, one.name, text)


@given(any_policies | sound_policies(), any_policies | sound_policies())
def test_no_flow_is_negative_or_more_than_its_class(old: Policy, new: Policy) -> None:
    for flow in flows(effects(old, new).first):
        assert 0 < flow.of_class <= 1 + 1e-9
        assert flow.of_all is None or 0 <= flow.of_all <= 1 + 1e-9
