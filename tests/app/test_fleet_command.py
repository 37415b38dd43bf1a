"""`inferbudget fleet`, as its page shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from planner.fleet.question import AccuracyFloor, FleetQuestion, Gpu, Headroom, Pool, Server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/fleet.md"
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


def blocks() -> list[tuple[str, str]]:
    """Word and text of every fenced block."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [(word, textwrap.dedent(text)) for word, text in found]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's example as it was left, with what its commands printed."""
    path = tmp_path_factory.mktemp("fleet")
    printed: list[str] = []
    for word, text in blocks():
        if word.startswith("yaml "):
            (path / word.removeprefix("yaml ")).write_text(text)
        elif not word:
            done = run(path, "bash", "-ec", text)
            assert done.returncode == 0, done.stdout + done.stderr
            printed.append(done.stdout)
    (path / "printed.json").write_text(json.dumps(printed))
    return path


def run(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def fleet(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(path, "inferbudget", "fleet", *words)


COMMON = ("--plan", "plan.json", "--profiles", "store.duckdb")


def test_the_page_prints_what_it_says(folder: Path) -> None:
    printed = json.loads((folder / "printed.json").read_text())
    said = [text for word, text in blocks() if word == "text"]
    assert len(said) == 4
    for text in said:
        assert text in printed, text


def test_json_has_the_fleet_and_the_replay(folder: Path) -> None:
    text = (folder / "fleet.yaml").read_text()
    (folder / "tenth.yaml").write_text(text + "growth_factor: 0.1\n")
    done = fleet(folder, "tenth.yaml", *COMMON, "--trace", "trace.csv", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["fleet"]["hours"]) == len(found["replay"]["hours"]) == 24
    assert found["fleet"]["fractional_usd"] <= found["fleet"]["usd"]


def test_too_few_gpus_end_with_code_3(folder: Path) -> None:
    text = (folder / "fleet.yaml").read_text()
    (folder / "few.yaml").write_text(text.replace("reserved_usd_per_hour: 2.40", "at_most: 2"))
    done = fleet(folder, "few.yaml", *COMMON)
    assert done.returncode == 3
    assert "gpus.big.at_most is 2" in done.stderr


def test_no_time_ends_with_code_4(folder: Path) -> None:
    done = fleet(folder, "fleet.yaml", *COMMON, "--time-limit", "0.000001")
    assert done.returncode == 4
    assert "--time-limit" in done.stderr


def test_a_measured_speed_without_a_store_ends_with_code_2(folder: Path) -> None:
    done = fleet(folder, "fleet.yaml", "--plan", "plan.json")
    assert done.returncode == 2
    assert "pass --profiles" in done.stderr


def test_several_plans_without_a_floor_are_refused(folder: Path) -> None:
    (folder / "second.json").write_bytes((folder / "plan.json").read_bytes())
    done = fleet(folder, "fleet.yaml", *COMMON, "--plan", "second.json")
    assert done.returncode == 2
    assert "add accuracy" in done.stderr


def test_a_mapping_without_a_trace_is_refused(folder: Path) -> None:
    done = fleet(folder, "fleet.yaml", *COMMON, "--mapping", "azure_llm_trace_2023_conv")
    assert done.returncode == 2
    assert "give --trace" in done.stderr


def test_a_mapping_that_reads_no_traffic_is_refused(folder: Path) -> None:
    (folder / "rows.yaml").write_text(
        "format_version: '1.0'\nkind: observations\nconstants: {method: single}\n"
    )
    done = fleet(folder, "fleet.yaml", *COMMON, "--trace", "outcomes.csv", "--mapping", "rows.yaml")
    assert done.returncode == 2
    assert "kind: traffic" in done.stderr


def test_every_key_of_the_file_is_on_the_page() -> None:
    page = PAGE.read_text()
    for part in (FleetQuestion, Gpu, Pool, Server, Headroom, AccuracyFloor):
        for key in part.model_fields:
            assert key in page, f"{part.__name__}.{key}"
