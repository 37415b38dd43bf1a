"""`inferbudget simulate`: the plan beside its resplits and its stress table."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from app.simulating import groups
from profiles.aggregate import Aggregate
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

SPEC = """format_version: "1.0"
workload: w
limits: {accuracy: {overall: 0.75}}
"""
CHANCES = {"small/single": (0.95, 0.3, 0.001), "large/single": (0.97, 0.9, 0.01)}
HARD = "hard\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tenth prompt is asked twice; the small model fails on most hard ones."""
    rng = random.Random(3)
    rows, queries = [], []
    for i in range(300):
        hard = i % 3 == 0
        asked = i - i % 10 if i % 10 == 3 else i
        words = " ".join(f"w{asked}x{j}" for j in range(12))
        queries.append(Query(f"q{i:03}", words, "hard" if hard else "easy"))
        for name, (easy, difficult, usd) in CHANCES.items():
            right = float(rng.random() < (difficult if hard else easy))
            rows.append(
                Observation(
                    "w", f"q{i:03}", name, 0, right, cost_usd=usd * rng.uniform(0.8, 1.2),
                    latency_s=rng.uniform(0.1, 1.0),
                )
            )  # fmt: skip
    path = tmp_path_factory.mktemp("trust") / "store.duckdb"
    with Store.open(path) as opened:
        opened.add_queries("w", queries)
        opened.add(rows)
    return path


def run(store: Path, *words: str, spec: str = SPEC) -> Result:
    path = store.parent / "spec.yaml"
    path.write_text(spec)
    call = ["simulate", str(path), "--profiles", str(store), "--resplits", "8", *words]
    return CliRunner().invoke(cli, call, standalone_mode=False)


def as_json(store: Path, *words: str, spec: str = SPEC) -> Any:
    done = run(store, "--format", "json", *words, spec=spec)
    assert done.exception is None, done.output
    return json.loads(done.stdout)


def test_json_has_the_plan_its_resplits_and_its_stress_table(store: Path) -> None:
    found = as_json(store)
    assert found["format_version"] == "1.0"
    assert found["plan"]["promised"]["accuracy"] >= 0.75 - 1e-6
    resplits = found["resplits"]
    assert (resplits["resplits"], resplits["queries"]) == (8, 300)
    assert resplits["groups_of_near_duplicates"] == 270
    names = [way["name"] for way in resplits["ways_of_planning"]]
    assert names == ["plan", "naive plan", "best single strategy", "oracle"]
    (floor, *_) = resplits["ways_of_planning"][0]["promises"]
    assert (floor["promise"], floor["limit"]) == ("accuracy.overall", 0.75)
    assert floor["share"] == floor["kept"] / floor["judged"]
    assert [row["drift"] for row in found["stress"]] == [
        "as planned",
        "all costs x 1.5",
        "share of class hard x 1.5",
        "all accuracies down by one standard error",
        "all latencies x 1.5",
    ]
    assert found["stress"][0]["expected"] == found["plan"]["expected"]
    assert found["stress"][0]["planned_anew"] == found["plan"]["expected"]


def test_the_same_seed_prints_the_same_and_another_does_not(store: Path) -> None:
    first, again, other = (run(store, "--seed", seed).stdout for seed in ("1", "1", "2"))
    assert first == again
    assert first != other


def test_text_and_markdown_say_what_was_done_and_what_it_cannot_show(store: Path) -> None:
    for words in ((), ("--format", "markdown")):
        said = run(store, *words).stdout
        assert "of 300 queries in 270 groups of near-duplicates, seed 0" in said
        assert "kept accuracy.overall at least 0.75" in said
        assert "median of 8 resplits" in said
        assert "no fresh traffic" in said
        assert "accuracy.overall" in said.split("where inputs drift")[1]
    assert "| --- | --- |" in run(store, "--format", "markdown").stdout


