"""`inferbudget test` ends with the documented codes and says what is wrong where."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from planner.plan import CellFacts, Classes, Figures, Plan, Rung
from planner.spec import Limits, Traffic
from policies.compile import compile_plan
from policies.file import write_policy
from profiles.errors import InputError
from profiles.money import PriceCard

SMALL, LARGE = "small/single", "large/best_of_n(n=8,verifier=checker)"
HEAD = 'format_version: "1.0"\ncases:\n'
GOOD = """
  - {name: sums are easy, label: easy, prompt: 2 + 3, expect: {class: easy, strategy: small/single}}
  - name: proofs mix
    label: hard
    prompt: prove it
    expect: {rung: 0, shares: {small/single: 0.25, "large/best_of_n(n=8,verifier=checker)": 0.75}}
"""
LATE = """
  - name: late in the month only the small one is left
    label: hard
    prompt: prove it
    remaining_usd: 0.5
    requests_left: 10000
    expect: {rung: 1, strategy: small/single, bound_usd_at_most: 0.001}
"""
WRONG = "  - {name: sums are hard, label: easy, prompt: 2 + 3, expect: {class: hard}}\n"


def _rung(fraction: float, usd: float, hard: str, shares: dict[str, float]) -> Rung:
    figures = Figures(accuracy=0.8, cost_usd_per_request=usd, latency_p95_s=None)
    return Rung(
        budget_fraction=fraction,
        objective="minimize cost",
        allocation={"easy": {SMALL: 1.0}, hard: shares},
        expected=figures,
        promised=figures,
        by_class={"easy": figures, hard: figures},
        shadow_prices={},
        limits={},
    )


def _cell(accuracy: float, usd: float) -> CellFacts:
    return CellFacts(
        queries=200, accuracy=accuracy, planned_accuracy=accuracy, accuracy_se=0.02, cost_usd=usd,
        cost_se_usd=usd / 20, cost_max_usd=usd * 3, latency_p95_s=1.0, tokens_out_max=400,
        evidence=("measured",),
    )  # fmt: skip


PRICES = {"small": {"input": 0.05, "output": 0.4}, "large": {"input": 1, "output": 9}}
CELLS = {SMALL: _cell(0.5, 0.00001), LARGE: _cell(0.9, 0.005)}


def _plan(hard: str = "hard") -> Plan:
    """A rung for all the money, one for half of it; the second class has this name."""
    return Plan(
        status="optimal",
        workload="mixed",
        confidence=0.95,
        classes=Classes(source="label", names=("easy", hard), weights=(0.5, 0.5)),
        traffic=Traffic(requests=100_000, per="month"),
        limits=Limits.model_validate({"spend": {"usd": 500, "per": "month"}}),
        prices=PriceCard.model_validate({"models": PRICES}),
        cells=dict.fromkeys(("easy", hard), CELLS),
        rungs=(
            _rung(1.0, 0.004, hard, {SMALL: 0.25, LARGE: 0.75}),
            _rung(0.5, 0.0001, hard, {SMALL: 1.0}),
        ),
        best_single_strategy=None,
        spec_digest="sha256:5bec",
        profile_digest="sha256:9f0f",
        solver="HiGHS 1.12.0",
    ).sealed()


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    write_policy(compile_plan(_plan(), estimator=None), tmp_path / "policy.yaml")
    return tmp_path / "policy.yaml"


def run(*words: str | Path, ends: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["test", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == ends, done.output
    return done


def beside(policy: Path, text: str) -> Path:
    path = policy.with_name("policy.test.yaml")
    path.write_text(HEAD + text)
    return path


def test_cases_that_hold_end_with_0_and_one_line(policy: Path) -> None:
    beside(policy, GOOD + LATE)
    assert run(policy, "--require-coverage").stdout == (
        f"{policy}: 3 of 3 cases hold; they reach 2 of 2 classes, 2 of 2 rungs, 2 of 2 strategies\n"
    )


def test_a_case_that_fails_ends_with_1_and_says_where(policy: Path) -> None:
    path = beside(policy, GOOD + WRONG)
    said = run(policy, ends=1).stdout
    assert f"FAILED sums are hard\n  {path}:9:" in said
    assert '    prompt    "2 + 3"\n    expected  hard\n    got       easy\n' in said
    assert "sums are easy" not in said
    assert "2 of 3 cases hold" in said


def test_an_untested_rung_counts_only_where_coverage_is_required(policy: Path) -> None:
    beside(policy, GOOD)
    assert "not reached: rung 1" in run(policy).stdout
    assert "FAILED no case reaches rung 1\n" in run(policy, "--require-coverage", ends=1).stdout
    read = json.loads(run(policy, "--require-coverage", "--format", "json", ends=1).stdout)
    assert read["coverage"]["untested"] == ["rung 1"]
    assert read["failed"] == 0
    assert read["bounds"] == {"source": "prices", "because": None}


def test_several_files_are_asked_in_order_and_make_a_suite_each(policy: Path) -> None:
    first, second = policy.with_name("a.yaml"), policy.with_name("b.yaml")
    first.write_text(HEAD + GOOD)
    second.write_text(HEAD + WRONG)
    said = run(policy, second, first, "--format", "junit", ends=1).stdout
    root = ET.fromstring(said)  # noqa: S314 our own
    assert [suite.attrib["name"] for suite in root] == [str(second), str(first)]
    assert [suite.attrib["failures"] for suite in root] == ["1", "0"]
    assert said == run(policy, second, first, "--format", "junit", ends=1).stdout


def test_cases_that_cannot_be_read_are_refused_where_they_stand(policy: Path) -> None:
    with pytest.raises(InputError, match=r"policy\.test\.yaml.*has no cases"):
        run(policy)
    beside(policy, GOOD.replace("class: easy", "klass: easy"))
    with pytest.raises(InputError, match=r"policy\.test\.yaml:4:.*unknown key 'klass'") as refused:
        run(policy)
    assert refused.value.exit_code == 2


def test_a_changed_policy_is_asked_nothing(policy: Path) -> None:
    beside(policy, GOOD)
    policy.write_text(policy.read_text().replace("workload: mixed", "workload: other"))
    with pytest.raises(InputError, match="changed after it was compiled"):
        run(policy)


ORDERS = "ha\x1b[31mrd\n::error::pay\r\n  expected  nothing"
SHOWN = r"ha\x1b[31mrd\n::error::pay\r\n  expected  nothing"


def test_names_that_hold_orders_begin_no_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    write_policy(compile_plan(_plan(ORDERS), estimator=None), path)
    case = {"name": ORDERS, "label": ORDERS, "prompt": ORDERS, "expect": {"class": [ORDERS, "x"]}}
    other = {"name": "sums", "label": "easy", "expect": {"class": ORDERS}, "rung": 0}
    file = {"format_version": "1.0", "cases": [case, other]}
    path.with_name("policy.test.yaml").write_text(json.dumps(file))
    lines = run(path, "--require-coverage", ends=1).stdout.splitlines()
    assert all(line.isprintable() for line in lines)
    own = ("FAILED", f"  {tmp_path}", "    prompt", "    expected", "    got", "not reached: ")
    assert all(line.startswith((*own, str(path))) for line in lines if line)
    assert f"FAILED {SHOWN}" in lines
    assert f"    expected  {SHOWN}" in lines
    junit = run(path, "--format", "junit", ends=1).stdout
    assert not [line for line in junit.splitlines() if line.lstrip().startswith("::")]


def test_what_a_gateway_refuses_to_obey_is_asked_nothing(policy: Path) -> None:
    beside(policy, GOOD)
    policy.write_text(policy.read_text() + "# trust me\n")
    with pytest.raises(InputError, match="byte for byte"):
        run(policy)


def test_the_schema_of_cases_is_published() -> None:
    done = CliRunner().invoke(cli, ["schema", "cases"])
    assert json.loads(done.stdout)["title"] == "inferbudget cases"
