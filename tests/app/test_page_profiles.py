"""The Profiles page, driven without a browser."""

from __future__ import annotations

import json
import random
import shlex
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from app.cli.main import cli
from app.opened import SPEC, STORE
from profiles.aggregate import Aggregate
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

Patch = pytest.MonkeyPatch
NOW = datetime.now(UTC).replace(tzinfo=None)
LEVELS = {1: 0.40, 2: 0.55, 4: 0.66, 8: 0.68, 16: 0.685, 32: 0.69}
THINKING = {1000: 0.45, 2000: 0.62, 4000: 0.70, 8000: 0.50}
PAPER = "a [paper](http://example.org)"
SPEC_TEXT = (
    'format_version: "1.0"\nworkload: traffic\nobjective: maximize accuracy\n'
    "traffic: {requests: 100000, per: month}\nlimits: {spend: {usd_per_request: 0.004}}\n"
)


def rows() -> Iterator[Observation]:
    """Samples that stop paying, and thinking that turns to harm; easy queries twice as often."""
    rng = random.Random(11)
    for index in range(900):
        easier = 0.15 if index % 3 else 0.0
        hardness = rng.random()
        about: dict[str, Any] = {
            "workload": "traffic",
            "query_id": f"q{index}",
            "sample": 0,
            "observed_at": NOW - timedelta(days=1 if index % 3 else 40),
            "source": "test",
        }
        for n, accuracy in LEVELS.items():
            yield Observation(
                strategy=f"small/best_of_n(n={n},verifier=checker)",
                score=float(hardness < accuracy + easier + rng.uniform(-0.05, 0.05)),
                cost_usd=0.0004 * n,
                latency_s=0.2 * rng.lognormvariate(0, 0.3),
                tokens_in=100,
                tokens_out=80 * n,
                **about,
            )
        for budget, accuracy in THINKING.items():
            yield Observation(
                strategy=f"large/thinking_budget(budget={budget})",
                score=float(hardness < accuracy + easier + rng.uniform(-0.05, 0.05)),
                cost_usd=0.000002 * budget,
                tokens_out=budget,
                **about,
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profiles_page")
    with Store.open(folder / "store.duckdb") as store:
        store.add(rows())
        queries = [
            Query(f"q{index}", class_label="easy" if index % 3 else "hard") for index in range(900)
        ]
        store.add_queries("traffic", queries)
        store.add_aggregates(
            [
                Aggregate(
                    "traffic", "easy", "other/single", 500, 0.8, cost_usd=0.002, source=PAPER
                ),
                Aggregate("traffic", "hard", "other/single", None, 0.3, source=PAPER),
                Aggregate("traffic", "easy", "rare/single", 40, 0.7, cost_usd=0.03, source=PAPER),
                Aggregate("traffic", "all", "other/single", 900, 0.6, source=PAPER),
                Aggregate("elsewhere", "[x](y)", "other/single", 70, 0.9, source="a table"),
                *(
                    Aggregate("wide", name, f"m{n % 3}/vote(n={n})", 50, 0.5, source="a table")
                    for n in range(1, 31)
                    for name in ("a", "b")
                    if n % 7 or name == "a"
                ),
                *(
                    Aggregate("families", "a", f"m{m}/vote(n={n})", 50, 0.5, source="a table")
                    for m in range(6)
                    for n in (1, 2)
                ),
            ]
        )
    (folder / "spec.yaml").write_text(SPEC_TEXT)
    return folder


@pytest.fixture(autouse=True)
def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPEC, str(folder / "spec.yaml"))
    monkeypatch.setenv(STORE, str(folder / "store.duckdb"))


def script() -> None:
    from app.pages.coverage import page  # noqa: PLC0415 - a script of its own

    page()


def drawn(section: str | None = None) -> AppTest:
    page = AppTest.from_function(script, default_timeout=60).run()
    if section:
        page.button_group(key="profiles_section").set_value(section).run()
    assert not page.exception
    return page


