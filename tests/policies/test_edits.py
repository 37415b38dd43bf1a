from __future__ import annotations

import datetime as dt
import json

import pytest
from diff_examples import LARGE, SMALL
from diff_examples import policy as example
from generated_policies import any_policies, related_policies, sound_policies
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.plan import LimitFigures
from policies.diff import apply, diff
from policies.edits import (
    CapChanged,
    ClassChanged,
    Edit,
    FactChanged,
    LimitChanged,
    OrderChanged,
    PriceChanged,
    PromiseChanged,
    RungChanged,
    SharesMoved,
    StrategyChanged,
    WarningChanged,
    as_dict,
)
from policies.policy import Policy
from policies.text import policy_text
from profiles.digest import canonical_json
from profiles.errors import InputError


@given(related_policies())
@settings(max_examples=100, deadline=None)
def test_edits_make_one_policy_the_other(pair: tuple[Policy, Policy]) -> None:
    old, new = pair
    found = apply(diff(old, new), old)
    assert found == new
    assert found.content_digest() == new.content_digest()
    assert found.digest == new.digest
    assert policy_text(found) == policy_text(new)


@given(sound_policies(), sound_policies())
@settings(max_examples=30, deadline=None)
def test_edits_of_sound_policies_make_the_same_file(old: Policy, new: Policy) -> None:
    found = apply(diff(old, new), old)
    assert found == new
    assert policy_text(found) == policy_text(new)


@given(any_policies | sound_policies())
@settings(max_examples=30, deadline=None)
def test_a_policy_does_not_differ_from_itself(policy: Policy) -> None:
    assert diff(policy, policy) == ()
    assert diff(policy, policy.model_copy(deep=True)) == ()


@given(related_policies())
@settings(max_examples=30, deadline=None)
def test_the_same_two_policies_give_the_same_edits_and_each_is_plain_json(
    pair: tuple[Policy, Policy],
) -> None:
    old, new = pair
    found = diff(old, new)
    copies = diff(old.model_copy(deep=True), new.model_copy(deep=True))
    assert found == copies
    written = [as_dict(edit) for edit in found]
    assert json.loads(canonical_json(written)) == written


@given(related_policies())
@settings(max_examples=30, deadline=None)
def test_every_edit_changes_something_and_none_is_said_twice(pair: tuple[Policy, Policy]) -> None:
    found = [as_dict(edit) for edit in diff(*pair)]
    places = [
        canonical_json({key: part for key, part in edit.items() if key not in ("before", "after")})
        for edit in found
    ]
    assert len(set(places)) == len(places)
    assert all(canonical_json(e["before"]) != canonical_json(e["after"]) for e in found)


def changed(**parts: object) -> Policy:
    return example().model_copy(update=parts)


def only(new: Policy) -> Edit:
    (edit,) = diff(example(), new)
    assert apply([edit], example()) == new
    return edit


def test_moved_shares_are_one_edit_per_class_and_rung() -> None:
    policy = example()
    rung = policy.rungs[1]
    moved = {SMALL: 0.9, LARGE: 0.1}
    shares = {**rung.shares, "easy": moved}
    new = changed(rungs=(policy.rungs[0], rung.model_copy(update={"shares": shares})))
    assert only(new) == SharesMoved(0.5, "easy", {SMALL: 1.0}, moved)


def test_a_rung_between_two_others_is_one_edit_and_its_place() -> None:
    policy = example()
    between = policy.rungs[1].model_copy(update={"budget_fraction": 0.75})
    new = changed(rungs=(policy.rungs[0], between, policy.rungs[1]))
    added, order = diff(policy, new)
    assert added == RungChanged(0.75, None, between)
    assert order == OrderChanged("rungs", (1.0, 0.5), (1.0, 0.75, 0.5))
    assert apply((added, order), policy) == new


def test_a_strategy_that_goes_is_one_edit_and_no_other_is_touched() -> None:
    policy = example()
    new = changed(strategies=policy.strategies[1:])
    assert only(new) == StrategyChanged(SMALL, policy.strategies[0], None)


def test_a_limit_that_comes_between_others_gives_the_same_bytes() -> None:
    policy = example()
    rung = policy.rungs[0]
    overall, tail = (rung.limits or {}).items()
    limits = dict([overall, ("accuracy.by_class.easy", overall[1]), tail])
    new = changed(rungs=(rung.model_copy(update={"limits": limits}), *policy.rungs[1:]))
    assert only(new) == PromiseChanged(1.0, "accuracy.by_class.easy", None, overall[1])
    assert policy_text(apply(diff(policy, new), policy)) == policy_text(new)


