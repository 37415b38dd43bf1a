"""`inferbudget break-even`, and fixed costs where other commands meet them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli.main import cli
from policies.file import read_policy
from profiles.observation import Observation
from profiles.store.store import Store

SPEC = """format_version: "1.0"
workload: w
limits: {accuracy: {overall: 0.6}}
traffic: {requests: 20000, per: month}
fixed_costs:
  - {name: tuning, pays_for: [tuned], usd: 1200, per: total, windows: 12}
"""
OUTCOMES = {"small/single": (0.5, 0.0004), "small/self_consistency(k=8)": (1.0, 0.003),
            "tuned/single": (1.0, 0.001)}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small is right half of the time, always where it votes; tuned always, for a third."""
    rows = [
        Observation("w", f"q{i}", name, 0, float(i % 2 or accuracy == 1.0), cost_usd=cost)
        for i in range(400)
        for name, (accuracy, cost) in OUTCOMES.items()
    ]
    with Store.open(tmp_path / "store.duckdb") as store:
        store.add(rows)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def run(folder: Path, command: str, *words: str, ends: int = 0) -> str:
    call = [*command.split(), str(folder / "spec.yaml"), "--profiles", str(folder / "store.duckdb")]
    done = CliRunner().invoke(cli, [*call, *words], standalone_mode=False)
    if ends:
        assert getattr(done.exception, "exit_code", None) == ends, done.output
        return str(done.exception)
    assert done.exception is None, done.output
    return done.stdout


def break_even(folder: Path, *words: str) -> dict[str, Any]:
    return dict(json.loads(run(folder, "break-even", "--draws", "20", "--format", "json", *words)))


def test_the_volume_is_the_fee_over_what_a_request_saves(folder: Path) -> None:
    found = break_even(folder, "--volumes", "1000,1000000")
    thinking, tuned = found["deployments"]
    assert (thinking["paid"], tuned["paid"]) == ([], ["tuning"])
    (change,) = found["break_evens"]
    saved = thinking["usd_per_request"] - tuned["usd_per_request"]
    assert change["requests"] == pytest.approx(100 / saved)
    assert change["low"] <= change["requests"] <= change["high"]
    assert [at["paid"] for at in found["volumes"]] == [[], ["tuning"]]
    assert found["words"][1].startswith("From ")


def test_text_and_markdown_say_the_same(folder: Path) -> None:
    text = run(folder, "break-even", "--draws", "20")
    marked = run(folder, "break-even", "--draws", "20", "--format", "markdown")
    for line in break_even(folder)["words"]:
        assert line in text
        assert f"- {line}" in marked
    assert "| from requests a month | 95 % interval | pays for |" in marked
    assert "small/self_consistency(k=8)" in text


def test_volumes_that_are_no_numbers_are_refused(folder: Path) -> None:
    assert "these are not numbers" in run(folder, "break-even", "--volumes", "1000;2000", ends=2)
    assert "a number above 0" in run(folder, "break-even", "--volumes", "-5", ends=2)


def test_a_plan_says_what_it_pays_and_a_policy_holds_what_is_left_for_requests(
    folder: Path,
) -> None:
    spend = "  spend: {usd: 400, per: month}\n"
    limits = f"limits:\n  accuracy: {{overall: 0.6}}\n{spend}"
    spec = SPEC.replace("limits: {accuracy: {overall: 0.6}}\n", limits).replace("20000", "200000")
    (folder / "spec.yaml").write_text(spec)
    text = run(folder, "plan", "-o", str(folder / "plan.json"))
    assert "tuning      paid         100.00" in text
    assert "fixed costs and 200,000 requests:" in text
    call = ["compile", str(folder / "plan.json"), "-o", str(folder / "policy.yaml")]
    done = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert read_policy(folder / "policy.yaml").budgets[0].limit_usd == pytest.approx(300.0)


def test_a_frontier_is_that_of_the_set_that_the_traffic_is_worth(folder: Path) -> None:
    few = json.loads(run(folder, "frontier", "--format", "json"))["points"]
    used = {name for point in few for name in point["allocation"]["all"]}
    assert "tuned/single" not in used
    (folder / "spec.yaml").write_text(SPEC.replace("20000", "2000000"))
    many = json.loads(run(folder, "frontier", "--format", "json"))["points"]
    assert many[-1]["usd_per_request"] < few[-1]["usd_per_request"]


def test_advice_refuses_what_it_cannot_weigh(folder: Path) -> None:
    assert "cannot weigh fixed costs" in run(folder, "profile advise", ends=2)
