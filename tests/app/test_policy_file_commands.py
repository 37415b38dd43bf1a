"""`check`, `fmt` and `explain` on policy files, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from profiles.errors import InputError
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

SPEC = """format_version: "1.0"
workload: w
traffic: {requests: 1000, per: day}
limits: {accuracy: {overall: 0.7}, spend: {usd: 4, per: day}}
rungs: [1.0, 0.5]
prices: {models: {small: {input: 1, output: 4}, large: {input: 10, output: 40}}}
"""
NOT_NEEDED = {
    "altair", "duckdb", "highspy", "httptools", "numpy", "onnx", "onnxruntime", "pandas", "pyarrow",
    "pyomo", "scipy", "streamlit", "tokenizers", "uvicorn",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with spec, plan, policy and graph; small is weak on hard queries, large is not."""
    folder = tmp_path_factory.mktemp("policy")
    queries = [Query(f"q{n}", None, "hard" if n % 2 else "easy") for n in range(600)]
    rows = []
    for index in range(600):
        for name, usd, right in (("small", 0.0004, (9, 3)), ("large", 0.004, (10, 9))):
            score = float((index // 2) % 10 < right[index % 2])
            rows.append(
                Observation("w", f"q{index}", f"{name}/single", 0, score, cost_usd=usd,
                            tokens_in=10, tokens_out=20, calls=1)
            )  # fmt: skip
    with Store.open(folder / "store.duckdb") as store:
        store.add_queries("w", queries)
        store.add(rows)
    (folder / "spec.yaml").write_text(SPEC)
    for words in (
        ("plan", "spec.yaml", "--profiles", "store.duckdb", "-o", "plan.json"),
        ("compile", "plan.json", "-o", "policy.yaml"),
    ):
        paths = [str(folder / word) if "." in word else word for word in words]
        done = CliRunner().invoke(cli, paths, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to change, as the working directory."""
    for name in ("spec.yaml", "plan.json", "policy.yaml", "policy.onnx", "policy.schema.json"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, words, input=given, catch_exceptions=False)


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "policy.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_several_files_and_standard_input_are_checked_at_once(folder: Path) -> None:
    text = (folder / "policy.yaml").read_text()
    (folder / "bad.yaml").write_text("workload: [")
    done = run("check", "policy.yaml", "bad.yaml", "-", given=text)
    assert done.exit_code == 1
    assert "policy.yaml: ok" in done.output
    assert "bad.yaml: 1 finding" in done.output
    assert done.output.splitlines()[-1] == "-: ok"


def test_a_script_gets_the_findings_of_every_file(folder: Path) -> None:
    edit(folder, "workload: w", "workload: v")
    done = run("check", "policy.yaml", "--format", "json")
    assert done.exit_code == 1
    (said,) = json.loads(done.output)["policies"]
    assert said["policy"] == "policy.yaml"
    assert [finding["code"] for finding in said["findings"]] == ["digest"]


def test_a_fresh_policy_comes_from_its_plan_and_spec(folder: Path) -> None:
    done = run("check", "policy.yaml", "--plan", "plan.json", "--spec", "spec.yaml")
    assert (done.exit_code, done.output) == (0, "policy.yaml: ok\n")


def test_a_policy_of_another_spec_or_plan_is_stale(folder: Path, made: Path) -> None:
    (folder / "spec.yaml").write_text(SPEC.replace("0.7}", "0.6}"))
    plan = ("plan", "spec.yaml", "--profiles", str(made / "store.duckdb"), "-o", "other.json")
    assert run(*plan).exit_code == 0
    done = run("check", "policy.yaml", "--plan", "other.json", "--spec", "spec.yaml")
    assert done.exit_code == 1
    assert "[stale-plan]" in done.output
    assert "[stale-spec]" in done.output


def test_pull_requests_are_annotated_at_the_line(folder: Path) -> None:
    edit(folder, "workload: w", "workload: v")
    lines = (folder / "policy.yaml").read_text().splitlines()
    at = next(at for at, line in enumerate(lines, 1) if line.startswith("digest:"))
    done = run("check", "policy.yaml", "--format", "github")
    assert done.output.startswith(f"::error file=policy.yaml,line={at},col=1,title=inferbudget dig")
    log = json.loads(run("check", "policy.yaml", "--format", "sarif").output)
    (result,) = log["runs"][0]["results"]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": at, "startColumn": 1}


def test_checking_imports_no_solver_store_server_or_array(folder: Path) -> None:
    code = (
        "import sys\nfrom app.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    for words in (("check", "policy.yaml"), ("fmt", "--check", "policy.yaml")):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        assert done.stdout == "policy.yaml: ok\n"
        assert NOT_NEEDED.isdisjoint(done.stderr.split())
    assert "pydantic" in done.stderr.split()


def test_checking_imports_no_plan_compiler_nor_older_format(folder: Path) -> None:
    code = (
        "import sys\nfrom app.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "policy.yaml"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {"planner.plan", "planner.spec.spec", "policies.caps", "policies.format_1_0",
            "difflib"}.isdisjoint(done.stderr.split())  # fmt: skip
    assert "policies.policy" in done.stderr.split()


def test_formatting_mends_the_layout_and_says_so(folder: Path) -> None:
    text = (folder / "policy.yaml").read_text()
    edit(folder, "workload: w", "workload:   w # ours")
    checked = run("fmt", "--check", "policy.yaml")
    assert checked.exit_code == 1
    assert "-workload:   w # ours" in checked.output
    assert "+workload: w" in checked.output
    done = CliRunner().invoke(cli, ["fmt", "policy.yaml"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stderr == "policy.yaml: formatted\n"
    assert (folder / "policy.yaml").read_text() == text
    assert run("fmt", "--check", "policy.yaml").exit_code == 0


def test_formatting_standard_input_writes_standard_output(folder: Path) -> None:
    text = (folder / "policy.yaml").read_text()
    done = run("fmt", "-", given=f"# a remark\n{text}")
    assert done.stdout == text


def test_an_edited_policy_is_not_formatted_nor_is_any_other_file_with_it(folder: Path) -> None:
    untidy = "# a remark\n" + (folder / "policy.yaml").read_text()
    (folder / "untidy.yaml").write_text(untidy)
    edit(folder, "workload: w", "workload: v")
    with pytest.raises(InputError, match="formatting would hide that"):
        run("fmt", "untidy.yaml", "policy.yaml")
    assert (folder / "untidy.yaml").read_text() == untidy


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_policy_is_explained_rung_by_rung(folder: Path, form: str) -> None:
    said = run("explain", "policy.yaml", "--format", form).output
    for words in (
        "the caller sends the class",
        "Rung 0: as planned, minimize cost",
        "accuracy.overall: at least 0.7 is asked",
        "promised with 95 % confidence, on 300 queries",
        "accuracy.overall binds: one point more costs",
        "no longer promised: accuracy.overall",
        "4 USD per day (UTC) for 1,000 requests",
        "refused until the day is over",
    ):
        assert words in said, words


def test_one_rung_can_be_asked_for(folder: Path) -> None:
    said = json.loads(run("explain", "policy.yaml", "--rung", "1", "--format", "json").output)
    (rung,) = said["rungs"]
    assert rung["rung"] == 1
    assert rung["against_the_first"].endswith("no longer promised: accuracy.overall")
    with pytest.raises(InputError, match="no such rung"):
        run("explain", "policy.yaml", "--rung", "9")


def test_a_request_is_told_its_class_strategies_and_dollars(folder: Path) -> None:
    words = ("explain", "policy.yaml", "--label", "hard")
    said = json.loads(run(*words, "--format", "json").output)
    assert said["class"] == "hard"
    assert sum(part["share"] for part in said["strategies"]) == pytest.approx(1)
    assert said["strategies"][0]["uniform"][0] == 0
    assert said["strategies"][-1]["uniform"][1] == pytest.approx(1)
    assert said["expected_cost_usd"] == pytest.approx(
        sum(part["share"] * part["cost_usd"] for part in said["strategies"])
    )
    assert said["dearest_measured_usd"] == max(p["cost_max_usd"] for p in said["strategies"])
    text = run(*words).output
    assert text.startswith("hard: the caller sent this class (class 2 of 2, easiest first)")
    assert "20" in text  # the cap on tokens, as many as were seen


def test_a_request_that_the_policy_cannot_sort_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="not a class of the policy"):
        run("explain", "policy.yaml", "--label", "no such class")
    with pytest.raises(InputError, match="sorts requests by a class"):
        run("explain", "policy.yaml", "a prompt")


def test_names_that_a_terminal_would_obey_are_escaped(folder: Path) -> None:
    done = run("check", "policy.yaml", "--format", "github", "--plan", "plan.json")
    assert done.exit_code == 0
    (folder / "odd\x1b[2J.yaml").write_text("workload: [")
    for form in ("text", "github", "sarif", "json"):
        assert "\x1b" not in run("check", "odd\x1b[2J.yaml", "--format", form).output
