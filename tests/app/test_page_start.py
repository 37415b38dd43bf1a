"""The page Start: what is open, its plan in one line, the way to the others, files of one's own."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from streamlit.runtime.caching.cache_resource_api import clear_session_cache
from streamlit.testing.v1 import AppTest

import app.uploads
from app import example
from app.cli.main import cli
from app.opened import SPEC, STORE
from app.scratch import scratch
from profiles.importing.importers import import_file
from profiles.observation import Evidence
from profiles.store.store import Store

NAMES = ("what-if", "sensitivity", "profiles", "policy-diff", "ledger")
File = tuple[str, bytes]


def drawn_with(names: tuple[str, ...]) -> None:
    """The page among others with these names."""
    import streamlit as st  # noqa: PLC0415 -- only this function's text is run

    from app.pages import start  # noqa: PLC0415 -- as above

    others = [st.Page(lambda: st.title("other"), title=name, url_path=name) for name in names]
    first = st.Page(lambda: start.page(others), title="Start", url_path="start", default=True)
    st.navigation([first, *others]).run()


def drawn(names: tuple[str, ...] = NAMES) -> AppTest:
    found = AppTest.from_function(drawn_with, default_timeout=60, args=(names,)).run()
    assert not found.exception
    return found


@pytest.fixture
def page(opened_store: tuple[Path, Path]) -> AppTest:
    return drawn()


@pytest.fixture
def nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in (SPEC, STORE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(page: AppTest) -> str:
    return "\n".join(str(one.value) for one in page.markdown)


def drop(page: AppTest, *files: File) -> AppTest:
    page.file_uploader[0].set_value([(name, content, "") for name, content in files])
    button(page, "Open these files").click().run()
    assert not page.exception
    return page


def button(page: AppTest, label: str) -> Any:
    (found,) = [one for one in page.button if one.label == label]
    return found


def folders() -> set[Path]:
    return set(scratch().glob("own-*"))


def asking(line: str) -> File:
    return "mine.yml", f'format_version: "1.0"\nworkload: tiny\n{line}\n'.encode()


def as_files(spec_and_store: tuple[Path, Path]) -> tuple[File, File]:
    spec, store = spec_and_store
    return ("anything.yaml", spec.read_bytes()), ("anything.duckdb", store.read_bytes())


def test_what_is_open_is_said_with_its_sizes_and_evidence(page: AppTest) -> None:
    text = said(page)
    assert "store.duckdb`: workload `tiny`, 600 queries in 3 strategies" in text
    assert "Evidence: simulated" in text
    assert "2 classes, by labels of the data: `easy`, `hard`" in text
    assert "asks for the most accurate plan that keeps the limits; limits: " in text
    assert "`latency.p95_s` 2 s" in text
    assert "`spend.usd_per_request` 4 USD per 1,000" in text
    assert "Prices: dollars as recorded with the answers" in text


def test_the_plan_in_one_line_is_the_commands(
    page: AppTest, opened_store: tuple[Path, Path], tmp_path: Path
) -> None:
    spec, store = opened_store
    out = str(tmp_path / "plan.json")
    call = ["plan", str(spec), "--profiles", str(store), "-o", out, "--format", "json"]
    rung = json.loads(CliRunner().invoke(cli, call).stdout)["rungs"][0]
    usd = 1000 * rung["expected"]["cost_usd_per_request"]
    accuracy = rung["expected"]["accuracy"]
    promised = rung["promised"]["accuracy"]
    text = said(page)
    assert f"**Accuracy {accuracy:.1%} for {usd:.4g} USD per 1,000 requests.**" in text
    assert "with 95 % confidence, from 600 queries" in text
    assert f"at least {promised:.1%}, for at most " in text


def test_without_confidence_nothing_is_promised(page: AppTest) -> None:
    page = drop(page, asking("confidence: none"))
    assert "Point estimates from 600 queries: nothing is promised" in said(page)


def test_every_question_leads_to_its_page(page: AppTest) -> None:
    links = {one.proto.page: one.proto.label for one in page.get("page_link")}
    assert set(links) == set(NAMES)
    assert links["ledger"] == "When does the money run out?"
    assert all(one.proto.help for one in page.get("page_link"))


def test_a_page_that_is_not_there_is_not_linked(opened_store: tuple[Path, Path]) -> None:
    assert [one.proto.page for one in drawn(("what-if",)).get("page_link")] == ["what-if"]


def test_a_newcomer_sees_the_demos_measurements_and_whose_they_are(nothing_named: Path) -> None:
    page = drawn()
    assert not page.error
    (info,) = page.info
    assert info.value == example.ABOUT
    assert "solved 1,000 arithmetic and puzzle problems in 8 ways" in info.value
    assert "workload `demo`, 1,000 queries in 8 strategies, the newest row of 2026-" in said(page)
    assert "Evidence: measured" in said(page)
    assert "predicted by `difficulty.onnx`" in said(page)
    assert [one.label for one in page.get("download_button")] == ["Download these measurements"]
    assert list(nothing_named.iterdir()) == []


def test_what_make_demo_left_is_opened_instead(
    nothing_named: Path, opened_store: tuple[Path, Path]
) -> None:
    spec, store = opened_store
    (nothing_named / "demo/out").mkdir(parents=True)
    shutil.copy(spec, nothing_named / "demo/out/spec.yaml")
    shutil.copy(store, nothing_named / "demo/out/profiles.duckdb")
    page = drawn()
    assert "`demo/out/profiles.duckdb`: workload `tiny`" in said(page)
    assert not page.info


def test_files_that_are_gone_are_named_and_others_can_still_be_dropped(
    opened_store: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SPEC, str(tmp_path / "gone.yaml"))
    page = drawn()
    (error,) = page.error
    assert "gone.yaml" in error.value
    page = drop(page, *as_files(opened_store))
    assert not page.error
    assert "`profiles.duckdb`: workload `tiny`" in said(page)


def test_limits_that_clash_are_explained_here_too(page: AppTest) -> None:
    page = drop(page, asking("limits: {accuracy: {overall: 0.99}}"))
    (error,) = page.error
    assert "No plan keeps the limits of this spec" in error.value
    assert "The page What-if moves them" in error.value


def test_what_a_plan_needs_and_nobody_measured_is_said(page: AppTest) -> None:
    page = drop(page, asking("limits: {energy: {j_per_request: 1}}"))
    (error,) = page.error
    assert "energy" in error.value
    assert "Store `" in said(page)


def test_dropped_files_are_opened_in_this_session_alone(
    nothing_named: Path, opened_store: tuple[Path, Path]
) -> None:
    page = drop(drawn(), *as_files(opened_store))
    assert "Spec `spec.yaml` asks for" in said(page)
    assert "Store `profiles.duckdb`: workload `tiny`, 600 queries" in said(page)
    assert "workload `demo`" in said(drawn())


def test_a_dropped_spec_asks_the_opened_store(page: AppTest) -> None:
    page = drop(page, asking("limits: {accuracy: {overall: 0.7}}"))
    assert "Spec `spec.yaml` asks for the cheapest plan" in said(page)
    assert "limits: `accuracy.overall` 0.7" in said(page)
    assert "store.duckdb`" in said(page)


def test_a_store_that_comes_alone_is_asked_for_the_most_accurate_plan(
    nothing_named: Path, opened_store: tuple[Path, Path]
) -> None:
    page = drop(drawn(), as_files(opened_store)[1])
    assert not page.error
    assert "asks for the most accurate plan that keeps the limits; it has none" in said(page)
    assert "workload `tiny`" in said(page)


def test_the_example_can_be_dropped_as_it_was_downloaded(
    page: AppTest, opened_store: tuple[Path, Path]
) -> None:
    folder = example.unpacked()[0].parent
    page = drop(page, *((name, (folder / name).read_bytes()) for name in example.FILES))
    assert not page.error
    assert "workload `demo`, 1,000 queries" in said(page)
    assert "predicted by `difficulty.onnx`" in said(page)
    assert not page.info


def test_limits_of_the_last_question_do_not_stay_for_the_next(
    page: AppTest, opened_store: tuple[Path, Path]
) -> None:
    page.session_state["accuracy"] = 99.0
    page.query_params["accuracy"] = "99.0"
    page = drop(page, *as_files(opened_store))
    assert not page.error
    assert "accuracy" not in page.session_state
    assert not page.query_params


def test_closed_files_are_deleted_and_the_first_ones_open_again(
    nothing_named: Path, opened_store: tuple[Path, Path]
) -> None:
    before = folders()
    page = drop(drawn(), *as_files(opened_store))
    assert len(folders() - before) == 1
    button(page, "Close them").click().run()
    assert not page.exception
    assert "workload `demo`" in said(page)
    assert folders() == before
    assert [one.label for one in page.button] == ["Open these files"]


def test_files_are_deleted_when_their_visitor_has_gone(
    opened_store: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.uploads, "GONE_S", 0.0)
    before = folders()
    page = drop(drawn(), *as_files(opened_store))
    (folder,) = folders() - before
    disconnect()
    wait_until(lambda: not folder.exists())
    page.run()
    assert "no longer kept" in page.error[0].value


def test_files_stay_for_a_visitor_who_comes_back(opened_store: tuple[Path, Path]) -> None:
    before = folders()
    page = drop(drawn(), *as_files(opened_store))
    (folder,) = folders() - before
    disconnect()
    assert folder in app.uploads._leaving
    page.run()
    assert folder not in app.uploads._leaving
    assert not page.error
    assert "`profiles.duckdb`: workload `tiny`" in said(page)
    button(page, "Close them").click().run()
    assert folders() == before


def disconnect() -> None:
    """What Streamlit does when a connection ends."""
    clear_session_cache("test session id")


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it did not come about")


def test_files_that_were_kept_long_enough_are_deleted_and_the_session_is_told(
    page: AppTest, opened_store: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = drop(page, *as_files(opened_store))
    monkeypatch.setattr(app.uploads, "KEPT_S", 0.0)
    page.run()
    assert not page.exception
    assert "no longer kept" in page.error[0].value
    page.run()
    assert not page.error
    assert "/store.duckdb`" in said(page)


def test_the_oldest_files_make_way_where_many_sessions_drop_some(
    opened_store: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folders()
    monkeypatch.setattr(app.uploads, "MOST_FOLDERS", len(before) + 2)
    pages = [drop(drawn(), *as_files(opened_store)) for _ in range(3)]
    assert len(folders()) <= len(before) + 2
    first, *others = (one.run() for one in pages)
    assert "no longer kept" in first.error[0].value
    assert not any(one.error for one in others)


def test_a_name_from_a_file_is_no_markup(
    nothing_named: Path, opened_store: tuple[Path, Path], tmp_path: Path
) -> None:
    with Store.open(tmp_path / "odd.duckdb") as store:
        rows = "query_id,strategy,score,cost_usd,latency_s,class\n" + "".join(
            f"q{index},small/single,{index % 2},0.01,1,![x](http://evil.example/x.png)\n"
            for index in range(20)
        )
        (tmp_path / "odd.csv").write_text(rows)
        name = "[w](http://evil.example)"
        import_file(store, tmp_path / "odd.csv", workload=name, evidence=Evidence.SIMULATED)
    page = drop(drawn(), ("odd.duckdb", (tmp_path / "odd.duckdb").read_bytes()))
    assert not page.error
    assert "workload `[w](http://evil.example)`" in said(page)
    assert "`![x](http://evil.example/x.png)`" in said(page)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "nothing that could be opened was dropped"),
        ([("prices.yaml", b"models: {}\n")], "nothing that could be opened was dropped"),
        ([("notes.txt", b"x")], "notes.txt"),
        ([("broken.yaml", b"a: [")], "broken.yaml"),
        ([("twice.yaml", b"workload: a\nworkload: b\n")], "workload"),
        ([("unknown.yaml", b'format_version: "1.0"\nworkload: w\nother: 1\n')], "other"),
        ([("policy.yaml", b"workload: w\ngraph: {}\n")], "drop it on the page Policy diff"),
        ([("a.yaml", b"workload: a\n"), ("b.yaml", b"workload: b\n")], "which spec is meant"),
        ([("a.duckdb", b"x"), ("b.duckdb", b"x")], "which store is meant"),
        ([("a.duckdb", b"x")], "expected a profile store"),
        ([(f"{index}.duckdb", b"x") for index in range(5)], "too many files"),
        ([("not utf-8.yaml", b"\xff\xfe\x00")], "not utf-8.yaml"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_words(
    page: AppTest, files: list[File], words: str
) -> None:
    before = folders()
    if any(not name.endswith((".yaml", ".duckdb")) for name, _ in files):
        with pytest.raises(Exception, match="Invalid file extension"):
            drop(page, *files)
        return
    drop(page, *files)
    (error,) = page.error
    assert words in error.value.replace("\\", "")
    assert folders() == before
    assert "/store.duckdb`" in said(page), "what was open stays open"
    page.run()
    assert not page.error, "it is said once"