def printed(page: AppTest) -> dict[str, Any]:
    """What the command that the page shows prints as JSON."""
    words = shlex.split(page.code[-1].value)
    assert words[0] == "inferbudget"
    done = CliRunner().invoke(cli, [*words[1:], "--format", "json"], standalone_mode=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def charts(page: AppTest) -> list[dict[str, Any]]:
    """Specs of the pictures; rows that all layers share come as a table of their own."""
    found = []
    for one in page.get("vega_lite_chart"):
        spec = json.loads(one.proto.spec)
        for table in one.proto.datasets:
            rows = pa.ipc.open_stream(table.data.data).read_all().to_pylist()
            assert spec["data"]["name"] == table.name
            spec["data"]["values"] = rows
        found.append(spec)
    return found


def marks(chart: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = (chart["layer"][layer].get("data") or chart["data"])["values"]
    return values


def facts(page: AppTest) -> dict[str, str]:
    """Without the backslashes that keep Markdown from obeying what a cell says."""
    table = page.table[0].value
    pairs = zip(table["figure"], table["value"], strict=True)
    return {name.replace("\\", ""): value.replace("\\", "") for name, value in pairs}


def choose_cell(page: AppTest, class_name: str, strategy: str) -> None:
    page.selectbox(key="cell_class").set_value(class_name)
    page.selectbox(key="cell_strategy").set_value(strategy).run()
    assert not page.exception


def choose_workload(page: AppTest, name: str) -> None:
    page.selectbox(key="workload").set_value(name).run()
    assert not page.exception


# --- coverage


def test_the_matrix_says_what_the_command_prints() -> None:
    page = drawn()
    expected = {
        (row["class"], row["strategy"]): (row["state"], row["queries"])
        for row in printed(page)["coverage"]
    }
    assert len(expected) == 24
    (picture,) = charts(page)
    drawn_cells = {(row["class"], row["strategy"]): row for row in marks(picture, 0)}
    assert drawn_cells.keys() == expected.keys()
    for key, (state, queries) in expected.items():
        said = drawn_cells[key]["kind"]
        assert state in said
        assert drawn_cells[key]["size"] == ("unknown" if queries is None else f"{queries:,}")
    table = page.dataframe[0].value
    assert len(table) == 24
    counted = "● 20 measured; ■ 2 published; □ 1 published, no sample size; ✕ 1 missing"
    assert f"**24 cells**: {counted}" in page.markdown[0].value


def test_a_state_is_told_by_a_sign_too() -> None:
    (picture,) = charts(drawn())
    signs = {row["kind"]: row["sign"].split()[0] for row in marks(picture, 0)}
    assert len(set(signs.values())) == len(signs) == 4
    assert all(kind.startswith(sign) for kind, sign in signs.items())


def test_cells_are_stale_after_as_many_days_as_asked() -> None:
    page = drawn()
    page.number_input(key="stale_after").set_value(30.0).run()
    assert not page.exception
    assert "10 stale" in page.markdown[0].value
    states = [row["state"] for row in printed(page)["coverage"]]
    assert "--stale-after 30" in page.code[-1].value
    assert states.count("stale") == 10
    page.number_input(key="stale_after").set_value(50.0).run()
    assert "stale" not in page.markdown[0].value


def test_strategies_are_found_by_a_part_of_their_name() -> None:
    page = drawn()
    page.text_input(key="strategies_holding").set_value("THINKING").run()
    assert "**8 cells**" in page.markdown[0].value
    assert len(page.selectbox(key="cell_strategy").options) == len(THINKING)
    page.text_input(key="strategies_holding").set_value("[no](such)").run()
    assert not page.exception
    (said,) = page.info
    assert "contains `[no](such)`" in said.value


def test_a_chosen_cell_that_is_filtered_away_gives_way_to_the_first() -> None:
    page = drawn()
    choose_cell(page, "hard", "small/best_of_n(n=8,verifier=checker)")
    page.text_input(key="strategies_holding").set_value("thinking").run()
    assert not page.exception
    assert page.selectbox(key="cell_strategy").value == "large/thinking_budget(budget=1000)"
    assert page.selectbox(key="cell_class").value == "hard"


def test_the_figures_of_a_cell_are_those_of_the_command() -> None:
    page = drawn()
    strategy = "small/best_of_n(n=8,verifier=checker)"
    choose_cell(page, "hard", strategy)
    (row,) = [
        row
        for row in printed(page)["cells"]
        if (row["class"], row["strategy"]) == ("hard", strategy)
    ]
    shown = facts(page)
    assert shown["accuracy"] == f"{100 * row['accuracy']:.1f} %"
    low, high = (f"{100 * row[f'accuracy_{end}']:.1f} %" for end in ("low", "high"))
    assert shown["95 % interval"] == f"{low} .. {high}"
    assert float(shown["USD per 1,000 requests"]) == pytest.approx(1000 * row["cost_usd"], rel=1e-3)
    assert shown["latency, 95 % take at most"] == f"{row['latency_p95_s']:.4g} s"
    assert shown["prompt tokens"] == "100"
    assert shown["GPU seconds"] == shown["calls to models"] == "not measured"


def test_half_of_the_answers_lie_on_either_side_of_the_median_shown(folder: Path) -> None:
    page = drawn()
    strategy = "small/best_of_n(n=1,verifier=checker)"
    choose_cell(page, "easy", strategy)
    low, high = facts(page)["latency, half take at most"].removesuffix(" s").split(" .. ")
    with Store.open(folder / "store.duckdb", read_only=True) as store:
        seconds = [
            row.latency_s or 0.0
            for row in store.outcomes("traffic", [strategy])
            if int(row.query_id[1:]) % 3
        ]
    assert len(seconds) == 600
    assert float(low) * 0.999 < statistics.median(seconds) <= float(high) * 1.001


def test_a_cell_without_latencies_has_no_median() -> None:
    page = drawn()
    choose_cell(page, "easy", "large/thinking_budget(budget=1000)")
    assert "latency, half take at most" not in facts(page)
    assert facts(page)["latency, 95 % take at most"] == "not measured"


def test_a_missing_cell_says_what_to_do() -> None:
    page = drawn()
    choose_cell(page, "hard", "rare/single")
    (said,) = page.info
    assert "never measured in this class" in said.value
    assert "inferbudget profile measure" in said.value


def test_a_published_cell_without_a_size_has_no_interval() -> None:
    page = drawn()
    choose_cell(page, "hard", "other/single")
    shown = facts(page)
    assert shown["accuracy"] == "30.0 %"
    assert shown["95 % interval"] == shown["USD per 1,000 requests"] == "not measured"


def test_publications_and_what_is_no_cell_are_named() -> None:
    page = drawn()
    assert page.caption[-1].value == f"Published: `{PAPER}`"
    (said,) = [one.value for one in page.markdown if "is no cell" in one.value]
    (aside,) = printed(page)["set_aside"]
    assert aside["reason"] in said


def test_many_strategies_are_counted_by_model_or_shown_in_pages() -> None:
    page = drawn()
    choose_workload(page, "wide")
    (counted,) = charts(page)
    known = {(row["models"], row["class"]): row["of"] for row in marks(counted, 0)}
    assert known["m0", "a"] == "10/10"
    assert known["m1", "b"] == "8/10"
    page.toggle(key="by_model").set_value(False).run()
    (first,) = charts(page)
    assert len(marks(first, 0)) == 50
    page.pagination(key="coverage_page").set_value(2).run()
    assert not page.exception
    (second,) = charts(page)
    assert len(marks(second, 0)) == 10


# --- scaling curves


def test_curves_say_what_the_command_finds() -> None:
    page = drawn("Scaling curves")
    page.selectbox(key="curves_class").set_value("hard").run()
    shapes = {row["family"]: row for row in printed(page)["shapes"] if row["class_name"] == "hard"}
    assert shapes.keys() == {
        "large/thinking_budget(budget=*)",
        "small/best_of_n(n=*,verifier=checker)",
    }
    said = "\n".join(one.value for one in page.markdown)
    knee = shapes["small/best_of_n(n=*,verifier=checker)"]["knee"]
    assert f"knee n {knee['compute']:.4g}: no doubling after it gains 1 points" in said
    downturns = shapes["large/thinking_budget(budget=*)"]["downturns"]
    assert downturns
    for one in downturns:
        assert f"more compute loses {-100 * one['change']:.1f} points" in said
    assert "300 queries stand behind each level" in page.caption[1].value


def test_what_gains_nothing_and_what_does_harm_is_marked() -> None:
    page = drawn("Scaling curves")
    thinking, samples = charts(page)
    (harm,) = marks(thinking, 0)
    assert (harm["what"], harm["from"], harm["to"]) == ("loses accuracy", 4000.0, 8000.0)
    (idle,) = marks(samples, 0)
    assert idle["what"] == "no gain"
    assert 4 < idle["from"] < 16
    assert idle["to"] == 32
    worse = {row["strategy"] for row in marks(thinking, -1) if row["what"] == "loses accuracy"}
    assert worse == {"large/thinking_budget(budget=8000)"}
    alt = [one.proto.alt for one in page.get("vega_lite_chart")]
    assert "more compute loses" in alt[0]
    assert "no loss beyond noise" in alt[1]


def test_compute_can_be_counted_in_dollars_and_a_doubling_in_more_points() -> None:
    page = drawn("Scaling curves")
    page.selectbox(key="curves_unit").set_value("USD")
    page.number_input(key="curves_points").set_value(5.0).run()
    assert not page.exception
    assert "--points 5 --compute cost_usd" in page.code[-1].value
    shapes = [row for row in printed(page)["shapes"] if row["class_name"] == "easy"]
    for picture, shape in zip(charts(page), shapes, strict=True):
        assert picture["layer"][-1]["encoding"]["x"]["title"] == "USD per request"
        levels = [row["compute"] for row in marks(picture, -1)]
        assert levels == pytest.approx([level["compute"] for level in shape["levels"]])


def test_compute_that_nobody_measured_is_said() -> None:
    page = drawn("Scaling curves")
    page.selectbox(key="curves_unit").set_value("GPU seconds").run()
    assert not page.exception
    assert not charts(page)
    assert "nothing measured says how much compute" in page.markdown[1].value


def test_a_class_without_families_says_what_to_measure() -> None:
    page = drawn("Scaling curves")
    choose_workload(page, "elsewhere")
    (said,) = page.info
    assert "In `[x](y)` no two strategies differ in one parameter alone" in said.value


def test_families_are_found_by_a_part_of_their_name() -> None:
    page = drawn("Scaling curves")
    page.text_input(key="families_holding").set_value("Thinking").run()
    assert len(charts(page)) == 1
    page.text_input(key="families_holding").set_value("none").run()
    assert not page.exception
    assert "None of 2 families contains `none`" in page.info[0].value


def test_many_families_come_in_pages() -> None:
    page = drawn("Scaling curves")
    choose_workload(page, "families")
    assert len(charts(page)) == 4
    page.pagination(key="curves_page").set_value(2).run()
    assert not page.exception
    assert len(charts(page)) == 2


def test_an_unknown_number_of_queries_is_said(tmp_path: Path, monkeypatch: Patch) -> None:
    with Store.open(tmp_path / "store.duckdb") as store:
        cells = [
            Aggregate("traffic", "all", f"m/vote(n={n})", size, 0.5)
            for n, size in ((1, 50), (2, None))
        ]
        store.add_aggregates(cells)
    monkeypatch.setenv(STORE, str(tmp_path / "store.duckdb"))
    page = drawn("Scaling curves")
    assert "A number of queries that nobody says" in page.caption[-1].value
    assert "nobody says how many queries stand behind" in page.markdown[1].value


# --- knees


def test_a_knee_is_that_of_the_commands_frontier() -> None:
    page = drawn("Knee per class")
    for name in ("easy", "hard"):
        page.selectbox(key="knee_class").set_value(name).run()
        assert not page.exception
        knee = printed(page)["knee"]
        table = page.dataframe[0].value.set_index("class")
        assert table.loc[name, "USD per 1,000 requests"] == pytest.approx(
            1000 * knee["usd_per_request"], rel=1e-3
        )
        assert table.loc[name, "accuracy, %"] == pytest.approx(100 * knee["accuracy"], abs=0.05)
        per_point = knee["usd_per_point_beyond"] * 100_000 * {"easy": 2 / 3, "hard": 1 / 3}[name]
        assert f"costs {per_point:.4g} USD a month at 100,000 requests" in page.markdown[1].value


def test_a_spec_without_traffic_has_knees_too(
    folder: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC_TEXT.replace("traffic: {requests: 100000, per: month}\n", ""))
    monkeypatch.setenv(SPEC, str(spec))
    page = drawn("Knee per class")
    knee = printed(page)["knee"]
    assert f"{1000 * knee['usd_per_request']:.3g} USD per 1,000 requests" in page.markdown[0].value


def test_one_strategy_has_a_frontier_without_a_bend(tmp_path: Path, monkeypatch: Patch) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC_TEXT + "strategies: [large/thinking_budget(budget=1000)]\n")
    monkeypatch.setenv(SPEC, str(spec))
    page = drawn("Knee per class")
    assert "the frontier has no bend" in page.markdown[0].value
    assert page.dataframe[0].value["knee"].tolist() == ["no bend: points cost about the same"] * 2


def test_a_class_without_a_frontier_says_why(tmp_path: Path, monkeypatch: Patch) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        SPEC_TEXT.replace("limits: {", "limits: {accuracy: {by_class: {hard: 0.999}}, ")
    )
    monkeypatch.setenv(SPEC, str(spec))
    page = drawn("Knee per class")
    assert page.dataframe[0].value["knee"].tolist() == ["no frontier"] * 2
    assert "no allocation keeps all limits" in page.error[-1].value
    assert page.code[-1].value.startswith("inferbudget plan explain")


