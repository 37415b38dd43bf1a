"""`inferbudget frontier`: its knee; with `--per-query` the bound and what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli

SPEC = 'format_version: "1.0"\nworkload: two\n'


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """`small` is right on the even queries, `large` on all but each tenth."""
    lines = ["query_id,model,method,score,cost_usd,class"]
    for index in range(40):
        name = "easy" if index < 30 else "hard"
        lines.append(f"q{index},small,single,{1 - index % 2},0.001,{name}")
        if index:
            lines.append(f"q{index},large,single,{int(index % 10 > 0)},0.01,{name}")
    table = tmp_path / "outcomes.csv"
    table.write_text("\n".join(lines) + "\n")
    path = tmp_path / "store.duckdb"
    done = CliRunner().invoke(
        cli,
        ["profile", "import", str(table), "--profiles", str(path), "--workload", "two",
         "--evidence", "measured"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return path


def frontier(store: Path, *words: str, spec: str = "") -> Result:
    path = store.parent / "spec.yaml"
    path.write_text(SPEC + spec)
    return CliRunner().invoke(
        cli, ["frontier", str(path), "--profiles", str(store), "--per-query", *words]
    )


def test_the_bound_says_what_it_is_and_what_it_rests_on(store: Path) -> None:
    done = frontier(store)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "40 queries, 2 strategies, 79 outcomes" in text
    assert "an upper bound that no runtime can reach" in text
    assert "1 more were not measured" in text
    assert "100.0 %" in text


def test_the_bound_as_json_starts_cheap_and_ends_with_every_query_solved(store: Path) -> None:
    found = json.loads(frontier(store, "--format", "json", "--points", "3").stdout)
    assert found["bound"] == "hindsight"
    assert found["missing"] == 1
    points = found["points"]
    assert len(points) == 3
    assert points[0]["usd_per_request"] == pytest.approx(0.001)
    assert points[0]["accuracy"] == pytest.approx(0.5)
    assert points[0]["usd_per_further_correct_answer"] == pytest.approx(0.009)
    assert points[-1]["usd_per_request"] == pytest.approx(0.0055)
    assert points[-1]["accuracy"] == pytest.approx(1)
    assert points[-1]["usd_per_further_correct_answer"] is None


def test_strategies_and_mix_of_the_spec_count(store: Path) -> None:
    done = frontier(
        store, "--format", "json", spec="strategies: [small/single]\ntraffic: {requests: 100, "
        "mix: {easy: 1.0}}\n",
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["queries"], found["left_out"], found["outcomes"]) == (30, 10, 30)
    text = frontier(store, spec="traffic: {requests: 100, mix: {easy: 1.0}}\n").output
    assert "for their class: 10 of 40 queries" in text


def test_a_strategy_without_outcomes_is_named(store: Path) -> None:
    done = frontier(store, spec="strategies: [huge/single]\n")
    assert "huge/single" in str(done.exception)
    assert "small/single" in str(done.exception)


def test_the_frontier_names_its_knee_in_every_format(tmp_path: Path) -> None:
    """The corner is where all hard requests go to the middle one; the dear one brings little."""
    lines = ["query_id,model,method,score,cost_usd,class"]
    chances = {"small": (9, 2, 0.001), "middle": (9, 7, 0.002), "large": (10, 9, 0.02)}
    for index in range(200):
        for model, (easy, hard, usd) in chances.items():
            right = int(index // 2 % 10 < (hard if index % 2 else easy))
            lines.append(f"q{index},{model},single,{right},{usd},{'hard' if index % 2 else 'easy'}")
    (tmp_path / "outcomes.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "store.duckdb"
    run = CliRunner().invoke
    done = run(
        cli,
        ["profile", "import", str(tmp_path / "outcomes.csv"), "--profiles", str(path),
         "--workload", "two", "--evidence", "measured"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (tmp_path / "spec.yaml").write_text(SPEC + "confidence: none\n")
    call = ["frontier", str(tmp_path / "spec.yaml"), "--profiles", str(path), "--format"]
    found = json.loads(run(cli, [*call, "json"]).stdout)
    knee = found["knee"]
    assert found["points"][knee["index"]]["usd_per_request"] == knee["usd_per_request"]
    assert knee["usd_per_request"] == pytest.approx(0.0015)  # the middle one, where hard
    assert knee["usd_per_point_below"] < knee["usd_per_point"] < knee["usd_per_point_beyond"]
    for name in ("text", "markdown"):
        said = run(cli, [*call, name]).stdout
        assert "the frontier bends at 1.5 USD per 1,000 requests and 80.0 %" in said
    assert "| 0.0015 | 80.0 % | 80.0 % | knee |" in said


def test_the_bound_in_markdown_is_a_table(store: Path) -> None:
    said = frontier(store, "--format", "markdown").stdout
    assert "| USD per request | accuracy | USD per further correct answer |" in said
