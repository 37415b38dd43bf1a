"""`inferbudget export`: files for other gateways, what is lost, and what was edited since."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from app.cli.main import cli
from planner.plan import read_plan
from policies.compile import compile_plan
from policies.file import write_policy
from profiles.errors import InputError

PLAN = Path(__file__).parents[1] / "policies/fixtures/labels.plan.json"
BOTH = pytest.mark.parametrize("to", ["litellm", "vllm-semantic-router"])


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Two classes by label: one has a single pass among its strategies, the other none."""
    write_policy(compile_plan(read_plan(PLAN), estimator=None), tmp_path / "policy.yaml")
    return tmp_path / "policy.yaml"


def run(*words: str | Path, ends: int = 0) -> Result:
    call = ["export", *map(str, words)]
    done = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert done.exit_code == ends, done.output
    return done


@BOTH
def test_a_plan_of_many_calls_is_refused_and_nothing_is_written(policy: Path, to: str) -> None:
    out = policy.parent / "out.yaml"
    call = ["export", str(policy), "--to", to, "-o", str(out)]
    with pytest.raises(InputError, match="cannot run what the policy plans") as error:
        CliRunner().invoke(cli, call, catch_exceptions=False, standalone_mode=False)
    assert f"{policy}:" in str(error.value)
    assert not out.exists()


@BOTH
def test_an_approximation_is_written_and_says_what_it_costs(policy: Path, to: str) -> None:
    out = policy.parent / "out.yaml"
    said = run(policy, "--to", to, "--approximate", "-o", out).stdout
    assert "lost [strategy]" in said
    assert "small/single answers: accuracy" in said
    assert said.splitlines()[-1] == f"wrote {out}"
    assert "lost [ladder]" in out.read_text()
    assert "lost [strategy]" in out.read_text()


@BOTH
def test_the_file_goes_to_stdout_and_the_report_to_stderr(policy: Path, to: str) -> None:
    for output in ((), ("-o", "-")):
        done = run(policy, "--to", to, "--approximate", *output)
        assert isinstance(yaml.safe_load(done.stdout), dict)
        assert "lost [strategy]" in done.stderr
        assert "exactly as planned" in done.stderr


@BOTH
def test_the_report_is_there_for_scripts(policy: Path, to: str) -> None:
    out = policy.parent / "out.yaml"
    said = json.loads(
        run(policy, "--to", to, "--approximate", "-o", out, "--format", "json").stdout
    )
    assert said["to"] == to
    assert said["file"] == str(out)
    assert said["planned"]["accuracy"] > said["exported"]["accuracy"]
    codes = {loss["code"] for loss in said["losses"]}
    assert {"strategy", "ladder", "promises"} <= codes
    (first, *_) = said["losses"]
    assert set(first) == {"code", "where", "what", "why", "consequence"}
    exact = {"litellm": 0.625 * 0.7, "vllm-semantic-router": 0.625 * 0.7}[to]
    assert said["exact_share"] == pytest.approx(exact)


@BOTH
def test_a_file_that_nobody_edited_says_what_the_policy_says(policy: Path, to: str) -> None:
    out = policy.parent / "out.yaml"
    run(policy, "--to", to, "--approximate", "-o", out)
    assert (
        "says what the policy says"
        in run(policy, "--to", to, "--approximate", "--check", out).stdout
    )


@BOTH
def test_an_edited_file_ends_with_a_finding(policy: Path, to: str) -> None:
    out = policy.parent / "out.yaml"
    run(policy, "--to", to, "--approximate", "-o", out)
    edited = out.read_text().replace("400", "800")
    out.write_text(edited)
    check = (policy, "--to", to, "--approximate", "--check", out)
    said = run(*check, ends=1).stdout
    assert "error [drift]" in said
    assert "max_tokens: error [drift]: expected 400; got 800" in said
    assert out.read_text() == edited
    findings = json.loads(run(*check, "--format", "json", ends=1).stdout)["findings"]
    assert {finding["code"] for finding in findings} == {"drift"}


def test_a_policy_that_was_changed_by_hand_is_not_exported(policy: Path) -> None:
    policy.write_text(policy.read_text().replace("workload: mixed", "workload: other"))
    call = ["export", str(policy), "--to", "litellm", "--approximate"]
    with pytest.raises(InputError, match="changed after it was compiled"):
        CliRunner().invoke(cli, call, catch_exceptions=False, standalone_mode=False)


def test_a_sealed_policy_that_makes_no_sense_is_not_exported(policy: Path) -> None:
    compiled = compile_plan(read_plan(PLAN), estimator=None)
    (first, *others) = compiled.policy.rungs
    without = first.model_copy(update={"shares": {"easy": first.shares["easy"]}})
    senseless = compiled.policy.model_copy(update={"rungs": (without, *others)}).sealed()
    write_policy(replace(compiled, policy=senseless), policy)
    call = ["export", str(policy), "--to", "litellm", "--approximate"]
    with pytest.raises(InputError, match="run 'inferbudget check'"):
        CliRunner().invoke(cli, call, catch_exceptions=False, standalone_mode=False)


def test_the_upstream_is_written(policy: Path) -> None:
    url = "http://models.example/v1"
    done = run(policy, "--to", "litellm", "--approximate", "--upstream", url)
    content = yaml.safe_load(done.stdout)
    assert {one["litellm_params"]["api_base"] for one in content["model_list"]} == {url}


def test_options_that_cannot_go_together_are_refused(policy: Path) -> None:
    out = policy.parent / "out.yaml"
    out.write_text("{}")
    run(policy, "--to", "litellm", "--check", out, "-o", "-", ends=2)
    run(policy, "--to", "litellm", "--format", "json", ends=2)
    run(policy, ends=2)


def test_an_output_that_cannot_be_written_is_named(policy: Path) -> None:
    call = ["export", str(policy), "--to", "litellm", "--approximate", "-o", "no/where.yaml"]
    with pytest.raises(InputError, match=r"no/where\.yaml"):
        CliRunner().invoke(cli, call, catch_exceptions=False, standalone_mode=False)
