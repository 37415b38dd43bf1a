"""`inferbudget plan simulate`: the plan beside its resplits and its stress table."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from app.cli.plan import simulate as command
from app.planning import ask
from app.simulating import groups, trust
from app.sorted_outcomes import measured
from planner.trials.simulate import simulate
from planner.trials.stress import stress
from profiles.aggregate import Aggregate
from profiles.digest import digest_bytes
from profiles.errors import UnprovenError
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

SPEC = """format_version: "1.0"
workload: w
limits: {accuracy: {overall: 0.75}}
"""
TIMED = SPEC.replace("0.75}}", "0.75}, latency: {p95_s: 1.2}}")
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
    call = ["plan", "simulate", str(path), "--profiles", str(store), "--resplits", "8", *words]
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
        "all accuracies down by 2 points",
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


def test_a_limit_on_latency_is_judged_by_resplits_and_in_the_stress_table(store: Path) -> None:
    found = as_json(store, spec=TIMED)
    promises = found["resplits"]["ways_of_planning"][0]["promises"]
    (limit,) = [one for one in promises if one["promise"] == "latency.p95_s"]
    assert (limit["kept"], limit["judged"]) == (8, 8)  # none takes longer than a second
    assert not any("left out" in note for note in found["notes"])
    assert found["stress"][-1]["breaks"] == ["latency.p95_s"]


def store_of(path: Path, seed: int, name: str, count: int = 200) -> Path:
    """Other queries of the same kind, from a region each."""
    rng = random.Random(seed)
    rows, queries = [], []
    for i in range(count):
        hard = i % 3 == 0
        queries.append(Query(f"{name}{i:03}", None, "hard" if hard else "easy"))
        for text, (easy, difficult, usd) in CHANCES.items():
            right = float(rng.random() < (difficult if hard else easy))
            cost, seconds = usd * rng.uniform(0.8, 1.2), rng.uniform(0.1, 1.0)
            rows.append(
                Observation("w", f"{name}{i:03}", text, 0, right, cost_usd=cost, latency_s=seconds)
            )
    with Store.open(path / f"{name}.duckdb") as opened:
        opened.add_queries("w", queries)
        opened.add(rows)
    return path / f"{name}.duckdb"


def test_new_queries_judge_every_promise_with_an_interval(store: Path, tmp_path: Path) -> None:
    judge = str(store_of(tmp_path, 8, "new"))
    found = as_json(store, "--judge", judge, spec=TIMED)
    assert not {"resplits", "stress", "trace"} & set(found)
    held = found["held_out"]
    assert (held["queries"], held["confidence"]) == (200, 0.95)
    assert [one["promise"] for one in held["promises"]] == [
        "accuracy.overall", "latency.p95_s", "promised accuracy", "promised USD/request",
        "promised p95",
    ]  # fmt: skip
    for one in held["promises"]:
        assert one["low"] <= one["found"] <= one["high"]
    said = run(store, "--judge", judge, spec=TIMED).stdout
    assert "200 new queries judge it, with 95 % intervals" in said
    assert re.search(r"latency.p95_s at most 1.2 +0.0 % slower +0.0 % to .* kept", said)
    said = run(store, "--judge", judge, "--format", "markdown", spec=TIMED).stdout
    assert "| promise | found |" in said


def test_a_store_does_not_judge_its_own_plan(store: Path, tmp_path: Path) -> None:
    done = run(store, "--judge", str(store))
    assert getattr(done.exception, "exit_code", None) == 2
    assert "not judged by the store that it was made from" in str(done.exception)
    other = tmp_path / "other.duckdb"
    with Store.open(other) as opened:
        opened.add([Observation("w", "x", "small/single", 0, 1.0, cost_usd=0.001)])
    done = run(store, "--judge", str(other))
    assert "a query has no class that the plan knows" in str(done.exception)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three requests a second for three minutes and a bit, twice as many in the second minute."""
    rng, at_s, rows = random.Random(2), 0.0, ["arrived_at,tokens_in,tokens_out"]
    while at_s < 200:
        at_s += rng.expovariate(6.0 if 60 <= at_s < 120 else 3.0)
        minutes, seconds = divmod(at_s, 60)
        rows.append(f"2026-01-01T00:{int(minutes):02}:{seconds:09.6f}Z,10,20")
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


PACED = """format_version: "1.0"
workload: w
objective: maximize accuracy
traffic: {requests: 180, per: minute}
limits: {spend: {usd: 0.8, per: minute}}
"""


