from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_examples import LADDER, LARGE, SMALL, compiled

from planner.plan import LimitFigures
from planner.spec import Caps, Window
from policies.explaining import (
    binding_words,
    budget_words,
    caps_words,
    drawn,
    end_words,
    evidence_words,
    giving_up_words,
    limit_words,
    sorting_words,
)
from policies.policy import Budget, Policy, PolicyRung

POLICY = compiled().policy


def rung(**changes: object) -> PolicyRung:
    return POLICY.rungs[0].model_copy(update=changes)


def changed(**changes: object) -> Policy:
    return POLICY.model_copy(update=changes)


def test_shares_are_parts_of_the_uniform_number_in_the_order_of_the_draw() -> None:
    parts = drawn(POLICY, 0, "easy")
    assert [(one.entry.text, one.begins, one.ends) for one in parts] == [
        (SMALL, 0.0, 0.7),
        (LADDER, 0.7, 1.0),
    ]
    assert [one.entry.text for one in drawn(POLICY, 0, "hard")] == [LADDER, LARGE]


@given(st.sampled_from([0, 1]), st.sampled_from(["easy", "hard"]))
@settings(max_examples=4)
def test_the_parts_of_a_class_meet_and_fill_the_whole(index: int, name: str) -> None:
    parts = drawn(POLICY, index, name)
    assert parts[0].begins == 0.0
    assert math.isclose(parts[-1].ends, 1.0, abs_tol=1e-9)
    assert all(one.ends == two.begins for one, two in pairwise(parts))


def test_a_limit_is_said_with_what_is_asked_and_what_is_promised() -> None:
    kept = LimitFigures(asked=0.75, allowed=0.75, promised=0.76, kept=True)
    assert limit_words("accuracy.overall", kept) == (
        "accuracy.overall: at least 0.75 is asked; at least 0.76 is promised"
    )
    lost = LimitFigures(asked=0.75, allowed=0.75, promised=0.7, kept=False)
    assert limit_words("accuracy.overall", lost).endswith("at least 0.7 is promised: given up")
    slow = LimitFigures(asked=2.0, allowed=0.05, promised=0.016, kept=True)
    assert limit_words("latency.p95_s", slow) == (
        "latency.p95_s: at most 2 s is asked, which 5.0 % of requests may exceed; that at most "
        "1.6 % do is promised"
    )


@pytest.mark.parametrize(
    ("objective", "prices", "words"),
    [
        (
            "minimize cost",
            {"accuracy.overall": 0.031},
            "accuracy.overall binds: one point more costs 0.31 USD per 1,000 requests",
        ),
        (
            "maximize accuracy",
            {"spend.usd_per_request": 46.0},
            "spend.usd_per_request binds: one USD more per 1,000 requests gains 4.6 points of "
            "accuracy",
        ),
        (
            "minimize cost",
            {"latency.exceedance": -0.02},
            "latency.exceedance binds: one per cent more of slow requests saves 0.2 USD per 1,000 "
            "requests",
        ),
        (
            "minimize cost",
            {"per_request.calls": -0.001},
            "per_request.calls binds: 1 calls more saves 1 USD per 1,000 requests",
        ),
        ("something new", {"x.y": 2.0}, "x.y binds: 2 of the objective per unit"),
        ("minimize cost", {}, "no limit binds: loosening one a little changes nothing"),
    ],
)
def test_what_binds_is_said_in_units_that_people_can_imagine(
    objective: str, prices: dict[str, float], words: str
) -> None:
    assert list(binding_words(rung(objective=objective, shadow_prices=prices))) == [words]


def test_what_an_older_file_did_not_record_is_said_to_be_unknown() -> None:
    bare = rung(shadow_prices=None, limits=None, by_class=None, objective=None)
    assert "does not record" in next(iter(binding_words(bare)))
    policy = changed(rungs=(bare, bare))
    assert "does not record which limits" in str(giving_up_words(policy, 1))
    strategies = tuple(
        entry.model_copy(
            update={
                "by_class": {
                    name: cell.model_copy(update={"queries": None})
                    for name, cell in entry.by_class.items()
                }
            }
        )
        for entry in POLICY.strategies
    )
    assert "does not record" in evidence_words(changed(strategies=strategies), bare)


def test_a_lower_rung_says_what_it_gives_up() -> None:
    assert giving_up_words(POLICY, 0) is None
    assert giving_up_words(POLICY, 1) == (
        "5.56 points of accuracy less, 96.9 % of the dollars saved; every limit is kept"
    )


def test_promises_name_their_confidence_and_their_evidence() -> None:
    assert evidence_words(POLICY, POLICY.rungs[0]) == (
        "promised with 95 % confidence, on 200 queries of each class and strategy"
    )
    unsure = evidence_words(changed(confidence=None), POLICY.rungs[0])
    assert unsure.startswith("nothing is promised: planned on point estimates")


def test_money_is_said_with_its_window_and_what_happens_when_it_is_gone() -> None:
    assert budget_words(POLICY.budgets[0]) == (
        "5,200 USD per month (UTC) for 1,000,000 requests, 0.0052 USD per request; what the ledger "
        "holds never exceeds it"
    )
    short, gone = end_words(POLICY)
    assert "steps down 1 rung" in short
    assert gone.endswith("refused until the month is over")
    total = Budget(usd_per_request=0.01, window=Window.TOTAL)
    assert budget_words(total) == "0.01 USD per request on average, over as many requests as come"
    assert end_words(changed(budgets=(total,)))[1].endswith("refused from then on")
    assert end_words(changed(budgets=())) == ("no budget: the first rung answers everything",)


def test_caps_are_said_where_there_are_some() -> None:
    assert list(caps_words(POLICY)) == []
    capped = changed(caps=Caps(tokens=1000, wall_s=30.0))
    assert list(caps_words(capped)) == [
        "no request takes more than 1,000 completion tokens of one call",
        "no request takes more than 30 seconds",
    ]


def test_the_way_of_sorting_is_said() -> None:
    assert sorting_words(POLICY) == "the caller sends the class; 2 classes"
    assert sorting_words(compiled("text").policy).startswith("the decision graph reads the prompt")
