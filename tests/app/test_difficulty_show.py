"""`difficulty show` as people and scripts call it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from app.cli.difficulty_lines import wrong_text
from profiles.difficulty.fit import fit
from profiles.difficulty.showing.wrong_classes import wrong_classes
from profiles.digest import digest_bytes
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

LONG = "a-model-with-a-name-that-nobody-wants-to-read-twice-and-that-fills-a-line/single"
CHANCES = {"cheap/single": (0.95, 0.2), LONG: (0.95, 0.9)}
COSTS = {"cheap/single": 0.001, LONG: 0.01}
LABEL_GRAPH = Path(__file__).parents[1] / "policies" / "fixtures" / "words_and_labels.onnxtxt"


def run(folder: Path, *words: str, expect: int = 0) -> str:
    command = str(Path(sys.executable).parent / "inferbudget")
    done = subprocess.run(
        [command, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == expect, (words, done.stdout, done.stderr)
    return done.stdout if expect == 0 else done.stderr


def show(folder: Path, *words: str, expect: int = 0) -> str:
    call = ("difficulty", "show", "graph.onnx", "--profiles", "p.duckdb", *words)
    return run(folder, *call, expect=expect)


def spec(folder: Path, name: str, asked: str, classes: str = "graph.onnx") -> None:
    (folder / f"{name}.yaml").write_text(
        f'format_version: "1.0"\nworkload: w\nclasses: {classes}\n{asked}\n'
    )
    run(folder, "plan", f"{name}.yaml", "--profiles", "p.duckdb", "-o", f"{name}.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, its estimator, and plans of it; queries that prove are hard."""
    folder = tmp_path_factory.mktemp("show")
    rng = random.Random(11)
    queries, rows = [], []
    for index in range(400):
        query, hard = f"q{index:03}", index % 2
        words = rng.choices(["this", "that", "these", "number", "sum", "word", "line"], k=30)
        prompt = " ".join(words) + (" prove it" if hard else "\nadd them")
        queries.append(Query(query, prompt, ("art", "law")[index % 3 == 0]))
        for strategy, chances in CHANCES.items():
            score = float(rng.random() < chances[hard])
            cost = COSTS[strategy] * rng.uniform(0.5, 1.5)
            rows.append(Observation("w", query, strategy, 0, score=score, cost_usd=cost))
    with Store.open(folder / "p.duckdb") as store:
        store.add_queries("w", queries)
        store.add(rows)
        fit(store, "w", classes=2).write(folder / "graph.onnx")
    spec(folder, "cheapest", "limits: {accuracy: {overall: 0.85}}")
    spec(
        folder,
        "best",
        "objective: maximize accuracy\nlimits: {spend: {usd_per_request: 0.005}}",
    )
    return folder


def test_every_line_fits_and_every_part_is_there(folder: Path) -> None:
    told = show(folder, "--plan", "cheapest.json")
    lines = told.splitlines()
    assert max(map(len, lines)) <= 100
    assert "1 easy: " in told
    assert "2 hard: " in told
    assert len([line for line in lines if line.startswith("- ")]) == 6
    (words,) = [line for line in lines if line.startswith("words: ") and "prove (z " in line]
    assert "it (z " in words
    for part in ("What the estimator weighs", "hindsight", "at random", "upper bound"):
        assert part in told
    assert told == show(folder, "--plan", "cheapest.json")


def test_json_carries_every_figure_with_its_number_of_queries(folder: Path) -> None:
    told = json.loads(show(folder, "--samples", "1", "--format", "json"))
    assert told["format_version"] == "1.0"
    assert told["queries"] == told["read"] == 400
    assert (told["plan_digest"], told["wrong_classes"]) == (None, None)
    easy, hard = told["classes"]
    assert easy["queries"] + hard["queries"] == 400
    for one in (easy, hard):
        assert [cell["strategy"] for cell in one["measured"]] == sorted(CHANCES)
        assert {cell["queries"] for cell in one["measured"]} == {one["queries"]}
        assert len(one["samples"]) == 1
    assert "\\nadd them" not in hard["samples"][0]["text"]
    assert all(weight["prompts"] >= 10 for weight in told["weights"]["heaviest"])


@pytest.mark.parametrize("name", ["cheapest", "best"])
def test_accuracy_has_the_price_that_the_plan_gives_it(folder: Path, name: str) -> None:
    plan = json.loads((folder / f"{name}.json").read_text())
    told = json.loads(show(folder, "--plan", f"{name}.json", "--format", "json"))
    (price,) = plan["rungs"][0]["shadow_prices"].values()
    wrong = told["wrong_classes"]
    assert told["plan_digest"] == plan["digest"]
    assert wrong["usd_per_score"] == pytest.approx(price if name == "cheapest" else 1 / price)
    assert (wrong["queries"], wrong["left_out"]) == (400, 0)
    best = wrong["hindsight"]["worth_usd"]
    assert best["queries"] == 400
    assert best["mean"] > 3 * best["standard_error"]
    lost = wrong["at_random"]["worth_usd"]
    assert lost["mean"] < -3 * lost["standard_error"]
    assert sum(one["queries"] for one in wrong["mistakes"]) == wrong["wrong"]


def test_a_plan_that_serves_all_alike_says_so(folder: Path) -> None:
    spec(folder, "rich", "objective: maximize accuracy\nlimits: {spend: {usd_per_request: 1}}")
    assert "no class can be wrong" in show(folder, "--plan", "rich.json")


def test_many_pairs_of_classes_are_cut_and_counted() -> None:
    names = [f"worth a lot of a model with a long name until price {i}" for i in range(6)]
    rng = np.random.default_rng(0)
    found = wrong_classes(
        np.eye(6),
        names,
        rng.random((900, 6)),
        rng.random((900, 6)),
        rng.integers(0, 6, 900),
        usd_per_score=2.0,
    )
    told = wrong_text(found, {name: f"{i} {name}" for i, name in enumerate(names)})
    assert len(found.mistakes) == 30
    assert "18 pairs of fewer queries" in told
    assert max(map(len, told.splitlines())) <= 100


def test_what_does_not_belong_together_is_refused(folder: Path) -> None:
    spec(folder, "labels", "limits: {accuracy: {overall: 0.5}}", classes="label")
    said = show(folder, "--plan", "labels.json", expect=2)
    assert "this plan is about other classes" in said
    assert "none: labels" in said
    said = show(folder, "--workload", "another", expect=2)
    assert "this store does not know the estimator's classes" in said


def test_a_graph_of_classes_by_label_without_predicted_scores_is_shown(folder: Path) -> None:
    model = onnx.parser.parse_model(LABEL_GRAPH.read_text())
    known = {entry.key: entry.value for entry in model.metadata_props}
    facts = {"inferbudget_format_version": "1.0", "workload": "w", "strategies": "[]"}
    onnx.helper.set_model_props(model, {**known, **facts})
    content: bytes = model.SerializeToString(deterministic=True)
    (folder / "labels.onnx").write_bytes(content)
    with Store.open(folder / "p.duckdb") as store:
        classes = {f"q{index:03}": ("art/all", "law/easy")[index % 3 == 0] for index in range(400)}
        store.save_classes(digest_bytes(content), "w", classes)
    told = run(
        folder, "difficulty", "show", "labels.onnx", "--profiles", "p.duckdb", "--format", "json"
    )
    report = json.loads(told)
    assert [one["queries"] for one in report["classes"]] == [266, 134, 0]
    assert report["classes"][2]["measured"][0]["mean_score"] is None
    assert report["weights"] == {"pieces": 0, "heaviest": []}