# --- what to measure next


def test_the_advice_is_that_of_the_command() -> None:
    page = drawn("Measure next")
    expected = printed(page)
    assert expected["rows"]
    assert page.markdown[0].value == expected["summary"]
    table = page.dataframe[0].value
    for name, key in (("class", "class_name"), ("strategy", "strategy"), ("why", "reason")):
        assert table[name].tolist() == [row[key] for row in expected["rows"]]
    assert table["more queries"].tolist() == [row["queries"] for row in expected["rows"]]
    assert page.markdown[1].value.count("- hard: 1,000 more queries for") >= 1


def test_advice_follows_the_sidebar_and_a_budget() -> None:
    page = drawn("Measure next")
    page.slider(key="accuracy").set_value(75.0)
    page.number_input(key="measuring_usd").set_value(2.5).run()
    assert not page.exception
    assert "--set limits.accuracy.overall=0.75 --budget 2.5" in page.code[-1].value
    expected = printed(page)
    assert sum(row["cost_usd"] for row in expected["rows"]) <= 2.5
    if expected["rows"]:
        assert len(page.dataframe[0].value) == len(expected["rows"])


def test_fixed_costs_refuse_advice(tmp_path: Path, monkeypatch: Patch) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        'format_version: "1.0"\nworkload: traffic\nobjective: minimize cost\n'
        "traffic: {requests: 100000, per: month}\nlimits: {accuracy: {overall: 0.5}}\n"
        "fixed_costs: [{name: rent, pays_for: [large], usd: 1, per: month}]\n"
    )
    monkeypatch.setenv(SPEC, str(spec))
    assert "cannot weigh fixed costs" in drawn("Measure next").error[0].value


