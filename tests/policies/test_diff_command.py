"""`inferbudget diff`: files, standard input and no policy at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from diff_examples import NEW_SHARES, policy

from app.cli.main import cli
from policies.diff import diff
from policies.edits import as_dict
from policies.policy import Policy
from policies.text import policy_text
from profiles.errors import ExitCode, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two policies without their graphs."""
    (tmp_path / "old.yaml").write_text(policy_text(policy()))
    (tmp_path / "new.yaml").write_text(policy_text(policy(NEW_SHARES)))
    return tmp_path


def run(*words: object, given: str | None = None) -> Result:
    call = ["diff", *map(str, words)]
    return CliRunner().invoke(cli, call, input=given, standalone_mode=False)


def test_the_graphs_beside_the_files_are_not_needed(folder: Path) -> None:
    done = run(folder / "old.yaml", folder / "new.yaml")
    assert done.exception is None, done.output
    assert done.stdout.startswith("Monthly spend +22.5 USD (+1.5 %), accuracy +1.3 points (+1.0..")


def test_markdown_starts_with_the_marker(folder: Path) -> None:
    done = run(folder / "old.yaml", folder / "new.yaml", "--format", "markdown")
    assert done.stdout.startswith("<!-- inferbudget -->\n\n**Monthly spend +22.5 USD")


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_nothing_is_printed_where_nothing_changed(folder: Path, form: str) -> None:
    done = run(folder / "old.yaml", folder / "old.yaml", "--format", form, "--exit-code")
    assert (done.stdout, done.return_value) == ("", None)


def test_exit_code_1_says_that_they_differ(folder: Path) -> None:
    words = (folder / "old.yaml", folder / "new.yaml")
    assert code(run(*words)) == ExitCode.DONE
    assert code(run(*words, "--exit-code")) == ExitCode.FINDING


def code(done: Result) -> int:
    return done.return_value or done.exit_code


def test_json_has_every_figure_and_every_edit(folder: Path) -> None:
    found = json.loads(run(folder / "old.yaml", folder / "new.yaml", "--format", "json").stdout)
    assert found["format_version"] == "1.0"
    assert found["differ"] is True
    assert found["before"]["digest"] == policy().digest
    assert found["edits"] == [as_dict(edit) for edit in diff(policy(), policy(NEW_SHARES))]
    accuracy = found["effects"]["first"]["accuracy"]
    total = sum(part["value"] for part in accuracy["parts"])
    assert total == pytest.approx(accuracy["change"]["change"])
    assert accuracy["change"]["low"] < accuracy["change"]["change"] < accuracy["change"]["high"]
    same = json.loads(run(folder / "old.yaml", folder / "old.yaml", "--format", "json").stdout)
    assert (same["differ"], same["edits"]) == (False, [])


def test_either_side_may_come_from_standard_input(folder: Path) -> None:
    old = (folder / "old.yaml").read_text()
    expected = run(folder / "old.yaml", folder / "new.yaml").stdout
    assert run("-", folder / "new.yaml", given=old).stdout == expected
    done = run("-", "-", given=old)
    assert "standard input holds one policy" in str(done.exception)


def test_no_policy_before_is_a_new_policy_and_none_after_a_removed_one(folder: Path) -> None:
    new = run("/dev/null", folder / "old.yaml", "--exit-code")
    assert new.stdout.startswith("New policy: monthly spend 1,513 USD, accuracy 85.2 %, p95 2 s; ")
    assert code(new) == ExitCode.FINDING
    assert run(folder / "old.yaml", "/dev/null").stdout.startswith("Policy removed: monthly spend")
    assert "neither OLD nor NEW" in str(run("/dev/null", "/dev/null").exception)


def test_a_policy_that_was_edited_by_hand_is_refused(folder: Path) -> None:
    path = folder / "new.yaml"
    path.write_text(path.read_text().replace("workload: support", "workload: other"))
    done = run(folder / "old.yaml", path)
    assert isinstance(done.exception, InputError)
    assert "the policy was changed after it was compiled" in str(done.exception)
    assert "new.yaml:" in str(done.exception)


def test_a_policy_of_format_1_0_is_compared_as_far_as_it_says(folder: Path) -> None:
    old = policy()
    rungs = tuple(
        rung.model_copy(update={"by_class": None, "limits": None, "shadow_prices": None})
        for rung in old.rungs
    )
    classes = old.classes.model_copy(update={"weights": None})
    older: Policy = old.model_copy(update={"rungs": rungs, "classes": classes}).sealed()
    (folder / "old.yaml").write_text(policy_text(older))
    done = run(folder / "old.yaml", folder / "new.yaml")
    assert done.exception is None, done.output
    assert "accuracy +1.3 points (interval unknown)" in done.stdout
    assert "does not say what it promised" in done.stdout


def test_it_starts_without_solver_store_or_runtime(folder: Path) -> None:
    heavy = ("pyomo", "highspy", "duckdb", "streamlit", "onnxruntime", "onnx", "numpy")
    script = (
        "import sys; from app.cli.main import cli; "
        f"cli(['diff', {str(folder / 'old.yaml')!r}, {str(folder / 'new.yaml')!r}], "
        "standalone_mode=False); "
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
