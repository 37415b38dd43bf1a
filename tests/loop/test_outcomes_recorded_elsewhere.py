"""Outcomes of others through import, fit, plan, compile and replay, on held-out halves."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.data, pytest.mark.slow]
COMMAND = str(Path(sys.executable).parent / "inferbudget")
USD_PER_REQUEST = 0.000664
BEST_AFFORDABLE = "mistralai/mistral-large-2512"


def command(*words: str | Path) -> str:
    done = subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def split(data: Path, folder: Path, seed: int) -> tuple[Path, Path, float]:
    """Two files of outcomes and the best affordable single model's accuracy on the second."""
    with (data / "outcomes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["query_id"] for row in rows})
    first = set(random.Random(seed).sample(names, len(names) // 2))
    halves = [[row for row in rows if (row["query_id"] in first) is side] for side in (True, False)]
    for name, half in zip(("fit.csv", "held_out.csv"), halves, strict=True):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(half)
    single = [float(row["score"]) for row in halves[1] if row["model"] == BEST_AFFORDABLE]
    return folder / "fit.csv", folder / "held_out.csv", sum(single) / len(single)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_budget_holds_and_no_accuracy_is_lost_on_requests_nobody_fitted(
    data_dir: Path, tmp_path: Path, seed: int
) -> None:
    data = data_dir / "paretobandit"
    fitted, held_out, single = split(data, tmp_path, seed)
    store, prompts = tmp_path / "store.duckdb", data / "queries.csv"
    command("profile", "import", fitted, "--profiles", store, "--workload", "mixed",
            "--prompts", prompts, "--constant", "method=single")  # fmt: skip
    command("difficulty", "fit", "--profiles", store, "--workload", "mixed",
            "-o", tmp_path / "difficulty.onnx")  # fmt: skip
    (tmp_path / "spec.yaml").write_text(
        'format_version: "1.0"\nworkload: mixed\nobjective: maximize accuracy\n'
        "classes: difficulty.onnx\n"
        f"limits: {{spend: {{usd_per_request: {USD_PER_REQUEST}}}}}\n"
    )
    command("plan", tmp_path / "spec.yaml", "--profiles", store, "-o", tmp_path / "plan.json")
    command("compile", tmp_path / "plan.json", "-o", tmp_path / "policy.yaml")
    replayed = command("replay", tmp_path / "policy.yaml", "--outcomes", held_out,
                       "--prompts", prompts, "--format", "json")  # fmt: skip
    report: dict[str, Any] = json.loads(replayed)
    assert report["refused"] == 0
    assert report["spend_usd"] <= USD_PER_REQUEST * report["requests"]
    assert report["cost_usd_per_request"] <= USD_PER_REQUEST
    assert report["accuracy"] >= single - 1e-9