def test_strategies_in_another_order_are_a_change_of_order() -> None:
    policy = example()
    new = changed(strategies=policy.strategies[::-1])
    texts = policy.strategy_texts()
    assert only(new) == OrderChanged("strategies", texts, texts[::-1])


def test_classes_change_by_name() -> None:
    classes = example().classes
    weights = changed(classes=classes.model_copy(update={"weights": (0.5, 0.3)}))
    assert only(weights) == ClassChanged("easy", 0.7, 0.5)
    more = changed(
        classes=classes.model_copy(
            update={"names": ("easy", "hard", "odd"), "weights": (0.7, 0.3, 0.0)}
        )
    )
    assert only(more) == ClassChanged("odd", None, 0.0)
    turned = changed(
        classes=classes.model_copy(
            update={"names": classes.names[::-1], "weights": classes.weights[::-1]}
        )
    )
    assert only(turned) == OrderChanged("classes", ("easy", "hard"), ("hard", "easy"))


def test_caps_promises_limits_prices_and_warnings_have_their_own_edits() -> None:
    policy = example()
    entry, rung = policy.strategies[0], policy.rungs[0]
    capped = entry.model_copy(update={"max_tokens": 99})
    edit = only(changed(strategies=(capped, *policy.strategies[1:])))
    assert edit == CapChanged(SMALL, "max_tokens", 512, 99)
    promise = LimitFigures(asked=0.75, allowed=0.75, promised=0.7, kept=False)
    limits = {**(rung.limits or {}), "accuracy.overall": promise}
    loosened = rung.model_copy(update={"limits": limits})
    edit = only(changed(rungs=(loosened, policy.rungs[1])))
    assert edit == PromiseChanged(
        1.0, "accuracy.overall", (rung.limits or {})["accuracy.overall"], promise
    )
    edit = only(changed(limits=policy.limits.model_copy(update={"latency": None})))
    assert edit == LimitChanged("latency", policy.limits.latency, None)
    models = policy.prices.models
    cheaper = models["small"].model_copy(update={"output": 0.3})
    card = policy.prices.model_copy(update={"models": {**models, "small": cheaper}})
    assert only(changed(prices=card)) == PriceChanged("small", models["small"], cheaper)
    assert only(changed(warnings=("few",))) == WarningChanged("few", None, "few")


def test_anything_else_is_a_fact_by_its_key() -> None:
    assert only(changed(confidence=0.9)) == FactChanged("confidence", 0.95, 0.9)
    card = example().prices.model_copy(update={"as_of": dt.date(2026, 5, 4)})
    edit = only(changed(prices=card))
    assert edit == FactChanged("prices.as_of", None, dt.date(2026, 5, 4))
    assert as_dict(edit)["after"] == "2026-05-04"


def test_a_name_that_stands_twice_makes_its_list_one_fact() -> None:
    policy = example()
    twice = (*policy.strategies, policy.strategies[0])
    assert only(changed(strategies=twice)) == FactChanged("strategies", policy.strategies, twice)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_zero_below_zero_is_another_number(zero: float) -> None:
    old = changed(confidence=0.0)
    assert bool(diff(old, old.model_copy(update={"confidence": zero}))) == (str(zero) == "-0.0")


def test_edits_are_refused_by_another_policy() -> None:
    policy = example()
    edits = diff(policy, changed(confidence=0.9))
    with pytest.raises(InputError, match="these edits are for another policy") as raised:
        apply(edits, changed(confidence=0.8))
    assert "confidence" in str(raised.value)
    added = diff(policy, changed(strategies=policy.strategies[:-1]))
    with pytest.raises(InputError, match="these edits are for another policy"):
        apply([*added, *added], policy)
    rungless = SharesMoved(0.125, "easy", None, {})
    with pytest.raises(InputError, match="these edits are for another policy"):
        apply([rungless], policy)
    assert apply([SharesMoved(0.5, "of nobody", None, None)], policy) == policy
    order = OrderChanged("strategies", (), ("other/single",))
    with pytest.raises(InputError, match="these edits are for another policy"):
        apply([order], policy)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_edits_come_in_the_order_of_the_file(data: st.DataObject) -> None:
    old, new = data.draw(sound_policies()), data.draw(sound_policies())
    parts = list(Policy.model_fields)
    found = [policy_part(edit) for edit in diff(old, new)]
    assert [parts.index(part) for part in found] == sorted(parts.index(part) for part in found)


def policy_part(edit: Edit) -> str:
    if isinstance(edit, FactChanged):
        return edit.key.split(".", maxsplit=1)[0]
    return edit.of if isinstance(edit, OrderChanged) else str(edit.PLACE[0])
