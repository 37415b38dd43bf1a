import json

import pytest
from click.testing import CliRunner

from app.cli.profile.import_ import import_command
from profiles.errors import FindingError, InputError

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
    assert "set aside: 1 x no score: row set aside (e.g. line 3: '')" in done.stdout
    assert "suspicious: 1 x class too small to promise anything\n  x has 1 queries" in done.stdout
    assert "the same content was imported before" in run(str(path)).stdout


def test_a_check_value_that_does_not_match_ends_with_a_finding(run, tmp_path):
    mapping = tmp_path / "m.yaml"
    mapping.write_text("expect: [{count: kept, is: 2}]\n")
    done = run("-", "--format", "csv", "--mapping", str(mapping), text=ROWS)
    assert "check MISMATCH: kept rows is 1, published 2" in done.stdout
    assert isinstance(done.exception, FindingError)


def test_mappings_that_come_along_are_listed(run):
    done = CliRunner().invoke(import_command, ["--list-mappings"])
    assert "routellm: Two models on MMLU" in done.stdout
    assert done.exit_code == 0
