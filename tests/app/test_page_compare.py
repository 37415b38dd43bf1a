"""The page Compare, driven without a browser, beside what the command prints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from app.charts.compare import outcomes_chart, shares_chart
from app.cli.main import cli
from app.kept_scenarios import ADDRESS, LONGEST_ADDRESS
from app.opened import SPEC, STORE
from app.scenarios import MOST, Scenario, address_text, file_text, parse_scenarios
from profiles.importing.importers import import_file
from profiles.observation import Evidence, Observation
from profiles.store.store import Store

CHEAPER = Scenario.of("cheaper", ("limits.spend={usd_per_request: 0.003}",))
WRITTEN = Scenario.of("as written", ())
TOO_MUCH = Scenario.of("too much", ("limits.accuracy.overall=0.99",))


def draw() -> None:
    from app.pages import compare  # noqa: PLC0415 -- the function is a script of its own

    compare.page()


def opened(*scenarios: Scenario) -> AppTest:
    found = AppTest.from_function(draw, default_timeout=60)
    if scenarios:
        found.query_params[ADDRESS] = address_text(scenarios)
    found.run()
    assert not found.exception
    return found


@pytest.fixture
def page(opened_store: tuple[Path, Path]) -> AppTest:
    return opened()


def button(page: AppTest, start: str) -> Button:
    return next(one for one in page.button if one.label.startswith(start))


def save(page: AppTest, name: str) -> None:
    page.text_input(key="scenario name").set_value(name)
    button(page, "Save").click().run()
    assert not page.exception


def compared(page: AppTest) -> list[str]:
    return page.multiselect[0].value if page.multiselect else []


def address(page: AppTest) -> tuple[Scenario, ...]:
    found = page.query_params[ADDRESS]
    return parse_scenarios(found if isinstance(found, str) else found[-1], "address")


def answer(page: AppTest, files: tuple[Path, Path], folder: Path) -> Any:
    """What the page's own command prints for the file that it offers."""
    words = shlex.split(page.code[0].value)
    (folder / "scenarios.yaml").write_text(file_text(address(page)))
    words[words.index("scenarios.yaml")] = str(folder / "scenarios.yaml")
    done = CliRunner().invoke(cli, [*words[1:], "--format", "json"], standalone_mode=False)
    return json.loads(done.stdout)


def figures(page: AppTest, label: str) -> list[str]:
    return [one.value for one in page.metric if one.label == label]


def texts(elements: Iterable[Any]) -> str:
    return "\n".join(str(one.value) for one in elements)


def test_an_empty_page_says_how_to_begin(page: AppTest) -> None:
    assert "Two scenarios are needed" in page.info[0].value
    assert not page.multiselect
    assert not page.code
    assert ADDRESS not in page.query_params


def test_views_of_the_sidebar_are_saved_and_compared(page: AppTest) -> None:
    button(page, "Add the spec as it is written").click().run()
    assert compared(page) == ["as written"]
    assert "Two scenarios are needed" in page.info[0].value
    page.slider(key="budget").set_value(3.0).run()
    save(page, " cheaper ")
    assert compared(page) == ["as written", "cheaper"]
    assert not page.info
    assert address(page)[1].settings == CHEAPER.settings
    assert not any(one.label.startswith("Add the spec") for one in page.button)


def test_the_figures_are_those_of_the_command(
    opened_store: tuple[Path, Path], tmp_path: Path
) -> None:
    page = opened(WRITTEN, CHEAPER)
    found = answer(page, opened_store, tmp_path)["scenarios"]
    for place, column in enumerate(found):
        expected = column["plan"]["rung"]["expected"]
        accuracy = float(figures(page, "Accuracy")[place].rstrip(" %"))
        assert accuracy == pytest.approx(100 * expected["accuracy"], abs=0.05)
        dollars = float(figures(page, "USD per 1,000 requests")[place])
        assert dollars == pytest.approx(1000 * expected["cost_usd_per_request"], rel=1e-3)
    deltas = [one.delta for one in page.metric if one.label == "Accuracy"]
    change = found[1]["difference"]["accuracy"]
    assert deltas[0] == ""
    assert deltas[1].startswith(f"{100 * change['change']:+.1f} points (")
    assert f"{100 * change['low']:+.1f}..{100 * change['high']:+.1f}" in deltas[1]
    shares = page.table[1].value
    assert list(shares["strategy"]) == ["`large/single`", "`small/single`"]
    expected = found[0]["plan"]["rung"]["allocation"]["hard"]["large/single"]
    assert float(shares["`as written`"][0].rstrip(" %")) == pytest.approx(100 * expected, abs=0.06)


