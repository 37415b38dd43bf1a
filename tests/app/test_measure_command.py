from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.profile.measure import measure_command, measure_text
from profiles.errors import InputError
from profiles.measuring.measure import MeasureReport
from profiles.notes import Note


def run(folder: Path, *more: str) -> Result:
    tasks = folder / "tasks.jsonl"
    tasks.write_text(json.dumps({"query": "q", "prompt": "x", "reference": "4"}))
    words = [str(tasks), "--profiles", str(folder / "store"), "--workload", "w"]
    endpoint = ["--endpoint", "http://127.0.0.1:9/v1"]
    return CliRunner().invoke(measure_command, [*words, *endpoint, *more])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scorer", "exact"], "give --strategy or --strategies"),
        (["--strategy", "m/single", "--shards", "2"], "--shards goes with --ray"),
        (["--strategy", "m/single", "--concurrency", "1,x"], "expected whole numbers such as"),
        (["--strategy", "m/single", "--concurrency", "8,0"], "every level must be at least 1"),
        (["--strategy", "m/single", "--concurrency", ""], "expected whole numbers such as"),
        (["--strategy", "m/single", "--max-usd", "-1"], "--max-usd"),
    ],
)
def test_wrong_words_are_usage_errors(tmp_path: Path, words: list[str], message: str) -> None:
    found = run(tmp_path, *words)
    assert found.exit_code == 2
    assert message in found.output


def test_nothing_is_left_behind_where_nothing_can_be_measured(tmp_path: Path) -> None:
    found = run(tmp_path, "--strategy", "m/singel(max_tokens=8)", "--scorer", "exact")
    assert isinstance(found.exception, InputError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tasks.jsonl"]


def test_the_report_says_what_was_paid_what_is_left_and_why_it_stopped() -> None:
    notes = (Note("HTTP 503", 2, ("q1, m/single: busy",)),)
    report = MeasureReport(100, 20, 30, 2, notes, 3, "no room", 50, 0.0123, 0.0205)
    assert measure_text(report).splitlines() == [
        "100 outcomes: 30 measured, 20 in the store already, 2 failed; 0.0123 USD newly paid",
        "stopped: no room",
        "left: 50 outcomes, 0.0205 USD at the means measured so far",
        "note: 3 outcomes ended while fewer requests than their level of concurrency were in "
        "flight, as the last of every level do",
        "note: 2 x HTTP 503 (e.g. q1, m/single: busy)",
    ]
    unknown = MeasureReport(10, 0, 10, 0, (), 0, None, 0, None, 0)
    assert measure_text(unknown) == (
        "10 outcomes: 10 measured, 0 in the store already, 0 failed; n/a USD newly paid"
    )
