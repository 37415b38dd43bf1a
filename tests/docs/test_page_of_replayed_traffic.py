"""The table of replayed traffic has the benchmark's own figures."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.replayed_traffic.figures import row

ROOT = Path(__file__).parents[2]


def test_the_figures_of_replayed_traffic_are_the_benchmarks() -> None:
    page = (ROOT / "docs/explanation/pacing.md").read_text()
    arms = json.loads((ROOT / "benchmarks/results/replayed_traffic.json").read_text())["arms"]
    assert arms
    for name, found in arms.items():
        assert row(name, found) in page, name
        assert found["bill_nano_usd"] == found["ledger_nano_usd"] == found["told_nano_usd"], name
