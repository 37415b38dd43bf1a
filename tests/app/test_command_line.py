"""The command starts fast, loads little, and ends with its documented exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = ("altair", "duckdb", "highspy", "numpy", "onnx", "onnxruntime", "pyomo", "streamlit")


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = str(Path(sys.executable).parent / "inferbudget")
    return subprocess.run(
        [command, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    """Two models on two classes: `small` is cheap and weak on hard, `large` dear and good."""
    path = tmp_path / "outcomes.csv"
    lines = ["query_id,model,method,score,cost_usd,latency_s,class"]
    for index in range(400):
        hard = index % 2
        small = 0 if hard and index % 10 else 1
        large = 0 if index % 20 == 1 else 1
        name = "hard" if hard else "easy"
        lines.append(f"q{index},small,single,{small},0.001,0.{index % 9 + 1},{name}")
        lines.append(f"q{index},large,single,{large},0.01,1.{index % 9 + 1},{name}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def store(outcomes: Path) -> Path:
    path = outcomes.parent / "store.duckdb"
    done = run(
        "profile", "import", str(outcomes), "--profiles", str(path), "--workload", "two",
        "--evidence", "measured",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


def spec(folder: Path, limits: str, **more: str) -> Path:
    path = folder / "spec.yaml"
    extra = "".join(f"{key}: {value}\n" for key, value in more.items())
    path.write_text(f'format_version: "1.0"\nworkload: two\nlimits: {limits}\n{extra}')
    return path


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from app.cli.main import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_every_command_and_each_has_help() -> None:
    listed = run("--help").stdout
    for name in COMMANDS:
        assert name in listed
        assert run(name, "--help").returncode == 0


def test_every_command_and_exit_code_is_documented() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text()
    for name in COMMANDS:
        assert f"`inferbudget {name}" in page, name
    for code in (0, 1, 2, 3, 4, 5, 70):
        assert f"| {code} |" in page, code


def test_a_plan_from_labels_compiles_checks_and_replays(store: Path, outcomes: Path) -> None:
    folder = store.parent
    path = spec(folder, "{spend: {usd_per_request: 0.005}}", objective="maximize accuracy")
    plan, policy = folder / "plan.json", folder / "policy.yaml"
    for words in (
        ("plan", str(path), "--profiles", str(store), "-o", str(plan)),
        ("compile", str(plan), "-o", str(policy)),
        ("compile", str(plan), "-o", str(policy), "--check"),
        ("check", str(policy)),
    ):
        done = run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    done = run("replay", str(policy), "--outcomes", str(outcomes), "--format", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["requests"] == 400
    assert report["spend_usd"] <= 0.005 * 400
    assert report["answered"] + report["refused"] == 400
    assert set(report["by_class"]) == {"easy", "hard"}


def test_the_same_observations_give_the_same_bytes(outcomes: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        store = folder / "store.duckdb"
        path = spec(folder, "{accuracy: {overall: 0.8}}")
        for words in (
            ("profile", "import", str(outcomes), "--profiles", str(store), "--workload", "two"),
            ("plan", str(path), "--profiles", str(store), "-o", str(folder / "plan.json")),
            ("compile", str(folder / "plan.json"), "-o", str(folder / "policy.yaml")),
        ):
            done = run(*words)
            assert done.returncode == 0, done.stderr
        files = ("plan.json", "policy.yaml", "policy.onnx")
        made.append([(folder / file).read_bytes() for file in files])
    assert made[0] == made[1]


def test_an_impossible_spec_exits_3_and_names_the_limits_that_clash(store: Path) -> None:
    path = spec(store.parent, "{accuracy: {overall: 0.85}, spend: {usd_per_request: 0.002}}")
    done = run("plan", str(path), "--profiles", str(store), "-o", str(store.parent / "plan.json"))
    assert done.returncode == 3
    assert "accuracy.overall" in done.stderr
    assert "spend.usd_per_request" in done.stderr
    assert not (store.parent / "plan.json").exists()


@pytest.mark.parametrize(
    ("limits", "line", "key"),
    [
        ("{accuracy: {overall: 9}}", "3", "limits.accuracy.overall"),
        ("{latency: {p95_s: -1}}", "3", "limits.latency.p95_s"),
        ("{speed: 3}", "3", "speed"),
        ("{spend: {usd: 3}}", "3", "limits.spend"),
    ],
)
def test_a_malformed_spec_exits_2_and_names_file_line_and_key(
    tmp_path: Path, limits: str, line: str, key: str
) -> None:
    path = spec(tmp_path, limits)
    done = run("plan", str(path), "--profiles", str(tmp_path / "store.duckdb"))
    assert done.returncode == 2
    assert f"{path}:{line}" in done.stderr
    assert key in done.stderr


def test_a_plan_without_a_store_exits_2_and_says_how_to_fill_one(tmp_path: Path) -> None:
    path = spec(tmp_path, "{accuracy: {overall: 0.5}}")
    done = run("plan", str(path), "--profiles", str(tmp_path / "none.duckdb"))
    assert done.returncode == 2
    assert "inferbudget profile import" in done.stderr


def test_a_stale_policy_exits_1(store: Path) -> None:
    folder = store.parent
    plan, policy = folder / "plan.json", folder / "policy.yaml"
    for floor in ("0.8", "0.9"):
        path = spec(folder, f"{{accuracy: {{overall: {floor}}}}}")
        run("plan", str(path), "--profiles", str(store), "-o", str(plan))
        if floor == "0.8":
            run("compile", str(plan), "-o", str(policy))
    done = run("compile", str(plan), "-o", str(policy), "--check")
    assert done.returncode == 1
    assert "policy.yaml" in done.stdout


def test_a_policy_that_was_edited_by_hand_is_found(store: Path) -> None:
    folder = store.parent
    path = spec(folder, "{accuracy: {overall: 0.8}}")
    plan, policy = folder / "plan.json", folder / "policy.yaml"
    run("plan", str(path), "--profiles", str(store), "-o", str(plan))
    run("compile", str(plan), "-o", str(policy))
    policy.write_text(policy.read_text().replace("workload: two", "workload: three"))
    done = run("check", str(policy))
    assert done.returncode in {1, 2}
    assert "digest" in done.stdout + done.stderr
