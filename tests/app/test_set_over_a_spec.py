"""`--set PATH=VALUE`: what is asked instead of what the spec says, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from profiles.errors import InputError

TIGHTER = ("--set", "limits.spend={usd_per_request: 0.003}", "--set", "limits.latency=null")


def run(opened_store: tuple[Path, Path], *words: str, spec: Path | None = None) -> Result:
    given, store = opened_store
    command = words[0].split()
    call = [*command, str(spec or given), "--profiles", str(store), *words[1:]]
    return CliRunner().invoke(cli, [*call, "--format", "json"], standalone_mode=False)


def result(found: Result) -> Any:
    assert found.exception is None, found.exception
    return json.loads(found.stdout)


@pytest.fixture
def edited(opened_store: tuple[Path, Path], tmp_path: Path) -> Path:
    text = opened_store[0].read_text()
    before = "limits: {spend: {usd_per_request: 0.004}, latency: {p95_s: 2.0}}"
    assert before in text
    path = tmp_path / "edited.yaml"
    path.write_text(text.replace(before, "limits: {spend: {usd_per_request: 0.003}}"))
    return path


def test_a_plan_of_set_values_is_that_of_the_edited_spec(
    opened_store: tuple[Path, Path], edited: Path, tmp_path: Path
) -> None:
    to = ("-o", str(tmp_path / "plan.json"))
    found = result(run(opened_store, "plan", *TIGHTER, *to))
    assert found == result(run(opened_store, "plan", *to, spec=edited))
    assert found != result(run(opened_store, "plan", *to))


@pytest.mark.parametrize("command", ["frontier", "plan explain"])
def test_so_are_its_frontier_and_its_explanation(
    opened_store: tuple[Path, Path], edited: Path, command: str
) -> None:
    words = (*TIGHTER, "--set", "objective=maximize accuracy")
    assert result(run(opened_store, command, *words)) == result(
        run(opened_store, command, spec=edited)
    )


def test_the_bound_in_hindsight_is_asked_of_the_set_strategies(
    opened_store: tuple[Path, Path],
) -> None:
    words = ("frontier", "--per-query", "--points", "5")
    fewer = result(run(opened_store, *words, "--set", "strategies=[small/single]"))
    assert (
        fewer["points"][-1]["accuracy"]
        < result(run(opened_store, *words))["points"][-1]["accuracy"]
    )


def test_a_wrong_value_says_that_it_was_set(opened_store: tuple[Path, Path]) -> None:
    found = run(opened_store, "plan", "--set", "limits.accuracy.overall=2")
    assert isinstance(found.exception, InputError)
    assert "limits.accuracy.overall, as it was set" in str(found.exception)
