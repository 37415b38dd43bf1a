"""Conventions that all commands keep: help for every option, `-` for stdin and stdout, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from planner.plan import read_plan
from profiles.importing.importers import import_file
from profiles.observation import Evidence
from profiles.store.store import Store

SPEC = 'format_version: "1.0"\nworkload: w\nlimits: {accuracy: {overall: 0.6}}\n'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dash")
    lines = ["query,model,method,score,cost_usd,class"]
    lines += [
        f"q{i},{model},single,{int(i % 10 < right)},{usd},c{i % 2}"
        for i in range(400)
        for model, usd, right in (("small", 0.001, 6), ("large", 0.01, 9))
    ]
    (folder / "rows.csv").write_text("\n".join(lines))
    with Store.open(folder / "store.duckdb") as opened:
        import_file(opened, folder / "rows.csv", workload="w", evidence=Evidence.MEASURED)
    return folder / "store.duckdb"


def run(*words: str | Path, given: str | None = None, ends: int = 0) -> Result:
    done = CliRunner().invoke(cli, list(map(str, words)), input=given, catch_exceptions=False)
    assert done.exit_code == ends, done.output
    return done


def test_a_spec_comes_from_stdin_and_the_plan_goes_to_stdout(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, plan = tmp_path / "spec.yaml", tmp_path / "plan.json"
    spec.write_text(SPEC)
    run("plan", spec, "--profiles", store, "-o", plan)
    for more in ((), ("--format", "json")):
        piped = run("plan", "-", "--profiles", store, "-o", "-", *more, given=SPEC)
        assert piped.stdout == plan.read_text()
        assert ("best single strategy" in piped.stderr) == (more == ())
    assert read_plan(plan).workload == "w"
    frontier = ("--profiles", store, "--points", "3")
    assert run("frontier", "-", *frontier, given=SPEC).stdout == (
        run("frontier", spec, *frontier).stdout
    )
    assert {file.name for file in tmp_path.iterdir()} == {"spec.yaml", "plan.json"}


def test_a_wrong_spec_on_stdin_is_named_as_its_caller_names_it(store: Path) -> None:
    wrong = SPEC.replace("0.6", "9")
    with pytest.raises(Exception, match=r"^-:3:\d+: limits\.accuracy\.overall"):
        run("plan", "-", "--profiles", store, "-o", "-", given=wrong)


def test_a_plan_comes_from_stdin_and_the_yaml_goes_to_stdout(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = run("plan", "-", "--profiles", store, "-o", "-", given=SPEC).stdout
    piped = run("compile", "-", "-o", "-", given=plan).stdout
    assert list(tmp_path.iterdir()) == []
    run("compile", "-", given=plan)
    assert Path("policy.yaml").read_text() == piped
    assert run("compile", "-", "--check", given=plan).stdout == (
        "policy.yaml is what - compiles to\n"
    )
    for more in (("--check",), ("--format", "json")):
        refused = run("compile", "-", "-o", "-", *more, given=plan, ends=2)
        assert "leave --check and --format out" in refused.stderr


def test_compile_says_in_json_what_it_wrote_and_what_is_stale(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = run("plan", "-", "--profiles", store, "-o", "-", given=SPEC).stdout
    said = json.loads(run("compile", "-", "--format", "json", given=plan).stdout)
    digest = said["digest"]
    files = {"policy": "policy.yaml", "graph": "policy.onnx", "schema": "policy.schema.json"}
    files["format_version"] = "1.0"
    assert said == {**files, "digest": digest}
    assert digest in Path("policy.yaml").read_text()
    check = ("compile", "-", "--format", "json", "--check")
    assert json.loads(run(*check, given=plan).stdout) == {**files, "digest": digest, "findings": []}
    Path("policy.schema.json").write_text("{}")
    (found,) = json.loads(run(*check, given=plan, ends=1).stdout)["findings"]
    assert (found["code"], found["where"]) == ("stale", "policy.schema.json")
    said = run("compile", "-", "--check", given=plan, ends=1).stdout
    assert said.startswith("policy.schema.json: error [stale]: the schema differs")