def test_recorded_traffic_is_judged_window_by_window(store: Path, trace: Path) -> None:
    found = as_json(store, "--trace", str(trace), spec=PACED)["trace"]
    assert (len(found["windows"]), found["per"], found["budget_usd"]) == (3, "minute", 0.8)
    first, rush, _ = found["windows"]
    assert rush["requests"] > 1.5 * first["requests"]
    assert rush["on_lower_rungs"] > first["on_lower_rungs"]
    assert all(window["usd"] <= 0.8 for window in found["windows"])
    (spend,) = [one for one in found["promises"] if one["promise"] == "spend.usd_per_request"]
    assert (spend["kept"], spend["judged"]) == (3, 3)
    said = run(store, "--trace", str(trace), spec=PACED).stdout
    assert "in 3 windows per minute, 0.8 USD each, 180 requests planned for, seed 0" in said
    assert "requests are left out: the trace ends within their window" in said
    assert said == run(store, "--trace", str(trace), spec=PACED).stdout
    assert said != run(store, "--trace", str(trace), "--seed", "1", spec=PACED).stdout
    said = run(store, "--trace", str(trace), spec=PACED + "confidence: none\n").stdout
    assert "note: planned on point estimates" in said  # a warning of the plan


def test_a_trace_can_be_answered_by_new_queries(store: Path, trace: Path, tmp_path: Path) -> None:
    judge = str(store_of(tmp_path, 8, "new"))
    found = as_json(store, "--trace", str(trace), "--judge", judge, spec=PACED)
    assert found["held_out"]["queries"] == 200
    own = as_json(store, "--trace", str(trace), spec=PACED)
    assert found["trace"]["windows"] != own["trace"]["windows"]


def test_a_trace_needs_windows_and_a_mapping_needs_a_trace(store: Path, trace: Path) -> None:
    done = run(store, "--trace", str(trace))
    assert getattr(done.exception, "exit_code", None) == 2
    assert "a trace needs windows" in str(done.exception)
    done = run(store, "--mapping", "azure_llm_trace_2023_conv")
    assert "give --trace" in str(done.exception)
    done = run(store, "--trace", str(trace), "--mapping", "paretobandit")
    assert getattr(done.exception, "exit_code", None) == 2


SHARED = """format_version: "1.0"
workload: w
traffic: {requests: 180, per: minute}
limits:
  accuracy: {overall: 0.6}
  shares: [{name: large, models: [large], at_least: 0.4}]
"""


def test_a_binding_limit_on_shares_is_judged_by_the_plans_own_mix_and_says_so(
    store: Path, trace: Path, tmp_path: Path
) -> None:
    said = run(store, spec=SHARED).stdout
    assert re.search(r"kept shares.large.at_least at least 0.4 +(100.0 \+- 10.6 % +){2}", said)
    assert "holds on the mix of classes that its plan was made for" in said
    judge = str(store_of(tmp_path, 8, "new"))
    said = run(store, "--judge", judge, spec=SHARED).stdout
    assert re.search(r"shares.large.at_least at least 0.4 +0.4 +n/a +kept", said)
    assert "holds on the mix of classes that its plan was made for" in said
    said = run(store, "--trace", str(trace), spec=SHARED).stdout
    assert "windows do not tell of shares.large.at_least" in said
    assert "the draws of a window scatter around it" in said
    assert "shares of traffic" not in run(store).stdout


def test_no_time_for_the_plan_ends_with_exit_code_4(store: Path, trace: Path) -> None:
    for words in ((), ("--trace", str(trace))):
        done = run(store, "--time-limit", "1e-9", *words, spec=PACED)
        assert getattr(done.exception, "exit_code", None) == 4
        assert "without a proof" in str(done.exception)
        assert done.stdout == ""
    fees = "fixed_costs:\n  - {name: rent, pays_for: [large], usd: 0.1, per: minute}\n"
    done = run(store, "--time-limit", "1e-9", spec=SHARED + fees)
    assert getattr(done.exception, "exit_code", None) == 4