def test_every_plan_has_its_command(opened_store: tuple[Path, Path]) -> None:
    page = opened(WRITTEN, CHEAPER, TOO_MUCH)
    whole, *each = (shlex.split(one.value) for one in page.code)
    assert whole[:2] == ["inferbudget", "compare"]
    assert whole[-6:] == [word for one in (WRITTEN, CHEAPER, TOO_MUCH)
                          for word in ("--scenario", one.name)]  # fmt: skip
    assert [words[1] for words in each] == ["plan"] * 3
    assert "--set" not in each[0]
    assert each[1][-2:] == ["--set", CHEAPER.settings[0]]


def test_what_differs_stands_above_what_is_the_same(opened_store: tuple[Path, Path]) -> None:
    page = opened(WRITTEN, CHEAPER)
    differs, _, by_class, same = (one.value for one in page.table)
    assert list(differs.columns) == ["figure", "`as written`", "`cheaper`"]
    assert differs["figure"][0] == "set `limits.spend`"
    assert "against `as written`" in list(differs["figure"])
    assert list(by_class["figure"]) == ["`hard`", "against `as written`"]
    assert "objective" in list(same["figure"])
    assert not set(same["figure"]) & set(differs["figure"])
    assert "1 class is answered alike" in texts(page.caption)


def test_pictures_say_in_words_what_they_show(opened_store: tuple[Path, Path]) -> None:
    page = opened(WRITTEN, CHEAPER)
    outcomes, shares = page.get("vega_lite_chart")
    assert "cheaper: 84.9 %" in outcomes.proto.alt
    assert "share of a class" in shares.proto.alt
    assert json.loads(outcomes.proto.spec)["height"] == 300


def test_an_infeasible_scenario_says_why_and_its_fix_is_one_click(
    opened_store: tuple[Path, Path],
) -> None:
    page = opened(TOO_MUCH, CHEAPER)
    assert "cannot hold" in page.error[0].value
    assert figures(page, "Accuracy") == ["84.9 %"]
    assert list(page.table[0].value["figure"]) == [
        "set `limits.accuracy.overall`",
        "set `limits.spend`",
    ]
    assert "no plan" in list(page.table[-1].value["`too much`"])
    assert len(page.get("vega_lite_chart")) == 1
    button(page, "Move `accuracy.overall` to 0.879").click().run()
    assert not page.exception
    assert not page.error
    assert address(page)[0].settings == ("limits.accuracy.overall=0.879",)
    assert len(figures(page, "Accuracy")) == 2


def test_scenarios_of_which_none_has_a_plan_are_explained(opened_store: tuple[Path, Path]) -> None:
    page = opened(TOO_MUCH, Scenario.of("too fast", ("limits.latency.p95_s=0.01",)))
    assert len(page.error) == 2
    assert not page.metric
    assert not page.get("vega_lite_chart")
    assert len(page.table) == 1


def test_a_wrong_setting_is_explained_in_its_column(opened_store: tuple[Path, Path]) -> None:
    page = opened(WRITTEN, Scenario.of("odd", ("strategies=3",)))
    (error,) = page.error
    assert "strategies" in error.value
    assert len(figures(page, "Accuracy")) == 1


def test_a_setting_cannot_open_another_file(opened_store: tuple[Path, Path]) -> None:
    page = opened(WRITTEN, Scenario.of("odd", ("prices=/etc/passwd",)))
    (error,) = page.error
    assert "opens no other files" in error.value


