"""What others wrote into a policy is shown as text: no terminal and no CI job obeys it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from policy_examples import SMALL, compiled

from app.cli.main import cli
from policies.arithmetic import arithmetic_findings
from policies.file import CompiledPolicy, write_policy
from policies.findings import Finding, Severity
from policies.limit_checks import limit_findings
from policies.policy import Policy
from policies.semantics import semantic_findings
from policies.source import Source
from policies.text import policy_text
from policies.versions import parse_policy
from profiles.errors import InputError
from profiles.visible import LONGEST_NAME, LONGEST_QUOTE, escaped, escaped_lines, shortened

ORDERS = "::error::pay\n::error file=x::now\n  ##[add-mask]\x1b[2J\u200b\u3164\u202e"


def renamed(old: str, new: str) -> Policy:
    """The compiled policy with one text for another, wherever it stands."""
    written = json.dumps(compiled().policy.model_dump(mode="json"))
    return Policy.model_validate_json(
        written.replace(f'"{old}"', json.dumps(new)).replace(
            f'"accuracy.by_class.{old}"', json.dumps(f"accuracy.by_class.{new}")
        )
    ).sealed()


def write(policy: Policy, folder: Path) -> Path:
    path = folder / "policy.yaml"
    write_policy(CompiledPolicy(policy, compiled().graph), path)
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def obeys_nothing(said: str) -> bool:
    return all(
        line.isprintable() and not line.lstrip().startswith("::") and "##[" not in line
        for line in said.split("\n")
    )


@pytest.mark.parametrize("old", ["easy", SMALL, "mixed"])
def test_no_name_of_a_policy_gives_an_order(tmp_path: Path, old: str) -> None:
    path = write(renamed(old, ORDERS), tmp_path)
    for form in ("text", "markdown"):
        done = run("explain", path, "--format", form)
        assert done.exit_code == 0, done.output
        assert obeys_nothing(done.output)
        assert "error" in done.output
    done = run("check", path)
    assert obeys_nothing(done.output)
    path.write_text(path.read_text().replace(": 0.333333\n", ": 0.3\n").replace("0.625", "0.6"))
    done = run("check", path)
    assert done.exit_code == 1
    assert obeys_nothing(done.output)
    for form in ("json", "sarif"):
        done = run("check", path, "--format", form)
        assert obeys_nothing(done.output)
        assert json.loads(done.output)


def test_a_file_that_is_no_policy_gives_no_order(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    for text in (
        'format_version: "1.1"\n"a\\n::error::b": 1\n',
        'format_version: "1.1"\n? "::error::b"\n: {c: [}\n',
        'format_version: "::error::b"\n',
        "format_version: |\n  \n  ::error::b\n",
        'format_version: "1.1"\n"::error::\\n::b": 1\n"::error::\\n::b": 2\n',
    ):
        path.write_text(text)
        done = run("check", path)
        assert done.exit_code == 1
        assert obeys_nothing(done.output)


def test_the_lines_that_fmt_would_change_give_no_order(tmp_path: Path) -> None:
    path = write(compiled().policy, tmp_path)
    odd = 'workload:\n  "mixed\n  ::error::x"\n'
    policy = renamed("mixed", "mixed ::error::x")
    path.write_text(policy_text(policy).replace('workload: "mixed ::error::x"\n', odd))
    assert "\n  ::error" in path.read_text()
    done = run("fmt", "--check", path)
    assert done.exit_code == 1
    assert obeys_nothing(done.output)


@given(st.text())
def test_a_text_on_lines_of_its_own_gives_no_order(text: str) -> None:
    shown = escaped_lines(text)
    assert obeys_nothing(shown)
    assert escaped_lines(shown) == shown


def test_marks_that_nobody_sees_are_written_out() -> None:
    assert escaped("a\u3164b\u115fc\ufe0fd\u2800") == r"a\u3164b\u115fc\ufe0fd\u2800"
    assert escaped("naïve 模型 😀") == "naïve 模型 😀"


def test_further_lines_of_a_finding_stand_behind_a_bar() -> None:
    finding = Finding(Severity.ERROR, "stale", "a\n::b", "differs:\n::error::x\n+ y", "do\n::it")
    assert finding.text().split("\n") == [
        r"a\n::b: error [stale]: differs:",
        "  | ::error::x",
        "  | + y",
        r"  next: do\n::it",
    ]


@given(st.text(), st.integers(60, 200))
def test_what_is_long_is_cut_in_its_middle_and_says_by_how_much(text: str, most: int) -> None:
    long = text * most + "the end"
    found = shortened(long, most)
    assert len(found) <= most
    if found != long:
        head, _, rest = found.partition("[... ")
        count, _, tail = rest.partition(" characters cut ...]")
        assert len(head) + int(count.replace(",", "")) + len(tail) == len(long)
        assert long.startswith(head)
        assert long.endswith(tail)
        assert tail.endswith("the end"[-len(tail) :])


@pytest.mark.parametrize("old", ["easy", SMALL])
def test_no_finding_is_longer_than_people_read(old: str) -> None:
    policy = renamed(old, "very " * 20_000)
    policy = policy.model_copy(update={"classes": compiled().policy.classes})
    source = Source.of("policy.yaml", policy_text(policy))
    checks = (semantic_findings, arithmetic_findings, limit_findings)
    found = [one for check in checks for one in check(policy, source)]
    assert found
    for finding in found:
        assert len(finding.text()) < 6 * LONGEST_NAME


def test_no_error_of_reading_is_longer_than_people_read() -> None:
    long = "x" * 300_000
    for text in (
        f'format_version: "1.1"\n{long}: 1\n',
        f'format_version: "1.1"\n{"y" * 900}: {{{long[:1000]}: [}}\n',
        f'format_version: "{long}"\n',
        f'format_version: "1.1"\n"{long}": 1\n"{long}": 1\n',
        f'format_version: "1.1"\na: 1.{"1" * 100_000}\n',
    ):
        with pytest.raises(InputError) as refused:
            parse_policy(text, "policy.yaml")
        assert len(str(refused.value)) < 4 * LONGEST_QUOTE


def test_formatting_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = write(compiled().policy, tmp_path / "there")
    good = target.read_text()
    target.write_text(good.replace("workload: mixed", "workload:  mixed"))
    link = tmp_path / "policy.yaml"
    link.symlink_to(target)
    done = run("fmt", link)
    assert done.exit_code == 0
    assert link.is_symlink()
    assert target.read_text() == good
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.yaml", "there"]
