"""What others wrote (groups, labels, files) reaches a terminal as text, never as orders."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.main import main
from app.cli.options import table
from policies.findings import Finding, Severity
from profiles.errors import FindingError, InputError, UpstreamError
from profiles.visible import escaped, escaped_lines

ORDERS = "de\x1b[31mred\x07\n  next: pay\r\u202etxt.exe\u2066\x9b0m\u2028z"
SHOWN = r"de\x1b[31mred\x07\n  next: pay\r\u202etxt.exe\u2066\x9b0m\u2028z"


def inferbudget(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> object:
    monkeypatch.setattr(sys, "argv", ["inferbudget", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows: list[dict[str, object]] = [
        {"query": f"q{i}", "model": "m", "method": "single", "score": i % 2, "cost_usd": 0.1,
         "class": ORDERS, "lang": (ORDERS, "en")[i % 2]}
        for i in range(60)
    ]  # fmt: skip
    rows.append({**rows[0], "query": "alone", "class": f"thin {ORDERS}"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = inferbudget(
        monkeypatch, "profile", "import", tmp_path / "rows.jsonl", "--group", "lang",
        "--profiles", tmp_path / "store.duckdb", "--workload", "w",
    )  # fmt: skip
    assert code == 0
    return tmp_path / "store.duckdb"


def test_what_an_import_finds_suspicious_is_named_on_one_line(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ("--profiles", store, "--workload", "again")
    assert inferbudget(monkeypatch, "profile", "import", store.with_name("rows.jsonl"), *again) == 0
    said = capsys.readouterr().out
    assert printable(said)
    assert f"\n  thin {SHOWN} has 1 queries\n" in said


def test_an_infeasible_plan_names_a_group_and_obeys_nothing_in_its_name(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = store.with_name("spec.yaml")
    limits = {"accuracy": {"by_group": {"lang": {ORDERS: 0.9}}}}
    spec.write_text(json.dumps({"format_version": "1.0", "workload": "w", "limits": limits}))
    capsys.readouterr()
    assert inferbudget(monkeypatch, "plan", spec, "--profiles", store) == 3
    said = capsys.readouterr().err
    assert printable(said)
    assert f"accuracy.by_group.lang.{SHOWN} 0.9 cannot hold" in said
    assert "\n  next: pay" not in said


def test_a_table_shows_such_a_class_on_one_line_and_json_keeps_its_name(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = ("profile", "show", "--profiles", store, "--workload", "w")
    capsys.readouterr()
    assert inferbudget(monkeypatch, *show) == 0
    said = capsys.readouterr().out
    assert printable(said)
    assert SHOWN in said
    assert inferbudget(monkeypatch, *show, "--format", "json") == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert {cell["class"] for cell in cells} == {ORDERS, f"thin {ORDERS}"}


def test_advice_differences_and_rows_set_aside_are_printed_safely(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, rows = store.with_name("spec.yaml"), store.with_name("odd.jsonl")
    limits = {"accuracy": {"overall": 0.4}}
    spec.write_text(json.dumps({"format_version": "1.0", "workload": "w", "limits": limits}))
    row = {"query": "q", "model": ORDERS, "method": "single", "score": 7, "class": ORDERS}
    more = [{**row, "query": f"r{i}", "model": "m", "score": i % 2} for i in range(60)]
    rows.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in (row, *more)))
    other = store.with_name("other.duckdb")
    inferbudget(
        monkeypatch, "profile", "import", rows, "--profiles", other, "--workload", "w"
    )  # fmt: skip
    for words in (
        ("advise", spec, "--profiles", store),
        ("diff", f"{store}:w", f"{other}:w"),
        ("diff", f"{store}:w", f"{other}:w", "--format", "markdown"),
        ("quarantine", "--profiles", other),
    ):
        capsys.readouterr()
        inferbudget(monkeypatch, "profile", *words)
        said = capsys.readouterr()
        assert printable(said.out + said.err), words
        assert "\\u202e" in said.out, words
        assert "\n  next: pay" not in said.out, words


def test_a_usage_error_is_printed_safely(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inferbudget(monkeypatch, "check", "no\x1b[2Jfile") == 2
    said = capsys.readouterr().err
    assert printable(said)
    assert "file" in said


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_no_part_of_an_error_looks_like_another_line_of_it(where: str, got: str, to: str) -> None:
    said = str(InputError("this is wrong", where=where, got=got, next_step=to))
    assert printable(said)
    head, *more = said.split("\n")
    assert head.startswith(escaped_lines(f"{where}:" if where else "").split("\n")[0])
    ours = [line for line in more if not line.startswith("    ")]
    assert ours == [f"  next: {escaped(to.partition(chr(10))[0])}"]


@pytest.mark.parametrize("kind", [InputError, FindingError, UpstreamError])
def test_every_kind_of_error_is_printable_and_keeps_what_it_was_told(kind) -> None:
    error = kind(f"no class {ORDERS}")
    assert printable(str(error))
    assert SHOWN.replace(r"\n", "\n").splitlines()[0] in str(error)
    if kind is InputError:
        assert error.what == f"no class {ORDERS}"


def test_a_finding_is_printed_safely_and_its_json_keeps_what_was_found() -> None:
    finding = Finding(Severity.ERROR, "stale", "policy.yaml", ORDERS, "compile again")
    assert printable(finding.text())
    assert finding.as_dict()["message"] == ORDERS


@given(st.text())
def test_escaping_twice_changes_nothing_more(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(escaped(text)) == escaped(text)
    assert printable(escaped_lines(text))
    assert len(table([[text]], ["name"]).split("\n")) == 2