def test_where_no_half_has_a_proven_plan_everything_says_so_and_ends_with_code_4(
    store: Path,
) -> None:
    """The plan from all queries is proven, those from halves are not."""
    (store.parent / "spec.yaml").write_text(SPEC)
    question = ask(store.parent / "spec.yaml", store)
    planner = question.planner(60.0)
    found = trust(question, planner, store, resplits=2, seed=0, advance=lambda done, total: None)
    command.refuse_unproven(found)
    own = measured(question, planner, store)
    alone = np.arange(len(own.query_ids))
    none = simulate(own.outcomes, own.sorted_by, alone, planner.spec, resplits=2, time_limit_s=1e-9)
    hurried = replace(found, simulation=none)
    for said in (command.text(hurried), command.markdown(hurried)):
        (row,) = [line for line in said.splitlines() if "not proven in time" in line]
        assert re.findall(r"\d of \d", row) == ["2 of 2", "2 of 2", "0 of 2", "2 of 2"]
        (row,) = [line for line in said.splitlines() if "kept accuracy.overall" in line]
        assert row.count("n/a") >= 3
    assert "not proven in time" not in command.text(found)
    ways = command.as_json(hurried)["resplits"]["ways_of_planning"]
    assert [way["unproven"] for way in ways] == [2, 2, 0, 2]
    assert [way["refused"] for way in ways][:2] == [0, 0]
    with pytest.raises(UnprovenError, match="not one of 2 plans from halves was proven") as error:
        command.refuse_unproven(hurried)
    assert error.value.exit_code == 4
    assert "--time-limit" in str(error.value)
    short = stress(question.planner(1e-9), planner.explained(planner.limits))
    hurried = replace(found, stress=short)
    assert command.text(hurried).count("not proven in time") == len(short.rows)
    assert all(row["unproven"] for row in command.as_json(hurried)["stress"])


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


LONG = "one two three four five six seven eight nine ten"
FIXTURES = Path(__file__).parents[1] / "policies" / "fixtures"


def sorted_by_graph(folder: Path, fixture: str) -> tuple[Path, Path]:
    """A store that a graph's classes are saved in, and one of new prompts; the graph is beside."""
    model = onnx.parser.parse_model((FIXTURES / fixture).read_text())
    known = {entry.key: entry.value for entry in model.metadata_props}
    facts = {"inferbudget_format_version": "1.0", "workload": "w", "strategies": "[]"}
    onnx.helper.set_model_props(model, {**known, **facts})
    content = model.SerializeToString(deterministic=True)
    (folder / "words.onnx").write_bytes(content)
    rng = random.Random(6)
    for name in ("fitted", "new"):
        ids = [f"{name}{i:03}" for i in range(200)]
        hard = {query: i % 3 == 0 for i, query in enumerate(ids)}
        rows = [
            Observation("w", query, text, 0, float(rng.random() < chances[hard[query]]),
                        cost_usd=chances[2])
            for query in ids for text, chances in CHANCES.items()
        ]  # fmt: skip
        with Store.open(folder / f"{name}.duckdb") as opened:
            opened.add_queries("w", [Query(q, LONG if hard[q] else f"hi {q}", None) for q in ids])
            opened.add(rows)
            if name == "fitted":
                classes = {q: "hard" if hard[q] else "easy" for q in ids}
                opened.save_classes(digest_bytes(content), "w", classes)
    return folder / "fitted.duckdb", folder / "new.duckdb"


def test_the_estimator_sorts_new_queries_by_their_text(tmp_path: Path) -> None:
    fitted, new = sorted_by_graph(tmp_path, "words.onnxtxt")
    spec = SPEC.replace("0.75", "0.7") + "classes: words.onnx\n"
    held = as_json(fitted, "--judge", str(new), spec=spec)["held_out"]
    assert held["queries"] == 200
    (accuracy, *_) = held["promises"]
    assert accuracy["kept"]
    assert accuracy["found"] > 0.7


def test_an_estimator_that_reads_labels_cannot_sort_new_queries_here(tmp_path: Path) -> None:
    fitted, new = sorted_by_graph(tmp_path, "words_and_labels.onnxtxt")
    with Store.open(fitted) as opened:
        digest = digest_bytes((tmp_path / "words.onnx").read_bytes())
        names = ("law/hard", "law/easy", "art/all")
        ids = [f"fitted{i:03}" for i in range(200)]
        opened.save_classes(digest, "w", {q: names[i % 3] for i, q in enumerate(ids)})
    spec = SPEC.replace("0.75", "0.7") + "classes: words.onnx\n"
    done = run(fitted, "--judge", str(new), spec=spec)
    assert getattr(done.exception, "exit_code", None) == 2
    assert "the estimator reads more than their text" in str(done.exception)
