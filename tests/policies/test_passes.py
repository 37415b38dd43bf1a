from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_cases import CASES, draft_of, outcome, passes_before
from policy_examples import LADDER, LARGE, SMALL, plan, rung

from planner.plan import LimitFigures, Plan
from planner.spec import Caps
from policies.compile import PASSES, compile_plan
from policies.decimals import exact
from policies.draft import Draft
from policies.text import policy_text
from profiles.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}"[:-3])
def test_a_pass_does_what_its_case_says(case: Path) -> None:
    assert outcome(case) == case.with_name(case.name.replace(".in.", ".out.")).read_text()


def test_every_pass_has_cases() -> None:
    assert {case.parent.name for case in CASES} == {one.__name__ for one in PASSES}


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}"[:-3])
def test_a_pass_applied_twice_changes_nothing_more(case: Path) -> None:
    draft = draft_of(case)
    try:
        for one in passes_before(case):
            draft = one(draft)
            assert one(draft) == draft
    except InputError:
        return


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Two rungs of any shares, crumbs among them, with a floor and money near the figures."""
    rungs = []
    for fraction in (1.0, 0.5):
        shares = [draw(_shares()) for _ in range(2)]
        one = rung(fraction, shares[0], shares[1], 0.005 * fraction)
        limits = {
            "accuracy.overall": LimitFigures(
                asked=0.75,
                allowed=0.75,
                promised=0.75 + draw(st.sampled_from([0.0, 1e-6, 0.01])),
                kept=draw(st.booleans()),
            ),
            "spend.usd_per_request": LimitFigures(
                asked=0.005, allowed=0.005, promised=0.005, kept=draw(st.booleans())
            ),
        }
        rungs.append(one.model_copy(update={"limits": limits}))
    caps = draw(st.sampled_from([None, Caps(tokens=300), Caps(usd=0.5, wall_s=9)]))
    return plan(rungs=tuple(rungs), caps=caps)


@st.composite
def _shares(draw: st.DrawFn) -> dict[str, float]:
    parts = {
        text: draw(st.one_of(st.floats(0, 1), st.floats(0, 2e-4), st.just(0.0)))
        for text in (SMALL, LADDER, LARGE)
    }
    total = sum(parts.values())
    if total < 1e-9:
        return {SMALL: 1.0}
    return {text: part / total for text, part in parts.items()}


@settings(max_examples=60, deadline=None)
@given(plans())
def test_any_plan_goes_through_every_pass_twice_as_through_once(source: Plan) -> None:
    draft = Draft(plan=source, estimator=None, warnings=source.warnings)
    for one in PASSES:
        draft = one(draft)
        assert one(draft) == draft
    for step in draft.rungs:
        for shares in step.shares.values():
            assert sum(map(exact, shares.values())) == 1
            assert min(shares.values()) > 0


@settings(max_examples=60, deadline=None)
@given(plans())
def test_a_limit_that_the_plan_kept_is_kept_by_the_policy(source: Plan) -> None:
    for step in compile_plan(source, estimator=None).policy.rungs:
        assert step.limits is not None
        floor, money = step.limits["accuracy.overall"], step.limits["spend.usd_per_request"]
        assert not floor.kept or floor.promised >= floor.allowed * (1 - 2e-9)
        assert not money.kept or money.promised <= money.allowed * (1 + 2e-9)


_COMPILE = """
import hashlib, sys
sys.path.insert(0, "tests/policies")
from policy_examples import compiled
from policies.text import policy_text
for source in ("label", "text"):
    found = compiled(source)
    print(hashlib.sha256(policy_text(found.policy).encode() + found.graph).hexdigest())
"""


def test_another_hash_seed_or_number_of_threads_gives_the_same_bytes() -> None:
    said = set()
    for seed, threads in (("0", "1"), ("1", "2"), ("4242", "4")):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": seed,
            "OMP_NUM_THREADS": threads,
        }
        run = subprocess.run(
            [sys.executable, "-c", _COMPILE],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(run.stdout)
    (lines,) = said
    assert len(lines.split()) == 2


def test_caps_of_the_spec_stand_in_the_policy_and_only_those_given() -> None:
    source = plan(caps=Caps(tokens=512, usd=0.25))
    policy = compile_plan(source, estimator=None).policy
    assert policy.caps == Caps(tokens=512, usd=0.25)
    assert (
        "caps: # of every single request\n"
        "  tokens: 512 # completion tokens of one answer of one call\n"
        "  usd: 0.25 # a strategy that may cost more is passed over\n"
    ) in policy_text(policy)
    assert [entry.max_tokens for entry in policy.strategies] == [400, 512, 512]


def test_a_policy_without_caps_says_nothing_of_them() -> None:
    policy = compile_plan(plan(), estimator=None).policy
    assert "caps:" not in policy_text(policy)
    assert "caps" not in policy.model_dump(mode="json")