def test_a_plan_that_came_too_late_can_be_asked_for_again(
    opened_store: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Scenario.of("late", ("limits.spend={usd_per_request: 0.00311}",))
    with monkeypatch.context() as hurried:
        hurried.setattr("app.pages.compare.TIME_LIMIT_S", 1e-9)
        page = opened(WRITTEN, late)
        assert "Time limit reached" in page.error[0].value
        assert "--time-limit" in texts(page.caption)
    page.run()
    assert page.error
    button(page, "Try again").click().run()
    assert not page.exception
    assert not page.error
    assert len(figures(page, "Accuracy")) == 2


def test_the_address_brings_back_what_is_compared_and_in_which_order(
    opened_store: tuple[Path, Path],
) -> None:
    page = opened(CHEAPER, WRITTEN)
    assert compared(page) == ["cheaper", "as written"]
    assert address(page) == (CHEAPER, WRITTEN)
    page.multiselect[0].set_value(["as written"]).run()
    assert address(page) == (WRITTEN,)
    page.multiselect[0].set_value([]).run()
    assert ADDRESS not in page.query_params


@pytest.mark.parametrize("text", ["{", "{format_version: '1.0', scenarios: [{name: a, b: c}]}"])
def test_a_wrong_address_is_explained(opened_store: tuple[Path, Path], text: str) -> None:
    page = AppTest.from_function(draw, default_timeout=60)
    page.query_params[ADDRESS] = text
    page.run()
    assert not page.exception
    assert page.error[0].value.startswith("the address of this page")
    page.run()
    assert not page.error


def test_what_is_too_long_for_an_address_is_said(opened_store: tuple[Path, Path]) -> None:
    names = ", ".join(f'"small/single{"x" * 60}{i}"' for i in range(80))
    page = opened(WRITTEN)
    long = Scenario.of("long", (f"strategies=[{names}]",))
    assert len(address_text([long])) > LONGEST_ADDRESS
    page.file_uploader[0].set_value(("s.yaml", file_text([long]).encode(), "application/yaml"))
    page.run()
    assert not page.exception
    assert "too long for the address" in texts(page.caption)
    assert ADDRESS not in page.query_params


def test_a_file_is_opened_and_replaces_scenarios_of_its_names(
    opened_store: tuple[Path, Path],
) -> None:
    page = opened(WRITTEN, TOO_MUCH)
    new = Scenario.of("too much", CHEAPER.settings)
    content = file_text([new, CHEAPER]).encode()
    page.file_uploader[0].set_value(("s.yaml", content, "application/yaml")).run()
    assert not page.exception
    assert not page.error
    assert compared(page) == ["as written", "too much", "cheaper"]
    assert address(page) == (WRITTEN, new, CHEAPER)
    page.file_uploader[0].set_value(None).run()
    assert compared(page) == ["as written", "too much", "cheaper"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"format_version: '1.0'\nscenarios: []\n", "at least 1 item"),
        (b"\xff\xfe", "UTF-8"),
        (b"scenarios: [{name: a, name: b}]", "stands twice"),
        (
            file_text([Scenario.of(f"n{i}", ()) for i in range(MOST)]).encode(),
            "too many scenarios",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(
    opened_store: tuple[Path, Path], content: bytes, said: str
) -> None:
    page = opened(WRITTEN)
    page.file_uploader[0].set_value(("s.yaml", content, "application/yaml")).run()
    assert not page.exception
    assert said in page.error[0].value.replace("\\", "")
    assert compared(page) == ["as written"]


def test_a_name_that_is_none_is_refused(page: AppTest) -> None:
    save(page, "")
    assert "at least 1 character" in page.error[0].value
    assert not page.multiselect


def test_a_removed_scenario_is_compared_no_more(opened_store: tuple[Path, Path]) -> None:
    page = opened(WRITTEN, CHEAPER, TOO_MUCH)
    page.button(key="remove cheaper").click().run()
    assert not page.exception
    assert compared(page) == ["as written", "too much"]
    assert address(page) == (WRITTEN, TOO_MUCH)


def test_a_fifth_scenario_is_kept_and_not_compared(opened_store: tuple[Path, Path]) -> None:
    page = opened(*(Scenario.of(f"n{i}", CHEAPER.settings) for i in range(4)))
    save(page, "fifth")
    assert compared(page) == ["n0", "n1", "n2", "n3"]
    assert "fifth" in page.multiselect[0].options
    assert {one.delta for one in page.metric} == {"", "unchanged"}


def test_names_are_no_markup(opened_store: tuple[Path, Path]) -> None:
    name = "[x](http://e) *b* :red[c] `d`"
    page = opened(WRITTEN, Scenario.of(name, TOO_MUCH.settings))
    shown = f"`` {name} ``"
    assert f"**{shown}**" in texts(page.markdown)
    assert shown in page.table[0].value.columns
    assert not any(name in text.replace(shown, "") for text in texts(page.caption).splitlines())


def test_without_dollars_there_is_no_picture_of_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["query,model,method,score,class"]
    lines += [
        f"q{i},{model},single,{int(i % 10 < right)},c{i % 2}"
        for i in range(100)
        for model, right in (("small", 6), ("large", 9))
    ]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with Store.open(tmp_path / "store.duckdb") as store:
        import_file(store, tmp_path / "rows.csv", workload="w", evidence=Evidence.MEASURED)
    (tmp_path / "spec.yaml").write_text(
        'format_version: "1.0"\nworkload: w\nobjective: maximize accuracy\n'
    )
    monkeypatch.setenv(SPEC, str(tmp_path / "spec.yaml"))
    monkeypatch.setenv(STORE, str(tmp_path / "store.duckdb"))
    page = opened(WRITTEN, Scenario.of("small", ("strategies=[small/single]", "confidence=none")))
    assert set(figures(page, "USD per 1,000 requests")) == {"not measured"}
    assert set(figures(page, "p95 latency")) == {"not measured"}
    assert len(page.get("vega_lite_chart")) == 1
    helps = [one.help for one in page.metric if one.label == "Accuracy"]
    assert "95 % confidence" in helps[0]
    assert "nothing is promised" in helps[1]


def test_a_point_is_told_from_others_by_shape_and_name_too() -> None:
    row = {"cost": 1.0, "promised_cost": 2.0, "accuracy": 80.0, "promised_accuracy": 70.0}
    spec = outcomes_chart([{"name": name, **row} for name in "abcd"]).to_dict()
    points, names = spec["layer"][2], spec["layer"][3]
    for channel in ("color", "shape"):
        scale = points["encoding"][channel]["scale"]
        assert len(set(scale["range"])) == 4
    assert names["encoding"]["text"]["field"] == "name"


def test_a_part_of_a_bar_has_the_number_of_its_strategy() -> None:
    rows = [
        {"class": "hard", "scenario": name, "strategy": text, "share": 0.5}
        for name in "ab"
        for text in ("large", "small")
    ]
    spec = shares_chart(rows, {"large": "#000000", "small": "#ffffff"}).to_dict()
    bars, rim, number = spec["layer"]
    assert bars["encoding"]["color"]["scale"]["domain"] == ["1 large", "2 small"]
    assert rim["mark"]["stroke"] == "black"
    assert number["mark"]["color"] == "white"
    assert [value["number"] for value in spec["data"]["values"]] == [1, 2, 1, 2]
    assert spec["layer"][0]["encoding"]["x"]["stack"] == "zero"


def test_a_changed_price_card_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        Observation("w", f"q{index}", "m/single", 0, 1.0, tokens_in=100, tokens_out=50)
        for index in range(300)
    ]
    with Store.open(tmp_path / "store.duckdb") as store:
        store.add(rows)
    spec, card = tmp_path / "spec.yaml", tmp_path / "card.yaml"
    spec.write_text('format_version: "1.0"\nworkload: w\nprices: card.yaml\n')
    card.write_text("as_of: 2024-01-01\nmodels: {m: {input: 10, output: 20}}\n")
    monkeypatch.setenv(SPEC, str(spec))
    monkeypatch.setenv(STORE, str(tmp_path / "store.duckdb"))
    page = opened(WRITTEN, Scenario.of("rough", ("confidence=0.8",)))
    assert {one.value for one in page.metric if one.label.startswith("USD")} == {"2"}
    card.write_text("as_of: 2024-01-01\nmodels: {m: {input: 20, output: 40}}\n")
    page.run()
    assert {one.value for one in page.metric if one.label.startswith("USD")} == {"4"}
