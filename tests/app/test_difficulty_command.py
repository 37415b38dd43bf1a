"""`difficulty fit` from the shell, and its graph through plan, compile, check and replay."""

from __future__ import annotations

import json
import os
import pty
import random
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest

from profiles.difficulty.choosing import Way
from profiles.difficulty.fit import Indices
from profiles.difficulty.fit import fit as fit_store
from profiles.difficulty.lessons import Lessons
from profiles.store.store import Store

NOUNS = ["alpha", "beta", "gamma", "delta", "zeta", "theta", "kappa", "lambda", "sigma", "omega"]
QUERIES = 160
ASKED = 'format_version: "1.0"\nworkload: w\nlimits: {accuracy: {overall: 0.8}}\n'


def run(folder: Path, *words: str | Path, expect: int = 0) -> str:
    command = str(Path(sys.executable).parent / "inferbudget")
    done = subprocess.run(
        [command, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == expect, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return done.stdout if expect == 0 else done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store where `small` rarely solves what begins with `prove`, whatever the label is."""
    folder = tmp_path_factory.mktemp("difficulty")
    rng = random.Random(1)
    lines = ["query_id,model,method,score,cost_usd,prompt,class"]
    for index in range(QUERIES):
        hard = rng.random() < 0.5
        verb = "prove" if hard else "say"
        prompt = f"{verb} {' '.join(rng.choices(NOUNS, k=8))} {rng.randrange(10**6)}"
        for model, chance, usd in (("small", 0.15 if hard else 0.95, 1e-4), ("large", 0.95, 1e-2)):
            score, cost = int(rng.random() < chance), usd * rng.uniform(0.8, 1.2)
            label = ("art", "law/tax")[index % 2]
            lines.append(f"q{index},{model},single,{score},{cost:.7f},{prompt},{label}")
    (folder / "outcomes.csv").write_text("\n".join(lines) + "\n")
    run(folder, "profile", "import", "outcomes.csv", "--workload", "w", "--profiles", "p.duckdb")
    return folder


def fit(folder: Path, *words: str | Path, expect: int = 0) -> str:
    return run(
        folder, "difficulty", "fit", "--profiles", "p.duckdb", "--workload", "w", *words,
        expect=expect,
    )  # fmt: skip


@pytest.mark.slow
def test_plans_choose_where_nothing_is_said(folder: Path) -> None:
    told = json.loads(fit(folder, "-o", "chosen.onnx", "--format", "json"))
    assert "on unseen queries" in told["reason"]
    assert len(told["classes"]) > 1
    kinds = {row["kind"] for row in told["candidates"]}
    assert kinds >= {"prototypes", "difficulty by quantiles", "price rule"}


def test_plans_choose_by_what_a_spec_asks_and_json_tells_all_of_it(folder: Path) -> None:
    (folder / "ask.yaml").write_text(ASKED)
    asked = ("--spec", "ask.yaml", "--read", "words", "-o", "chosen.onnx")
    told: dict[str, Any] = json.loads(fit(folder, *asked, "--format", "json"))
    assert (told["estimator"], told["weight"]) == ("chosen.onnx", "words")
    assert (told["queries"], told["classes_asked"]) == (QUERIES, None)
    assert "on unseen queries" in told["reason"]
    assert len(told["candidates"]) > 10
    assert {row["kind"] for row in told["candidates"]} >= {"prototypes", "price rule"}
    assert sum(row["queries"] for row in told["classes"]) == QUERIES
    assert len(told["classes"]) > 1
    assert {row["strategy"] for row in told["reliability"]} == {"large/single", "small/single"}
    assert told["unfamiliar"]["queries"] == QUERIES
    assert told["sets"]["coverage"]["queries"] == QUERIES
    assert (folder / "chosen.onnx").exists()


@pytest.mark.parametrize(
    "words", [("--spec", "other.yaml"), ("--read", "words", "--read", "words+surface")]
)
def test_a_number_of_classes_leaves_nothing_to_choose(folder: Path, words: tuple[str, ...]) -> None:
    (folder / "other.yaml").write_text(ASKED)
    said = fit(folder, "--classes", "3", *words, "-o", "refused.onnx", expect=2)
    assert "--classes leaves nothing to choose" in said
    assert not (folder / "refused.onnx").exists()


def test_a_report_for_people_names_classes_and_the_same_command_writes_the_same_bytes(
    folder: Path,
) -> None:
    said = fit(folder, "--classes", "2", "-o", "two.onnx")
    assert said.startswith(f"w: {QUERIES} queries, 5 folds, out of fold\n")
    assert "easy: like a mean predicted score of" in said
    assert "a prompt unlike these takes the last class" in said
    fit(folder, "--classes", "2", "-o", "again.onnx")
    assert (folder / "again.onnx").read_bytes() == (folder / "two.onnx").read_bytes()


def test_a_terminal_sees_how_far_it_is_and_stdout_is_the_report_alone(folder: Path) -> None:
    command = str(Path(sys.executable).parent / "inferbudget")
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (24, 100))
    done = subprocess.run(
        [command, "difficulty", "fit", "--profiles", "p.duckdb", "--workload", "w", "-o", "t.onnx",
         "--classes", "2", "--format", "json"],
        cwd=folder, stdout=subprocess.PIPE, stderr=stderr, check=True, timeout=600,
    )  # fmt: skip
    told = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    os.close(stderr)
    assert "learn from words+surface" in told
    assert json.loads(done.stdout)["queries"] == QUERIES


SPEC = (
    'format_version: "1.0"\nworkload: w\nobjective: maximize accuracy\n'
    "classes: {graph}\nlimits: {{spend: {{usd_per_request: 0.007}}}}\n"
)


@pytest.mark.parametrize(
    "words",
    [("--classes", "2"), ("--by-label", "--classes", "2")],
    ids=["classes", "labels combined"],
)
def test_a_fitted_graph_plans_compiles_checks_and_replays(
    folder: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    graph = tmp_path / "d.onnx"
    told = json.loads(fit(folder, *words, "-o", graph, "--format", "json"))
    names = [row["name"] for row in told["classes"]]
    combined = "--by-label" in words
    if combined:
        assert {name.rsplit("/", 1)[0] for name in names} == {"art", '"law/tax"'}
    (tmp_path / "spec.yaml").write_text(SPEC.format(graph="d.onnx"))
    run(tmp_path, "plan", "spec.yaml", "--profiles", folder / "p.duckdb")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["classes"]["source"] == ("text+label" if combined else "text")
    assert sorted(plan["classes"]["names"]) == sorted(names)
    check_policy(folder, tmp_path)


@dataclass(frozen=True)
class Told:
    """A judge's answer."""

    index: int
    reason: str = "told to"
    table: tuple[Any, ...] = ()


def a_price_rule(_lessons: Lessons, found: Sequence[Way], _fold_of: Indices) -> Told:
    """A judge that takes a price rule of three classes."""
    return Told([(c.kind, len(c.names)) for c in found].index(("price rule", 3)))


def test_a_graph_with_a_price_rule_plans_compiles_checks_and_replays(
    folder: Path, tmp_path: Path
) -> None:
    with Store.open(folder / "p.duckdb") as store:
        estimator = fit_store(store, "w", judge=a_price_rule)
    assert (estimator.report.sorting, len(estimator.class_names)) == ("price rule", 3)
    estimator.write(tmp_path / "d.onnx")
    (tmp_path / "spec.yaml").write_text(SPEC.format(graph="d.onnx"))
    run(tmp_path, "plan", "spec.yaml", "--profiles", folder / "p.duckdb")
    check_policy(folder, tmp_path)


def check_policy(folder: Path, own: Path) -> None:
    """A plan compiles; its policy is sound, keeps its budget and beats one strategy for all."""
    run(own, "compile", "plan.json")
    run(own, "check", "policy.yaml")
    for path in own.glob("*.onnx"):
        onnx.checker.check_model(onnx.load(path))
    told = run(
        own, "replay", "policy.yaml", "--outcomes", folder / "outcomes.csv", "--format", "json"
    )
    report = json.loads(told)
    assert (report["requests"], report["refused"]) == (QUERIES, 0)
    assert report["cost_usd_per_request"] <= 0.007
    assert report["accuracy"] > 0.75
