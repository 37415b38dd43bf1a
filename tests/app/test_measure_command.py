from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.adaptive_report import AdaptiveReport
from app.cli.profile.measure import measure_command, measure_text
from app.measuring_on_ray import measure_on_ray
from profiles.errors import InputError
from profiles.measuring.measure import MeasureReport
from profiles.notes import Note
from profiles.store.store import Store
from runtime.experiment import Experiment
from runtime.journal import Journal, journal_of


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
        (["--strategy", "m/single", "--adaptive", __file__, "--samples", "2"], "one sample"),
        (["--strategy", "m/single", "--adaptive", __file__, "--concurrency", "1,8"], "one level"),
        (["--strategy", "m/single", "--adaptive", __file__, "--ray", "local"], "no --ray"),
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
    adaptive = AdaptiveReport(20, 0, 20, 0, (), 0, None, 0, 0.5, 0, 1, "every task is measured")
    assert measure_text(adaptive).splitlines()[1:] == [
        "ended after 1 round: every task is measured"
    ]
    unknown = MeasureReport(10, 0, 10, 0, (), 0, None, 0, None, 0)
    assert measure_text(unknown) == (
        "10 outcomes: 10 measured, 0 in the store already, 0 failed; n/a USD newly paid"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-usd", "nan"], "not a finite number"),
        (["--max-usd", "inf"], "not a finite number"),
        (["--timeout-s", "nan"], "not a finite number"),
        (["--timeout-s", "inf"], "not a finite number"),
        (["--concurrency", "9" * 5000], "at most 999,999"),
        (["--max-tokens", "9" * 30], "--max-tokens"),
        (["--samples", "9" * 30], "--samples"),
        (["--workload", " "], "must not be blank"),
        (["--workload", "w\udcff"], "no text that a file can hold"),
        (["--workload", "w\0"], "no text that a file can hold"),
        (["--profiles", ":memory:"], "keeps nothing; name a file"),
        (["--profiles", "./:memory:"], "keeps nothing; name a file"),
        (["--profiles", ""], "is a directory"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    tmp_path: Path, words: list[str], message: str
) -> None:
    found = run(tmp_path, "--strategy", "m/single(max_tokens=8)", "--scorer", "exact", *words)
    assert found.exit_code == 2
    assert message in found.output


def test_a_store_in_a_loop_of_links_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    found = run(tmp_path, "--strategy", "m/single", "--profiles", str(tmp_path / "a"))
    assert found.exit_code == 2
    assert "symbolic links" in found.output


def test_an_empty_file_is_no_store_and_the_message_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    found = run(tmp_path, "--strategy", "m/single(max_tokens=8)", "--scorer", "exact")
    assert isinstance(found.exception, InputError)
    assert "this file is empty, so it is no profile store" in str(found.exception)


def test_a_file_of_strategies_may_have_a_mark_and_remarks_and_must_be_text(tmp_path: Path) -> None:
    strategies = tmp_path / "strategies.txt"
    strategies.write_bytes(b"\xef\xbb\xbf# one\r\n  # two\r\n  m/singel(max_tokens=8)\r\n")
    found = run(tmp_path, "--strategies", str(strategies), "--scorer", "exact")
    assert "did you mean 'single'" in str(found.exception)
    strategies.write_bytes(b"\xff\xfe")
    found = run(tmp_path, "--strategies", str(strategies), "--scorer", "exact")
    assert isinstance(found.exception, InputError)
    assert "cannot read the strategies" in str(found.exception)


def test_the_report_tells_a_bound_from_a_bill_and_names_what_is_suspicious() -> None:
    doubt = {"at_bound": 2, "beyond_cap": 3, "stored_elsewhere": 4}
    report = MeasureReport(10, 0, 10, 0, (), 0, None, 0, 0.5, 0, **doubt)
    assert measure_text(report).splitlines() == [
        "10 outcomes: 10 measured, 0 in the store already, 0 failed; at most 0.5 USD newly paid",
        "note: calls that did not say what they used and count at their upper bound: 2",
        "note: suspicious: calls that were billed for more completion tokens than they had asked "
        "for: 3",
        "note: outcomes that were stored by somebody else meanwhile, whose rows stand: 4",
    ]
    unpriced = MeasureReport(10, 0, 10, 0, (), 0, None, 0, None, 0, at_bound=2)
    assert measure_text(unpriced).endswith("; n/a USD newly paid")


def test_a_run_on_a_cluster_and_one_here_do_not_share_a_store(tmp_path: Path) -> None:
    path, link = tmp_path / "store", tmp_path / "link"
    link.symlink_to(path)
    experiment = Experiment("http://127.0.0.1:9/v1", "w", ("m/single(max_tokens=8)",), "exact")
    held = Journal(journal_of(link), workload="w", endpoint=experiment.endpoint)
    refused = pytest.raises(InputError, match="another process is measuring into this store")
    with held, Store.open(path) as store, refused:
        measure_on_ray(store, path, experiment, [], address="nowhere:1")
