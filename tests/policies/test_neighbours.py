"""What other gateways can run of a policy, and what the export says is lost."""

from __future__ import annotations

from typing import Any

import pytest
from policy_examples import LARGE, SMALL, cell, compiled, plan, rung, text_plan, words_estimator

from planner.spec import Caps, Window
from policies.compile import compile_plan
from policies.neighbours.export import Export, Neighbour, export
from policies.neighbours.expressed import Part, SpendLimit
from policies.neighbours.litellm import LITELLM
from policies.neighbours.vllm_semantic_router import VLLM_SEMANTIC_ROUTER
from policies.policy import Policy
from profiles.errors import InputError

COLD = "small/single(max_tokens=256,temperature=0,top_p=0.9)"
BIG = "large/single"
NEIGHBOURS = [LITELLM, VLLM_SEMANTIC_ROUTER]


def policy(easy: dict[str, float], hard: dict[str, float], **changes: Any) -> Policy:
    """A policy with these shares on its first rung and two single passes to fall back on."""
    cells = {
        "easy": {COLD: cell(0.9, 0.00001), BIG: cell(0.95, 0.001), LARGE: cell(0.97, 0.01)},
        "hard": {COLD: cell(0.3, 0.00002), BIG: cell(0.7, 0.003), LARGE: cell(0.8, 0.02, 5120)},
    }
    rungs = (rung(1.0, easy, hard, 0.005), rung(0.5, {COLD: 1.0}, {BIG: 1.0}, 0.0002))
    return compile_plan(plan(cells=cells, rungs=rungs, **changes), estimator=None).policy


def exported(found: Policy, to: Neighbour, *, approximate: bool = False) -> Export:
    return export(found, to, lambda *keys: f"policy.yaml: {keys}", approximate=approximate)


def codes(found: Export) -> list[str]:
    return [loss.code for loss in found.losses]


def test_litellm_deals_a_class_by_share_and_carries_caps_sampling_and_prices() -> None:
    found = exported(policy({COLD: 0.7, BIG: 0.3}, {BIG: 1.0}), LITELLM)
    assert found.expressed.classes == {
        "easy": (
            Part("small", 0.7, 256, 0.0, 0.9, input_usd=0.05, output_usd=0.4),
            Part("large", 0.3, 400, input_usd=1.25, output_usd=10.0),
        ),
        "hard": (Part("large", 1.0, 400, input_usd=1.25, output_usd=10.0),),
    }
    assert found.exact_share == 1.0
    assert found.before == found.after
    assert codes(found) == ["ladder", "promises", "caps", "holds", "windows"]


def test_the_router_sends_a_class_to_one_model_and_says_that_it_sets_no_temperature() -> None:
    found = exported(policy({COLD: 1.0}, {BIG: 1.0}), VLLM_SEMANTIC_ROUTER)
    assert [part.model for parts in found.expressed.classes.values() for part in parts] == [
        "small",
        "large",
    ]
    assert found.exact_share == 0.375  # a temperature that the caller must bring is not exact
    assert codes(found) == ["sampling", "ladder", "promises", "budget", "bypass", "refusal"]


@pytest.mark.parametrize("to", NEIGHBOURS, ids=lambda to: to.name)
def test_a_strategy_of_many_calls_never_becomes_a_single_pass_in_silence(to: Neighbour) -> None:
    with pytest.raises(InputError, match=r"(?s)'hard'.*best_of_n.*--approximate") as error:
        exported(policy({COLD: 1.0}, {LARGE: 1.0}), to)
    assert "('rungs', 0, 'shares', 'hard')" in str(error.value)


def test_the_router_refuses_shares_that_it_cannot_deal() -> None:
    with pytest.raises(InputError, match=r"one single pass for the class.*70 %.*30 %"):
        exported(policy({COLD: 0.7, BIG: 0.3}, {BIG: 1.0}), VLLM_SEMANTIC_ROUTER)


def test_an_approximation_takes_the_single_pass_of_nearest_accuracy_and_says_what_it_costs() -> (
    None
):
    found = exported(policy({COLD: 1.0}, {BIG: 0.25, LARGE: 0.75}), LITELLM, approximate=True)
    (part,) = found.expressed.classes["hard"]
    assert (part.model, part.share) == ("large", 1.0)
    (loss,) = [loss for loss in found.losses if loss.code == "strategy"]
    assert loss.what == f"75 % of class 'hard', planned for {LARGE}"
    assert f"{BIG} answers: accuracy 80.0 % -> 70.0 %" in loss.consequence
    assert "USD per request 0.02 -> 0.003" in loss.consequence
    assert found.exact_share == pytest.approx(0.625 + 0.375 * 0.25)
    assert found.before.accuracy == pytest.approx(0.625 * 0.9 + 0.375 * (0.25 * 0.7 + 0.75 * 0.8))
    assert found.after.accuracy == pytest.approx(0.625 * 0.9 + 0.375 * 0.7)
    assert found.after.cost_usd == pytest.approx(0.625 * 0.00001 + 0.375 * 0.003)


def test_an_approximation_of_shares_is_held_against_the_mean_of_their_class() -> None:
    mixed = policy({COLD: 0.1, BIG: 0.9}, {BIG: 1.0})
    found = exported(mixed, VLLM_SEMANTIC_ROUTER, approximate=True)
    (part,) = found.expressed.classes["easy"]
    assert part.model == "large"
    assert "accuracy 94.5 % -> 95.0 %" in found.losses[0].consequence


