"""`inferbudget plan explain`, and the group that `plan` is: a command with commands below it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result

from app.cli.main import cli
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

SPEC = """format_version: "1.0"
workload: w
limits: {accuracy: {overall: 0.75}}
"""
CHANCES = {
    "small/single": (0.95, 0.3, 0.001),
    "large/single": (0.97, 0.9, 0.010),
    "huge/single": (0.96, 0.88, 0.020),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(3)
    rows, queries = [], []
    for i in range(600):
        hard = i % 3 == 0
        queries.append(Query(f"q{i:03}", None, "hard" if hard else "easy"))
        for name, (easy, difficult, usd) in CHANCES.items():
            right = float(rng.random() < (difficult if hard else easy))
            cost = usd * rng.uniform(0.8, 1.2)
            rows.append(Observation("w", f"q{i:03}", name, 0, right, cost_usd=cost))
    path = tmp_path_factory.mktemp("explained") / "store.duckdb"
    with Store.open(path) as opened:
        opened.add_queries("w", queries)
        opened.add(rows)
    (path.parent / "spec.yaml").write_text(SPEC)
    return path


def run(store: Path, *words: str, spec: str = SPEC, given: str | None = None) -> Result:
    if given is None:
        (store.parent / "spec.yaml").write_text(spec)
    name = "-" if given else str(store.parent / "spec.yaml")
    call = ["plan", "explain", name, "--profiles", str(store), *words]
    return CliRunner().invoke(cli, call, input=given, standalone_mode=False)


def as_json(store: Path, *words: str, spec: str = SPEC) -> Any:
    done = run(store, "--format", "json", *words, spec=spec)
    assert done.exception is None, done.output
    return json.loads(done.stdout)


def test_json_has_every_price_reason_and_flip_with_its_words(store: Path) -> None:
    found = as_json(store)
    assert found["format_version"] == "1.0"
    (floor,) = found["limits"]
    assert (floor["name"], floor["asked"], floor["binds"]) == ("accuracy.overall", 0.75, True)
    assert "the last point of accuracy.overall costs " in floor["words"]
    assert [one["without"] for one in found["without"]] == ["accuracy.overall", "confidence"]
    by_name = {one["strategy"]: one for one in found["strategies"]}
    assert set(by_name) == set(CHANCES)
    assert by_name["huge/single"]["dominated_by"]
    assert {one["kind"] for one in found["flips"]} <= {
        "price", "accuracy", "class share", "limit"
    }  # fmt: skip
    assert found["place"] in {"below", "at", "beyond", None}
    assert found["advice"]["summary"]


def test_text_and_markdown_say_the_same(store: Path) -> None:
    text, markdown = (run(store, "--format", name).stdout for name in ("text", "markdown"))
    for said in (text, markdown):
        assert "the last point of accuracy.overall costs " in said
        assert "certainty costs " in said
        assert "dominated by " in said
        assert "What would flip it" in said
        assert "What to measure next" in said
    assert "| --- | --- |" in markdown
    assert "**What would flip it**" in markdown


def test_what_matters_most_is_said_of_the_change_that_is_asked_for(store: Path) -> None:
    found = as_json(store, "--swing", "0.1")
    assert found["swing"] == 0.1
    assert {one["kind"] for one in found["swings"]} == {
        "price", "accuracy", "class share", "limit"
    }  # fmt: skip
    sides = [one[side] for one in found["swings"] for side in ("less", "more") if one[side]]
    assert {abs(side["by"]) for side in sides} == {0.1}
    said = run(store, "--swing", "0.1").stdout
    assert "What matters most" in said
    assert "10 % less" in said
    assert "counted in USD per 1,000 requests" in said
    largest = found["swings"][0]["words"]
    assert largest["number"] in said
    assert largest["less"] in said
    assert "not tried: " in run(store, "--solves", "3").stdout
    done = run(store, "--swing", "1")
    assert getattr(done.exception, "exit_code", None) == 2


def test_a_spec_from_stdin_is_explained_alike(store: Path) -> None:
    assert run(store, "--solves", "0", given=SPEC).stdout == run(store, "--solves", "0").stdout


def test_limits_that_clash_end_with_the_menu_of_plan(store: Path) -> None:
    done = run(store, spec=SPEC.replace("0.75", "0.999"))
    assert getattr(done.exception, "exit_code", None) == 3
    call = ["plan", str(store.parent / "spec.yaml"), "--profiles", str(store), "-o", "-"]
    solved = CliRunner().invoke(cli, call, standalone_mode=False)
    assert "move only this limit: accuracy.overall to " in str(done.exception)
    assert str(done.exception) == str(solved.exception)


def test_no_time_ends_with_code_4_and_what_is_no_time_is_refused(store: Path) -> None:
    done = run(store, "--time-limit", "1e-9")
    assert getattr(done.exception, "exit_code", None) == 4
    assert "without a proof" in str(done.exception)
    for word in ("0", "-1", "nan", "inf"):
        done = run(store, "--time-limit", word)
        assert getattr(done.exception, "exit_code", None) == 2
        assert isinstance(done.exception, click.BadParameter)
        assert done.exception.param is not None
        assert done.exception.param.opts == ["--time-limit"]


def test_the_best_accuracy_is_explained_in_points(store: Path) -> None:
    spec = SPEC.replace("limits: {accuracy: {overall: 0.75}}", "objective: maximize accuracy")
    spec += "confidence: none\nlimits: {spend: {usd_per_request: 0.003}}\n"
    said = run(store, spec=spec).stdout
    assert "spend.usd_per_request binds: 0.00303 USD instead of 0.003 USD gains " in said
    assert "spend.usd_per_request costs " in said
    assert "points of accuracy" in said
    assert "certainty" not in said


def test_help_of_the_group_is_that_of_plan_with_its_commands(store: Path) -> None:
    for word in ("-h", "--help"):
        said = CliRunner().invoke(cli, ["plan", word], prog_name="inferbudget").stdout
        assert said.startswith("Usage: inferbudget plan [OPTIONS] SPEC")
        assert "--profiles" in said
        assert "explain " in said
        assert "simulate " in said
    said = CliRunner().invoke(cli, ["plan", "explain", "-h"], prog_name="inferbudget").stdout
    assert said.startswith("Usage: inferbudget plan explain [OPTIONS] SPEC")


def test_without_a_spec_the_usage_is_that_of_plan() -> None:
    done = CliRunner().invoke(cli, ["plan"])
    assert done.exit_code == 2
    assert "Missing argument 'SPEC'" in done.stderr


def test_a_spec_with_the_name_of_a_command_is_given_with_its_folder(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("explain").write_text(SPEC)
    call = ["plan", "./explain", "--profiles", str(store)]
    assert CliRunner().invoke(cli, call, catch_exceptions=False).exit_code == 0
    assert Path("plan.json").exists()


def test_options_may_stand_before_the_spec(store: Path) -> None:
    call = ["plan", "--profiles", str(store), "-o", "-", str(store.parent / "spec.yaml")]
    (store.parent / "spec.yaml").write_text(SPEC)
    done = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["workload"] == "w"


def test_a_plan_in_markdown_has_tables_and_ends_with_its_warnings(
    store: Path, tmp_path: Path
) -> None:
    (store.parent / "spec.yaml").write_text(SPEC)
    call = ["plan", str(store.parent / "spec.yaml"), "--profiles", str(store), "--format"]
    said = CliRunner().invoke(cli, [*call, "markdown", "-o", str(tmp_path / "plan.json")]).stdout
    assert said.startswith("**w**: optimal, promises with 95 % confidence, digest `sha256:")
    assert "| rung | accuracy | USD/request | p95 s | promised | USD/request | p95 s |" in said
    assert "| rung | class | share | strategy |" in said
    assert "- warning: rung 0.75, used when money runs short, gives up accuracy.overall" in said
    done = CliRunner().invoke(cli, [*call, "markdown", "-o", "-"])
    assert json.loads(done.stdout)["workload"] == "w"
    assert done.stderr == said


def test_a_shell_completes_commands_files_and_options() -> None:
    complete = BashComplete(cli, {}, "inferbudget", "_INFERBUDGET_COMPLETE").get_completions
    found = [(item.type, item.value) for item in complete(["plan"], "ex")]
    assert found == [("plain", "explain"), ("file", "ex")]
    assert "--profiles" in [item.value for item in complete(["plan"], "--")]
    assert "--solves" in [item.value for item in complete(["plan", "explain"], "--")]
    assert "--output" in [item.value for item in complete(["plan", "spec.yaml"], "--")]


def test_help_of_plan_imports_no_heavy_package() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from app.cli.main import cli\n"
        "assert CliRunner().invoke(cli, ['plan', '--help']).exit_code == 0\n"
        "assert CliRunner().invoke(cli, ['plan', 'explain', '--help']).exit_code == 0\n"
        "heavy = ('altair', 'duckdb', 'highspy', 'numpy', 'onnx', 'pyomo', 'streamlit')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