# --- what cannot be shown


@pytest.mark.parametrize("section", ["Knee per class", "Measure next"])
def test_another_workload_than_the_specs_has_no_question(section: str) -> None:
    page = drawn(section)
    choose_workload(page, "wide")
    (said,) = page.info
    assert "The opened spec is about `traffic`" in said.value


def test_a_spec_that_cannot_be_read_hides_nothing_of_the_store(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("workload: [")
    monkeypatch.setenv(SPEC, str(spec))
    page = drawn()
    assert "The spec cannot be read" in page.warning[0].value
    choose_workload(page, "traffic")
    assert "**24 cells**" in page.markdown[0].value
    page.button_group(key="profiles_section").set_value("Measure next").run()
    assert "needs a spec that can be read" in page.info[0].value


def test_a_workload_that_the_store_lacks_is_named(tmp_path: Path, monkeypatch: Patch) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC_TEXT.replace("workload: traffic", "workload: gone"))
    monkeypatch.setenv(SPEC, str(spec))
    page = drawn()
    assert page.warning[0].value == "The spec is about `gone`, which this store does not hold."
    assert page.selectbox(key="workload").value == "elsewhere"


def test_a_missing_difficulty_graph_leaves_the_labels(tmp_path: Path, monkeypatch: Patch) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC_TEXT + "classes: gone.onnx\n")
    monkeypatch.setenv(SPEC, str(spec))
    page = drawn()
    assert "gone.onnx" in page.error[0].value
    page.selectbox(key="classes").set_value("labels of the data").run()
    assert not page.exception
    assert not page.error
    assert "**24 cells**" in page.markdown[0].value


