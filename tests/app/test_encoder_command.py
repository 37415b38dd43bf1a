"""A sentence encoder from `difficulty fit` to `replay`, and through all that reads texts."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from app.measuring_adaptively import measure_adaptively
from planner.spec import Spec
from profiles.difficulty.graph import read_facts
from profiles.errors import InputError
from profiles.measuring.measure import MeasureReport
from profiles.measuring.scorers import Task
from profiles.store.store import Store

QUERIES, WIDTH = 200, 8
ENCODED = "words+surface+encoder"
SPEC = (
    'format_version: "1.0"\nworkload: w\nobjective: maximize accuracy\n'
    "classes: d.onnx\nlimits: {spend: {usd_per_request: 0.006}}\n"
)


def encoder_in(folder: Path, seed: int) -> Path:
    """Letters have vectors, drawn by seed; a text's is their mean."""
    folder.mkdir()
    letters = ["?", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = Tokenizer(
        models.WordLevel({one: place for place, one in enumerate(letters)}, unk_token="?")  # noqa: S106 - a token of text
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(seed).normal(size=(len(letters), WIDTH)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["states"])],
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "T"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["N", "T", WIDTH])],
        [numpy_helper.from_array(table, "table")],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "model.onnx")
    return folder


def run(folder: Path, *words: str | Path, expect: int = 0) -> str:
    command = str(Path(sys.executable).parent / "inferbudget")
    done = subprocess.run(
        [command, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == expect, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout if expect == 0 else done.stderr


def prompt_of(number: int) -> str:
    """Words that nobody else has, out of letters that say how hard it is: even ones are easy."""
    rng = random.Random(number)
    letters = "bcdfg" if number % 2 else "aeiou"
    return " ".join("".join(rng.choices(letters, k=6)) for _ in range(6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose prompts only letters tell apart, two encoders, and an estimator with one."""
    folder = tmp_path_factory.mktemp("encoded")
    rng = random.Random(3)
    lines = ["query_id,model,method,score,cost_usd,prompt"]
    for index in range(QUERIES):
        for model, chance, usd in (
            ("small", 0.2 if index % 2 else 0.95, 1e-4),
            ("large", 0.95, 1e-2),
        ):
            score, cost = int(rng.random() < chance), usd * rng.uniform(0.8, 1.2)
            lines.append(f"q{index},{model},single,{score},{cost:.7f},{prompt_of(index)}")
    (folder / "outcomes.csv").write_text("\n".join(lines) + "\n")
    encoder_in(folder / "encoder", 1)
    encoder_in(folder / "other", 2)
    run(folder, "profile", "import", "outcomes.csv", "--workload", "w", "--profiles", "p.duckdb")
    return folder


def fit(folder: Path, *words: str | Path, expect: int = 0) -> str:
    store = ("--profiles", "p.duckdb", "--workload", "w")
    return run(folder, "difficulty", "fit", *store, *words, expect=expect)


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """What a fit with an encoder says as JSON; `d.onnx` is its graph."""
    asked = ("--encoder", "encoder", "--classes", "2", "-o", "d.onnx", "--format", "json")
    found: dict[str, Any] = json.loads(fit(folder, *asked))
    return found


def test_with_a_number_of_classes_the_encoder_is_read_and_named(
    folder: Path, told: dict[str, Any]
) -> None:
    pinned = read_facts(folder / "d.onnx").encoder
    assert pinned is not None
    assert told["weight"] == ENCODED
    assert told["encoder"] == {
        "digest": pinned.digest,
        "width": WIDTH,
        "provider": told["encoder"]["provider"],
    }
    said = fit(folder, "--encoder", "encoder", "--classes", "2", "-o", "again.onnx")
    assert f"encoder: {pinned.digest}, {WIDTH} numbers, on " in said
    assert (folder / "again.onnx").read_bytes() == (folder / "d.onnx").read_bytes()


@pytest.mark.slow
def test_where_nothing_is_said_plans_choose_among_all_four_readings(folder: Path) -> None:
    asked = ("--encoder", "encoder", "-o", "chosen.onnx", "--format", "json")
    found = json.loads(fit(folder, *asked))
    assert found["weight"] == ENCODED  # what nothing else tells
    assert found["encoder"]["width"] == WIDTH
    assert "on unseen queries" in found["reason"]


@pytest.mark.parametrize(
    "words",
    [
        ("--read", ENCODED),
        ("--read", "words", "--encoder", "encoder"),
        ("--read", "words", "--read", ENCODED),
    ],
)
def test_an_encoder_and_the_reading_that_needs_it_come_together(
    folder: Path, words: tuple[str, ...]
) -> None:
    said = fit(folder, *words, "-o", "refused.onnx", expect=2)
    assert f"--encoder and --read {ENCODED} need each other" in said
    assert not (folder / "refused.onnx").exists()


def test_a_folder_that_holds_no_encoder_is_refused(folder: Path) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    said = fit(folder, "--encoder", "empty", "-o", "refused.onnx", expect=2)
    assert "got no model.onnx and no tokenizer.json" in said


@pytest.mark.usefixtures("told")
def test_a_graph_with_an_encoder_plans_compiles_checks_and_replays(folder: Path) -> None:
    (folder / "spec.yaml").write_text(SPEC)
    run(folder, "plan", "spec.yaml", "--profiles", "p.duckdb")
    run(folder, "compile", "plan.json")
    run(folder, "check", "policy.yaml")
    replayed = ("replay", "policy.yaml", "--outcomes", "outcomes.csv", "--format", "json")
    report = json.loads(run(folder, *replayed, "--encoder", "encoder"))
    assert (report["requests"], report["refused"]) == (QUERIES, 0)
    assert report["cost_usd_per_request"] <= 0.006
    assert report["accuracy"] > 0.85  # one class would get 0.80 of that spend
    run(folder, *replayed, expect=2)
    run(folder, *replayed, "--encoder", "other", expect=2)
    assert "policy.yaml: ok" in run(folder, "verify", "policy.yaml", "--encoder", "encoder")
    run(folder, "verify", "policy.yaml", "--encoder", "other", expect=1)


@pytest.mark.usefixtures("told")
def test_classes_are_shown_with_the_encoder_that_they_were_learned_with(folder: Path) -> None:
    call = ("difficulty", "show", "d.onnx", "--profiles", "p.duckdb")
    assert "easy" in run(folder, *call, "--encoder", "encoder")
    said = run(folder, *call, expect=2)
    assert "reads prompts with an encoder, and none was given" in said
    assert "another encoder than the one" in run(folder, *call, "--encoder", "other", expect=2)


def adaptively(store: Store, folder: Path, *, encoder: Path | None) -> list[tuple[str, str, int]]:
    """The first round of a run on new tasks; nothing of it is measured."""
    spec = Spec.model_validate(
        {
            "format_version": "1.0",
            "workload": "w",
            "limits": {"accuracy": {"overall": 0.7}},
            "traffic": {"requests": 10**6, "mix": {"easy": 0.5, "hard": 0.5}},
        }
    )
    tasks = [Task(f"n{number}", prompt_of(5000 + number)) for number in range(40)]
    paid: list[tuple[str, str, int]] = []

    async def pay(jobs: Sequence[tuple[str, str, int]]) -> MeasureReport:
        paid.extend(jobs)
        return MeasureReport(len(jobs), 0, 0, len(jobs), (), 0, "enough", 0, None, 0.0)

    names = ["small/single", "large/single"]
    asyncio.run(
        measure_adaptively(
            store, spec, tasks, names, pay, estimator=folder / "d.onnx", encoder=encoder
        )
    )
    return paid


@pytest.mark.usefixtures("told")
def test_measuring_adaptively_sorts_new_tasks_with_the_encoder(folder: Path) -> None:
    with Store.open(folder / "p.duckdb") as store:
        with pytest.raises(InputError, match="with an encoder, and none was given"):
            adaptively(store, folder, encoder=None)
        adaptively(store, folder, encoder=folder / "encoder")
        digest = read_facts(folder / "d.onnx").digest
        with store.reading() as execute:
            classes = dict(
                execute(
                    "SELECT query_id, class_name FROM classes WHERE estimator_digest = ?", [digest]
                ).fetchall()
            )
    right = [(classes[f"n{number}"] == "hard") == number % 2 for number in range(40)]
    assert np.mean(right) > 0.9


def test_an_encoder_without_an_adaptive_spec_is_refused(folder: Path) -> None:
    (folder / "tasks.jsonl").write_text('{"query": "q", "prompt": "p"}\n')
    said = run(
        folder, "profile", "measure", "tasks.jsonl", "--profiles", "m.duckdb", "--workload", "w",
        "--endpoint", "http://127.0.0.1:1", "--strategy", "small/single", "--encoder", "encoder",
        expect=2,
    )  # fmt: skip
    assert "--encoder goes with --adaptive" in said
