"""The Sensitivity page, driven without a browser, beside `inferbudget plan explain`."""

from __future__ import annotations

import json
import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from app.charts.sensitivity import tornado_chart
from app.cli.main import cli
from app.opened import SPEC, STORE
from app.pages.sensitivity_worked_out import explanation_bytes
from profiles.importing.importers import import_file
from profiles.observation import Evidence
from profiles.store.store import Store

HARD = "[hard](https://example.org)"
"""A name that Markdown would obey."""

ASKED = f"""format_version: "1.0"
workload: tiny
traffic: {{requests: 100000, per: month}}
limits: {{accuracy: {{overall: 0.85, by_class: {{"{HARD}": 0.64}}}}, latency: {{p95_s: 2.0}}}}
"""


def sensitivity() -> None:
    from app.pages.sensitivity import page  # noqa: PLC0415 -- all that the app's process sees

    page()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Five strategies of rising cost, one of which nobody needs."""
    folder = tmp_path_factory.mktemp("sensitivity")
    rng = random.Random(4)
    strategies = {  # dollars, seconds, chance where easy and where hard
        "small/single": (0.001, 0.4, 0.93, 0.30),
        "medium/single": (0.004, 0.7, 0.95, 0.62),
        "chatty/single": (0.006, 1.2, 0.94, 0.55),
        "large/single": (0.010, 1.5, 0.97, 0.85),
        "huge/single": (0.030, 1.2, 0.98, 0.90),
    }
    rows = ["query_id,strategy,score,cost_usd,latency_s,class"]
    for index in range(1200):
        hard = index % 4 == 0
        for text, (usd, seconds, *chances) in strategies.items():
            right = int(rng.random() < chances[hard])
            paid, took = usd * rng.uniform(0.8, 1.2), seconds * rng.uniform(0.7, 1.5)
            name = HARD if hard else "easy"
            rows.append(f'q{index},"{text}",{right},{paid:.6f},{took:.3f},{name}')
    (folder / "outcomes.csv").write_text("\n".join(rows) + "\n")
    store, spec = folder / "store.duckdb", folder / "spec.yaml"
    with Store.open(store) as opened:
        import_file(opened, folder / "outcomes.csv", workload="tiny", evidence=Evidence.SIMULATED)
    spec.write_text(ASKED)
    return spec, store


@pytest.fixture
def page(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    spec, store = files
    monkeypatch.setenv(SPEC, str(spec))
    monkeypatch.setenv(STORE, str(store))
    yield opened()
    spec.write_text(ASKED)


def opened() -> AppTest:
    found = AppTest.from_function(sensitivity, default_timeout=60).run()
    assert not found.exception
    return found


def asking(files: tuple[Path, Path], text: str) -> AppTest:
    """The page of another spec."""
    files[0].write_text(f'format_version: "1.0"\nworkload: tiny\n{text}')
    return opened()


def worked_out(page: AppTest, solves: int = 25) -> AppTest:
    page.select_slider(key="solves").set_value(solves)
    (button,) = [one for one in page.button if one.label == "Work it out"]
    button.click().run()
    assert not page.exception
    return page


def printed(page: AppTest) -> Any:
    """What the command on the page prints as JSON."""
    words = shlex.split(page.code[0].value)
    assert words[:3] == ["inferbudget", "plan", "explain"]
    done = CliRunner().invoke(cli, [*words[1:], "--format", "json"], standalone_mode=False)
    assert done.exception is None, done.output
    return json.loads(done.stdout)


def parts(page: AppTest, kind: str) -> list[Any]:
    """Of a kind that AppTest has no name for."""
    return list(page.get(kind))


def charts(page: AppTest) -> list[Any]:
    """Of every picture its words and its specification."""
    found = parts(page, "vega_lite_chart")
    return [(one.proto.alt, json.loads(one.proto.spec)) for one in found]


def rows_of(spec: Any, field: str) -> list[dict[str, Any]]:
    """Rows that a layer of a picture draws and that have this field."""
    sets = (layer.get("data", {}).get("values", []) for layer in spec["layer"])
    return next(list(rows) for rows in sets if rows and field in rows[0])


def said(page: AppTest) -> str:
    return "\n".join(one.value for one in [*page.markdown, *page.caption, *page.info])


def plain(text: str) -> str:
    return text.replace("\\", "")


def test_nothing_slow_happens_before_it_is_asked_for(page: AppTest) -> None:
    assert "Nothing is worked out yet" in page.info[0].value
    assert "1,200 re-solves" in page.info[0].value
    assert not page.subheader
    assert page.select_slider(key="solves").value == 400
    assert "simulated" in page.caption[0].value


def test_the_pictures_show_what_the_command_prints(page: AppTest) -> None:
    worked_out(page, 100)
    expected = printed(page)
    (_, tornado), (words, reach), (entering, _) = charts(page)
    factor = 1000
    drawn = {(row["number"], row["less"]): row for row in rows_of(tornado, "sign")}
    told = 0
    for swing in expected["swings"]:
        if not swing["size"] or swing["kind"] == "limit":
            continue
        for side in (swing["less"], swing["more"]):
            if side is not None and side["worth"] is not None:
                row = drawn[swing["words"]["number"], side["by"] < 0]
                assert row["value"] == pytest.approx(factor * (expected["value"] - side["worth"]))
                assert row["now"] == pytest.approx(factor * expected["value"])
                told += 1
    assert told > 6
    flips = rows_of(reach, "beyond")
    changes = {
        round(100 * side["flip"]["change"], 6)
        for swing in expected["swings"]
        for side in (swing["less"], swing["more"])
        if side and side["flip"] and swing["name"] != "latency.p95_s"
    }
    assert {round(flip["at"], 6) for flip in flips} == changes
    assert "How far each number may move" in words
    enters = {one["strategy"]: one["enters_at"] for one in expected["strategies"]}
    assert enters["huge/single"] is not None
    assert f"huge/single {100 * enters['huge/single']:.3g} % cheaper" in entering


def test_sentences_are_those_of_the_command(page: AppTest) -> None:
    worked_out(page)
    expected, text = printed(page), plain(said(page))
    for flip in expected["flips"]:
        assert plain(flip["words"]) in text
    certainty = expected["without"][-1]
    assert certainty["without"] == "confidence"
    assert certainty["words"] in text
    assert " USD per month)" in text
    assert expected["advice"]["summary"] in text
    assert "the frontier bends at " in text
    (strategies,) = [
        one.value for one in page.dataframe if "why" in one.value and "of" not in one.value
    ]
    assert [row["words"] for row in expected["strategies"]] == list(strategies["why"])


def test_all_figures_can_be_downloaded_as_the_command_prints_them(page: AppTest) -> None:
    worked_out(page)
    assert "Download all figures" in [one.label for one in parts(page, "download_button")]
    (found,) = page.session_state["explained"].values()
    assert json.loads(explanation_bytes(found)) == printed(page)


def test_names_that_others_wrote_are_no_markup(page: AppTest) -> None:
    text = said(worked_out(page))
    assert f"One more point of accuracy in `{HARD}` costs " in text
    assert not re.search(r"(?<!\\)\]\(https", re.sub(r"`[^`\n]*`", "", text))


def test_moved_limits_are_asked_for_anew_and_old_ones_are_remembered(page: AppTest) -> None:
    worked_out(page)
    page.slider(key="accuracy").set_value(80.0).run()
    assert not page.subheader
    assert "Nothing is worked out yet" in page.info[0].value
    assert "limits.accuracy.overall=0.8" in page.code[0].value
    page.slider(key="accuracy").set_value(85.0).run()
    assert page.subheader


def test_a_spec_that_changes_on_disk_is_another_question(
    page: AppTest, files: tuple[Path, Path]
) -> None:
    worked_out(page)
    files[0].write_text(ASKED.replace("0.64", "0.6"))
    page.run()
    assert "Nothing is worked out yet" in page.info[0].value


def test_few_re_solves_leave_something_out_and_it_is_counted(page: AppTest) -> None:
    worked_out(page)
    expected = printed(page)
    assert expected["unswung"] or expected["untried"]
    text = plain(said(page))
    if expected["unswung"]:
        assert f"not tried: {expected['unswung']} number" in text
    assert "not tried to the end" in text


def test_kinds_of_numbers_can_be_left_out(page: AppTest) -> None:
    worked_out(page)
    parts(page, "button_group")[0].set_value(["Prices"]).run()
    assert not page.exception
    numbers = {row["number"] for row in rows_of(charts(page)[0][1], "sign")}
    assert numbers
    assert all(number.startswith("price of ") for number in numbers)
    parts(page, "button_group")[0].set_value([]).run()
    assert not page.exception
    assert "No number that was tried changes" in said(page)
    assert "None of these numbers changes who answers" in said(page)


def test_limits_that_clash_are_explained_with_their_fixes(page: AppTest) -> None:
    page.slider(key="accuracy").set_value(99.9).run()
    assert not page.exception
    assert "No plan keeps these limits" in page.error[0].value
    assert not page.code
    assert any(one.label.startswith("Move ") or one.key for one in page.button)


def test_a_wrong_setting_is_explained(page: AppTest) -> None:
    page.text_area(key="set").set_value("strategies=3").run()
    assert not page.exception
    assert "strategies" in page.error[0].value


def test_without_limits_and_margins_the_page_says_so(
    page: AppTest, files: tuple[Path, Path]
) -> None:
    page = worked_out(asking(files, "confidence: none\n"))
    text = said(page)
    assert "The question has no limits" in text
    assert "on point estimates, no margin" in text
    assert "What promises cost" not in [one.value for one in page.subheader]


def test_accuracy_is_drawn_in_per_cent(page: AppTest, files: tuple[Path, Path]) -> None:
    limits = "limits: {spend: {usd_per_request: 0.004}}\n"
    page = worked_out(asking(files, f"objective: maximize accuracy\n{limits}"))
    expected = printed(page)
    alt, tornado = charts(page)[0]
    assert alt.startswith("Tornado of accuracy less doubt, %")
    assert rows_of(tornado, "sign")[0]["now"] == pytest.approx(100 * expected["value"])


def test_one_strategy_alone_has_nobody_who_could_enter(
    page: AppTest, files: tuple[Path, Path]
) -> None:
    page = worked_out(asking(files, "strategies: [large/single]\n"))
    assert "No unused strategy was found" in said(page)


def test_fixed_costs_bring_no_advice_and_the_notes_say_why(
    page: AppTest, files: tuple[Path, Path]
) -> None:
    fees = "fixed_costs: [{name: rent, pays_for: [large], usd: 10, per: month}]\n"
    files[0].write_text(ASKED + fees)
    page = opened()
    worked_out(page)
    text = plain(said(page))
    assert "Nothing is advised here" in text
    assert "no advice on what to measure next" in text
    assert "fixed costs stay as paid" in text


def test_an_answer_without_a_proof_is_an_error_in_words(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.planner.TIME_LIMIT_S", 1e-9)
    worked_out(page)
    assert "without a proof" in plain(page.error[0].value)
    assert not page.subheader


def test_what_a_picture_has_no_room_for_is_counted(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pages.sensitivity._BARS", 1)
    worked_out(page, 100)
    _, tornado = charts(page)[0]
    assert len({row["number"] for row in rows_of(tornado, "sign")}) == 1
    assert " more: see the table" in said(page)
    assert " more change the plan later." in said(page)


def test_a_side_without_a_plan_is_written_where_the_other_side_leaves_room() -> None:
    floor = {"number": "limit: accuracy", "now": 2.0, "edge": "-", "effect": ""}
    rows = [
        {**floor, "less": True, "value": 1.5, "change": "-20 %"},
        {**floor, "less": False, "value": None, "change": "+17.6 %"},
    ]
    spec = tornado_chart(rows, 2.0, "USD", 0.2).to_dict()
    (absent,) = rows_of(spec, "opposite")
    assert absent["text"] == "no plan at +17.6 %"
    assert absent["opposite"] == "right"
    assert [row["sign"] for row in rows_of(spec, "sign")] == ["-"]