def test_no_store_is_explained(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv(STORE, str(tmp_path / "gone.duckdb"))
    page = drawn()
    assert "there is no profile store here" in page.error[0].value
    assert "inferbudget profile import" in page.error[0].value


def test_a_file_that_is_no_store_is_explained(tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "text.duckdb").write_text("not a store")
    monkeypatch.setenv(STORE, str(tmp_path / "text.duckdb"))
    assert "text.duckdb" in drawn().error[0].value


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path, monkeypatch: Patch) -> None:
    with Store.open(tmp_path / "empty.duckdb"):
        pass
    monkeypatch.setenv(STORE, str(tmp_path / "empty.duckdb"))
    page = drawn()
    assert "This store is empty" in page.info[0].value
    assert "inferbudget profile import" in page.code[0].value


def test_a_store_that_grew_is_read_again(tmp_path: Path, monkeypatch: Patch) -> None:
    path = tmp_path / "store.duckdb"
    monkeypatch.setenv(STORE, str(path))
    with Store.open(path) as store:
        store.add_aggregates([Aggregate("traffic", "all", "m/single", 50, 0.5)])
    page = drawn()
    assert "**1 cell**" in page.markdown[0].value
    with Store.open(path) as store:
        store.add_aggregates([Aggregate("traffic", "all", "m/vote(n=3)", 50, 0.6)])
    page.run()
    assert "**2 cells**" in page.markdown[0].value


def test_an_address_that_names_no_section_shows_the_first() -> None:
    found = AppTest.from_function(script, default_timeout=60)
    found.query_params["profiles_section"] = ""
    found.run()
    assert not found.exception
    assert found.text_input(key="strategies_holding")


@pytest.mark.parametrize("days", ["99999999999999999999", "nan", "-1"])
def test_an_age_that_is_none_is_left_out(days: str) -> None:
    found = AppTest.from_function(script, default_timeout=60)
    found.query_params["stale_after"] = days
    found.run()
    assert not found.exception
    assert "--stale-after" not in found.code[-1].value