def test_a_limit_on_latency_is_left_out_of_the_resplits_and_in_the_stress_table(
    store: Path,
) -> None:
    spec = SPEC.replace("0.75}}", "0.75}, latency: {p95_s: 1.2}}")
    found = as_json(store, spec=spec)
    assert "left out of the resplits: the limit on latency" in found["notes"]
    assert found["stress"][-1]["breaks"] == ["latency.p95_s"]


def test_limits_that_clash_end_with_exit_code_3(store: Path) -> None:
    done = run(store, spec=SPEC.replace("0.75", "0.999"))
    assert getattr(done.exception, "exit_code", None) == 3
    assert "accuracy.overall" in str(done.exception)


def test_an_unknown_strategy_ends_with_exit_code_2(store: Path) -> None:
    done = run(store, spec=SPEC + "strategies: [huge/single]\n")
    assert getattr(done.exception, "exit_code", None) == 2


def test_fixed_costs_are_paid_in_every_resplit_as_in_the_plan(store: Path) -> None:
    fees = (
        "traffic: {requests: 1000000, per: month}\nfixed_costs:\n"
        "  - {name: rent, pays_for: [large], usd: 100, per: month}\n"
    )
    with_fees, without = as_json(store, spec=SPEC + fees), as_json(store)
    ways = [found["resplits"]["ways_of_planning"] for found in (with_fees, without)]
    assert ways[0] == ways[1]


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The large model answered three hard queries, a third model was only published."""
    rng = random.Random(5)
    rows, queries = [], []
    for i in range(240):
        hard = i % 4 == 0
        queries.append(Query(f"q{i:03}", None, "odd" if i == 239 else HARD if hard else "easy"))
        for text, (easy, difficult, usd) in CHANCES.items():
            if hard and i % 96 and text == "large/single":
                continue
            right = float(rng.random() < (difficult if hard else easy))
            rows.append(Observation("w", f"q{i:03}", text, 0, right, cost_usd=usd))
    classes = ("easy", HARD, "odd")
    path = tmp_path_factory.mktemp("sparse") / "store.duckdb"
    with Store.open(path) as opened:
        opened.add_queries("w", queries)
        opened.add(rows)
        opened.add_aggregates(
            Aggregate("w", name, "huge/single", 50, 0.9, cost_usd=1.0) for name in classes
        )
    return path


def test_what_resplits_do_without_is_said(sparse: Path) -> None:
    said = run(sparse, spec=SPEC.replace("0.75", '0.6, by_class: {"hard\\n": 0.2}')).stdout
    assert (
        "left out of the resplits: 1 queries of classes that two halves cannot share: odd" in said
    )
    assert "without outcomes of single queries: huge/single" in said
    assert "240 of 240 queries have no prompt" in said
    assert "a floor of a class promises its long-run mean" in said
    assert "no row for all latencies x 1.5: no latencies are recorded" in said
    assert "hard\\n at least 0.2" in said


def test_plans_that_use_what_the_judged_half_lacks_are_counted_apart(sparse: Path) -> None:
    spec = 'format_version: "1.0"\nworkload: w\nobjective: maximize accuracy\nconfidence: none\n'
    said = run(sparse, "--resplits", "60", spec=spec).stdout
    assert "w: the plan, on point estimates, no margin" in said
    (row,) = [line.split() for line in said.splitlines() if line.startswith("not measured")]
    assert 0 < float(row[2]) < 40  # all three are profiled in one of eight resplits


def test_where_every_half_is_refused_there_is_no_premium(store: Path) -> None:
    refusal = str(run(store, spec=SPEC.replace("0.75", "0.999")).exception)
    (highest,) = re.findall(r"move only this limit: accuracy.overall to (0\.\d+)", refusal)
    tight = float(highest) - 0.001
    said = run(store, spec=SPEC.replace("0.75", f"{tight:.4f}")).stdout
    assert "no resplit has both the plan and the naive plan, with known costs" in said


def test_queries_without_a_prompt_are_groups_of_their_own() -> None:
    same = "one two three four five six seven eight"
    found = groups([same, None, same, "something else entirely, said at length", None])
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 4
    assert sorted(set(found.tolist())) == [0, 1, 2, 3]
    assert groups([None, None]).tolist() == [0, 1]
