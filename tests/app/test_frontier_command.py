"""`inferbudget frontier --per-query`: the bound, what it rests on, and what it says of itself."""

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
