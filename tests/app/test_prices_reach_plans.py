"""Rows with tokens and no dollars are priced where a plan, an advice or a table needs dollars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli.main import cli
from planner.plan import Plan
from profiles.observation import Observation
from profiles.store.store import Store

CARD = """as_of: 2024-01-01
source: a price list
models:
  small: {input: 1, output: 2}
  large: {input: 10, output: 20}
"""
SPEC = """format_version: "1.0"
workload: w
limits: {accuracy: {overall: 0.6}}
traffic: {requests: 1000, per: day}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of tokens without dollars: small is right half of the time, large always."""
    rows = [
        Observation("w", f"q{index}", name, 0, score, tokens_in=100, tokens_out=50)
        for index in range(400)
        for name, score in (("small/single", float(index % 2)), ("large/single", 1.0))
    ]
    with Store.open(tmp_path / "store.duckdb") as store:
        store.add(rows)
    (tmp_path / "card.yaml").write_text(CARD)
    return tmp_path


def run(*words: object) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def planned(folder: Path, spec: str) -> Plan:
    (folder / "spec.yaml").write_text(spec)
    run("plan", folder / "spec.yaml", "--profiles", folder / "store.duckdb",
        "-o", folder / "plan.json")  # fmt: skip
    return Plan.model_validate_json((folder / "plan.json").read_text())


def test_a_plan_prices_tokens_by_the_specs_card(folder: Path) -> None:
    plan = planned(folder, SPEC + "prices: card.yaml\n")
    share = plan.rungs[0].allocation["all"]["large/single"]
    cost = plan.rungs[0].expected.cost_usd_per_request
    assert cost == pytest.approx(share * 0.002 + (1 - share) * 0.0002)


def test_a_plan_without_a_card_takes_the_stores_and_carries_it(folder: Path) -> None:
    run("profile", "prices", "add", folder / "card.yaml", "--profiles", folder / "store.duckdb")
    plan = planned(folder, SPEC)
    assert plan.prices.models["large"].output == 20
    assert plan.rungs[0] == planned(folder, SPEC + "prices: card.yaml\n").rungs[0]


def test_cells_and_shapes_are_priced_by_the_stores_cards(folder: Path) -> None:
    where = ("--profiles", folder / "store.duckdb", "--workload", "w", "--format", "json")
    assert {row["cost_usd"] for row in json.loads(run("profile", "show", *where))["cells"]} == {
        None
    }
    run("profile", "prices", "add", folder / "card.yaml", "--profiles", folder / "store.duckdb")
    rows = json.loads(run("profile", "show", *where))["cells"]
    assert {row["strategy"]: row["cost_usd"] for row in rows} == {
        "small/single": pytest.approx(0.0002),
        "large/single": pytest.approx(0.002),
    }
