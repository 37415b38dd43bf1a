import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from app.cli.main import cli
from app.cli.profile.import_ import import_command
from profiles.arrival import Arrival
from profiles.errors import FindingError, InputError
from profiles.serving import ServingPoint
from profiles.store.store import Store

ROWS = "query,model,score,class\na,m,1,x\nb,m,,x\n"


@pytest.fixture
def run(tmp_path):
    def call(*words, text=None):
        common = ("--profiles", str(tmp_path / "store.duckdb"), "--workload", "w")
        return CliRunner().invoke(import_command, [*words, *common], input=text)

    return call


def test_a_table_can_come_from_standard_input(run):
    done = run("-", "--format", "csv", "--report", "json", text=ROWS)
    report = json.loads(done.stdout)
    assert (report["format_version"], report["file"], report["kind"]) == (
        "1.0",
        "-",
        "observations",
    )
    assert (report["rows"], report["kept"], report["added"]) == (2, 1, 1)
    assert report["set_aside"] == {"no score": 1}
    unnamed = run("-", text=ROWS)
    assert isinstance(unnamed.exception, InputError)
    assert unnamed.exception.next_step == "name it with --format"


def test_the_text_report_says_what_was_kept_set_aside_and_suspicious(run, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    done = run(str(path))
    assert done.exit_code == 0
    assert "read 2 rows, kept 1: 1 added, 0 known already, 0 in conflict; 2" in done.stdout
    assert "set aside: 1 x no score (e.g. line 3: '')" in done.stdout
    assert "suspicious: 1 x class too small to promise anything\n  x has 1 queries" in done.stdout
    assert "the same content was imported before" in run(str(path)).stdout


def test_a_check_value_that_does_not_match_ends_with_a_finding(run, tmp_path):
    mapping = tmp_path / "m.yaml"
    mapping.write_text("expect: [{count: kept, is: 2}]\n")
    done = run("-", "--format", "csv", "--mapping", str(mapping), text=ROWS)
    assert "check MISMATCH: kept rows: 1, expected 2" in done.stdout
    assert isinstance(done.exception, FindingError)
    assert str(done.exception) == "1 check value does not match what was read"
    mapping.write_text("expect: [{count: kept, is: 2}, {count: read, is: 3}, {mean: score, is: 1}]")
    again = run("-", "--format", "csv", "--mapping", str(mapping), text=ROWS)
    assert str(again.exception) == "2 check values do not match what was read"
    assert "check ok: mean score: 1, expected 1" in again.stdout


def test_only_check_values_of_mappings_that_come_along_are_called_published(run, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n")
    done = run(str(path), "--mapping", "azure_llm_trace_2023_conv")
    assert ", published 19366" in done.stdout
    assert "expected" not in done.stdout


def test_the_report_says_everything_once(run):
    table = 'query,model,score,cost_usd\na,m,1,0\nb,m,,1\nc,m,0,"1,200"\n'
    lines = run("-", "--format", "csv", text=table).stdout.splitlines()
    assert "made unknown: 1 x cost_usd 0 means not recorded (e.g. line 2: '0')" in lines
    assert "set aside: 1 x no score (e.g. line 3: '')" in lines
    assert "repaired: 1 x cost_usd with thousands separators (e.g. line 4: '1,200')" in lines


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("csv",), "query,model,score\na,m\n"),
        (("parquet",), "x"),
        (("lm-eval",), "x"),
        (("tot",), "x"),
        (("guidellm",), "{}"),
    ],
)
def test_errors_and_notes_call_standard_input_a_dash(run, words, text):
    done = run("-", "--format", *words, text=text)
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith("-")
    assert "stdin" not in str(done.exception)
    assert "(e.g. -)" in run("-", "--format", "csv", text=ROWS).stdout


def test_the_help_tells_the_format_of_the_input_from_that_of_the_report():
    words = " ".join(CliRunner().invoke(import_command, ["--help"]).output.split())
    assert "Input: what FILE is." in words
    assert "Output: the form of the import report on stdout." in words


def call(*words):
    return CliRunner().invoke(cli, ["profile", *map(str, words)])


def test_rows_that_were_set_aside_are_listed_with_file_line_reason_and_content(run, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    run(str(path))
    run("-", "--format", "csv", text=f"query,model,score\n{'c' * 300},m,7\nd,m,1\ne,m,1\n")
    store = ("--profiles", tmp_path / "store.duckdb")
    text = call("quarantine", *store).stdout.splitlines()
    assert text[:3] == [
        "2 rows were set aside",
        "rows.csv:3: no score",
        '  {"query": "b", "model": "m", "class": "x"}',
    ]
    assert text[3] == "stdin:2: score outside 0..1"
    assert text[4].endswith("...")
    one = json.loads(call("quarantine", *store, "--file", "rows.csv", "--format", "json").stdout)
    assert one["format_version"] == "1.0"
    assert [(row["file"], row["line"], row["reason"]) for row in one["rows"]] == [
        ("rows.csv", 3, "no score")
    ]
    none = call("quarantine", *store, "--file", "other.csv").stdout
    assert none == "no row of other.csv was set aside\n"


def test_serving_arrivals_and_quarantine_are_exported(run, tmp_path):
    run("-", "--format", "csv", text=ROWS)
    path = tmp_path / "store.duckdb"
    times = [datetime(2024, 1, day, 3, 4, 5, 600, tzinfo=UTC) for day in (2, 1)]
    with Store.open(path) as store:
        store.add_serving([ServingPoint("m", None, None, "a", gpus=2, source="s")])
        store.add_arrivals(Arrival("w", str(t.day), t, 1, None) for t in times)

    def rows(what, *more):
        done = call("export", "--profiles", path, "-o", "-", "--what", what, *more)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert [(row["label"], row["gpus"]) for row in rows("serving")] == [("a", 2.0)]
    assert [row["arrived_at"] for row in rows("arrivals", "--workload", "w")] == [
        "2024-01-01T03:04:05.000600Z",
        "2024-01-02T03:04:05.000600Z",
    ]
    assert [(row["line"], row["reason"]) for row in rows("quarantine")] == [(3, "no score")]
    for what in ("serving", "arrivals", "quarantine"):
        more = ("--workload", "w") if what == "arrivals" else ()
        file = tmp_path / f"{what}.parquet"
        assert not call("export", "--profiles", path, "-o", file, "--what", what, *more).exit_code


def test_what_belongs_to_no_workload_is_exported_without_one_and_the_rest_with_one(run, tmp_path):
    run("-", "--format", "csv", text=ROWS)
    words = ("export", "--profiles", tmp_path / "store.duckdb", "-o", "-", "--what")
    assert "give --workload" in call(*words, "observations").output
    assert "leave --workload out" in call(*words, "serving", "--workload", "w").output
    done = call(*words, "serving")
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == "the store holds no serving measurements"


def test_mappings_that_come_along_are_listed(run):
    done = CliRunner().invoke(import_command, ["--list-mappings"])
    assert "routellm: Two models on MMLU" in done.stdout
    assert done.exit_code == 0