def test_what_a_cell_does_not_know_stays_unknown() -> None:
    known = policy({COLD: 1.0}, {LARGE: 1.0})
    entries = tuple(
        entry.model_copy(update={"by_class": {"easy": entry.by_class["easy"]}})
        for entry in known.strategies
    )
    found = exported(known.model_copy(update={"strategies": entries}), LITELLM, approximate=True)
    assert "accuracy unknown -> unknown, USD per request unknown -> unknown" in (
        found.losses[0].consequence
    )
    assert found.after.accuracy is None
    assert found.after.text() == "accuracy unknown, USD/request unknown"


def test_without_weights_no_share_of_the_traffic_is_known() -> None:
    known = policy({COLD: 1.0}, {BIG: 1.0})
    classes = known.classes.model_copy(update={"weights": None})
    found = exported(known.model_copy(update={"classes": classes}), LITELLM)
    assert found.exact_share is None
    assert found.before.accuracy is None


def test_an_approximation_needs_a_single_pass_to_approximate_with() -> None:
    only = compiled().policy
    entries = tuple(entry for entry in only.strategies if entry.text != SMALL)
    shares = {name: {LARGE: 1.0} for name in only.classes.names}
    changed = only.model_copy(
        update={
            "strategies": entries,
            "rungs": (only.rungs[0].model_copy(update={"shares": shares}),),
        }
    )
    with pytest.raises(InputError, match="no single pass of this policy can take the place"):
        exported(changed, LITELLM, approximate=True)


def test_a_graph_that_sorts_by_text_is_lost() -> None:
    by_text = compile_plan(text_plan(), estimator=words_estimator()).policy
    found = exported(by_text, LITELLM, approximate=True)
    assert "classes" in codes(found)


def test_caps_become_caps_and_a_timeout_and_one_in_dollars_is_lost() -> None:
    capped = policy({COLD: 1.0}, {BIG: 1.0}).model_copy(
        update={"caps": Caps(tokens=100, wall_s=2.5, usd=0.1)}
    )
    found = exported(capped, LITELLM)
    parts = [part for parts in found.expressed.classes.values() for part in parts]
    assert [part.max_tokens for part in parts] == [100, 100]
    assert found.expressed.wall_s == 2.5
    assert "request-cap" in codes(found)


def test_litellm_gets_the_budget_of_the_longest_window_and_the_others_are_lost() -> None:
    known = policy({COLD: 1.0}, {BIG: 1.0})
    (month,) = known.budgets
    day = month.model_copy(update={"window": Window.DAY, "limit_usd": 200.0})
    mean = month.model_copy(update={"window": Window.TOTAL, "limit_usd": None, "requests": None})
    both = Policy.model_validate(
        {**known.model_dump(), "budgets": [one.model_dump() for one in (day, month, mean)]}
    )
    found = exported(both, LITELLM)
    assert found.expressed.spend == (SpendLimit(month.limit_usd or 0, "month"),)
    lost = [loss.what for loss in found.losses if loss.code == "budget"]
    assert lost == ["the budget per day", "the limit on mean dollars per request"]


def test_a_model_without_a_price_is_counted_by_nobody_s_price() -> None:
    known = policy({COLD: 1.0}, {BIG: 1.0})
    found = exported(
        known.model_copy(update={"prices": known.prices.model_copy(update={"models": {}})}),
        LITELLM,
    )
    assert "prices" in codes(found)
    assert found.expressed.classes["easy"][0].input_usd is None


def test_a_price_is_the_dearest_of_its_side_as_the_runtime_charges() -> None:
    known = policy({COLD: 1.0}, {BIG: 1.0})
    models = dict(known.prices.models)
    models["small"] = models["small"].model_copy(update={"cached": 0.01, "reasoning": 0.8})
    prices = known.prices.model_copy(update={"models": models})
    found = exported(known.model_copy(update={"prices": prices}), LITELLM)
    (part,) = found.expressed.classes["easy"]
    assert (part.input_usd, part.output_usd) == (0.05, 0.8)


def test_two_strategies_that_are_one_call_there_are_one_deployment() -> None:
    capped = "small/single(max_tokens=400)"
    cells = {name: {SMALL: cell(0.9, 1e-5), capped: cell(0.9, 1e-5)} for name in ("easy", "hard")}
    shares = {SMALL: 0.4, capped: 0.6}
    two = plan(cells=cells, rungs=(rung(1.0, shares, shares, 1e-5),))
    found = exported(compile_plan(two, estimator=None).policy, LITELLM)
    assert found.expressed.classes["easy"] == (
        Part("small", 1.0, 400, input_usd=0.05, output_usd=0.4),
    )


def test_the_written_file_says_at_its_head_what_it_lacks() -> None:
    found = exported(policy({COLD: 1.0}, {BIG: 1.0}), LITELLM)
    text = found.text("http://upstream/v1")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("# Written by 'inferbudget export' for LiteLLM")
    assert f"# Policy {found.digest}." in comments
    for loss in found.losses:
        assert f"#   instead: {loss.consequence}" in comments
    assert text == found.text("http://upstream/v1")
