"""The What-if page, driven without a browser."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df
from streamlit.testing.v1 import AppTest

from app.charts.allocation import (
    MOST_ENDS,
    MOST_STRATEGIES,
    allocation_flow,
    grouped,
    traffic_of,
)
from app.cli.main import cli
from app.downloads import plan_bytes, policy_bytes
from app.opened import SPEC, STORE
from app.views import View
from profiles.importing.importers import import_file
from profiles.observation import Evidence
from profiles.store.store import Store


def script() -> None:
    from app.pages.what_if import page  # noqa: PLC0415 -- the script stands alone

    page()


def opened() -> AppTest:
    """The page as it is first seen."""
    found = AppTest.from_function(script, default_timeout=60).run()
    assert not found.exception
    return found


@pytest.fixture
def page(opened_store: tuple[Path, Path]) -> AppTest:
    return opened()


def figure(page: AppTest, label: str) -> float:
    (metric,) = [one for one in page.metric if one.label == label]
    return float(metric.value.rstrip("%"))


def test_the_page_shows_the_spec_as_asked(page: AppTest) -> None:
    assert page.slider(key="budget").value == pytest.approx(4.0)
    assert figure(page, "USD per 1,000 requests") <= 4.0
    assert "600 queries" in page.caption[0].value


def test_a_sum_of_money_is_less_only_by_the_fixed_costs_that_are_paid(
    opened_store: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        'format_version: "1.0"\nworkload: tiny\ntraffic: {requests: 4000}\n'
        "limits: {accuracy: {overall: 0.7}, spend: {usd: 20, per: month}}\n"
        "fixed_costs: [{name: rent, pays_for: [large], usd: 100, per: month}]\n"
    )
    monkeypatch.setenv(SPEC, str(spec))
    assert opened().slider(key="budget").value == pytest.approx(5.0)


def test_more_budget_buys_accuracy(page: AppTest) -> None:
    accuracies = []
    for budget in (2.0, 3.0, 4.0):
        page.slider(key="budget").set_value(budget).run()
        assert not page.exception
        accuracies.append(figure(page, "Accuracy"))
    assert accuracies[0] < accuracies[1] < accuracies[2]


def test_limits_that_clash_explain_themselves(page: AppTest) -> None:
    page.slider(key="accuracy").set_value(99.0).run()
    assert not page.exception
    (error,) = page.error
    assert "No plan keeps these limits" in error.value
    assert "accuracy.overall" in error.value


def test_a_tighter_tail_is_kept_or_refused(page: AppTest) -> None:
    grid = page.select_slider(key="p95").options
    tighter = next(limit_s for limit_s in grid if float(limit_s) >= 1)
    page.select_slider(key="p95").set_value(float(tighter)).run()
    assert not page.exception
    assert page.error or figure(page, "p95 latency, s") <= float(tighter)


def test_the_command_answers_what_the_page_shows(page: AppTest, tmp_path: Path) -> None:
    page.slider(key="budget").set_value(3.0).run()
    page.slider(key="accuracy").set_value(60.0).run()
    page.toggle(key="limit_p95").set_value(False).run()
    assert not page.exception
    words = shlex.split(page.code[0].value)
    assert words[:2] == ["inferbudget", "plan"]
    assert words.count("--set") == 3
    call = [*words[1:], "-o", str(tmp_path / "plan.json"), "--format", "json"]
    done = CliRunner().invoke(cli, call, standalone_mode=False)
    expected = json.loads(done.stdout)["rungs"][0]["expected"]
    assert figure(page, "Accuracy") == pytest.approx(100 * expected["accuracy"], abs=0.05)
    assert figure(page, "USD per 1,000 requests") == pytest.approx(
        1000 * expected["cost_usd_per_request"], rel=1e-3
    )


def test_more_settings_are_asked_too(page: AppTest) -> None:
    page.text_area(key="set").set_value("strategies=[small/single]\n\n").run()
    assert not page.exception
    assert "1 strategies" in page.caption[0].value or figure(page, "Accuracy") < 85
    assert "--set 'strategies=[small/single]'" in page.code[0].value


def test_a_wrong_setting_is_explained(page: AppTest) -> None:
    page.text_area(key="set").set_value("strategies=3").run()
    assert not page.exception
    (error,) = page.error
    assert "strategies, as it was set" in error.value


def test_a_suggested_fix_is_one_click(page: AppTest) -> None:
    page.slider(key="accuracy").set_value(99.0).run()
    assert page.error
    fixes = {button.label: button for button in page.button}
    (label,) = [name for name in fixes if name.startswith("Move accuracy.overall to")]
    fixes[label].click().run()
    assert not page.exception
    assert not page.error
    assert 50 < float(str(page.slider(key="accuracy").value)) < 99


def test_every_suggested_fix_helps(page: AppTest) -> None:
    page.slider(key="budget").set_value(2.0).run()
    page.slider(key="accuracy").set_value(80.0).run()
    labels = [button.label for button in page.button]
    assert labels
    for label in labels:
        page.slider(key="budget").set_value(2.0)
        page.slider(key="accuracy").set_value(80.0).run()
        next(one for one in page.button if one.label == label).click().run()
        assert not page.exception, label
        assert not page.error, label


def test_a_downloaded_policy_is_accepted(opened_store: tuple[Path, Path], tmp_path: Path) -> None:
    view = View(*opened_store, ("limits.spend={usd_per_request: 0.003}",))
    with zipfile.ZipFile(io.BytesIO(policy_bytes(view))) as archive:
        archive.extractall(tmp_path)
    assert (tmp_path / "plan.json").read_bytes() == plan_bytes(view)
    done = CliRunner().invoke(cli, ["check", str(tmp_path / "policy.yaml")])
    assert done.exit_code == 0, done.output
    assert policy_bytes(view) == policy_bytes(view)


HEAD = 'format_version: "1.0"\nworkload: tiny\n'
FLOORS = "{overall: 0.7, by_class: {hard: 0.5}}"


@pytest.fixture
def asking(
    opened_store: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], AppTest]:
    """Opens the page on another spec, or on another store too."""

    def ask(lines: str, store: Path | None = None) -> AppTest:
        spec = tmp_path / "spec.yaml"
        spec.write_text(HEAD + lines)
        monkeypatch.setenv(SPEC, str(spec))
        if store is not None:
            monkeypatch.setenv(STORE, str(store))
        return opened()

    return ask


def planned(page: AppTest, *words: str, command: str = "plan") -> dict[str, Any]:
    """What the command prints that the page shows."""
    shown = shlex.split(page.code[0].value)
    call = [command, *shown[2:], *words, "--format", "json"]
    found: dict[str, Any] = json.loads(CliRunner().invoke(cli, call, standalone_mode=False).stdout)
    return found


def said(page: AppTest) -> str:
    """All running text of the page."""
    return "\n".join(one.value for one in [*page.caption, *page.markdown, *page.info, *page.error])


def frontier(page: AppTest) -> dict[str, Any]:
    charts = page.get("vega_lite_chart")
    (chart,) = [one for one in charts if one.proto.alt.startswith("Accuracy against spend")]
    found: dict[str, Any] = json.loads(chart.proto.spec)
    return found


def values(chart: dict[str, Any], column: str) -> list[dict[str, Any]]:
    """Rows of all layers that have a column."""
    tables = [layer["data"]["values"] for layer in chart["layer"]]
    return [row for rows in tables for row in rows if column in row]


def test_every_figure_says_what_is_promised_and_what_it_rests_on(page: AppTest) -> None:
    rung = planned(page, "-o", "-")["rungs"][0]
    promised = rung["promised"]
    text = said(page)
    assert f"accuracy at least {promised['accuracy']:.1%}" in text
    assert f"at most {1000 * promised['cost_usd_per_request']:.4g} USD per 1,000 requests" in text
    assert "Promised with 95 % confidence" in text
    assert "Evidence: simulated" in text
    assert "dollars as recorded with the answers" in text
    assert all("the thinnest has 200 queries" in one.help for one in page.metric[:3])


def test_spend_is_told_for_the_traffic_of_the_spec(asking: Callable[[str], AppTest]) -> None:
    page = asking(
        "objective: maximize accuracy\ntraffic: {requests: 30000, per: day}\n"
        "limits: {spend: {usd: 120, per: day}}\n"
    )
    usd = planned(page, "-o", "-")["rungs"][0]["expected"]["cost_usd_per_request"]
    assert f"Expected spend: {30000 * usd:.4g} USD a day at 30,000 requests" in said(page)
    assert "That is 120 USD a day at 30,000 requests" in said(page)


def test_the_next_point_of_a_class_is_priced_per_day(asking: Callable[[str], AppTest]) -> None:
    page = asking(f"traffic: {{requests: 30000, per: day}}\nlimits: {{accuracy: {FLOORS}}}\n")
    text = said(page)
    assert "more point of accuracy in `hard` costs" in text
    assert "USD per day)" in text


def test_limits_cost_what_the_command_says(asking: Callable[[str], AppTest]) -> None:
    page = asking(f"limits: {{accuracy: {FLOORS}, latency: {{p95_s: 2.0}}}}\n")
    shown = shlex.split(page.code[0].value)
    call = ["plan", "explain", *shown[2:], "--solves", "0", "--format", "json"]
    found = json.loads(CliRunner().invoke(cli, call, standalone_mode=False).stdout)
    (facts,) = [one for one in found["limits"] if one["name"] == "accuracy.by_class.hard"]
    tighter = facts["tighter"]
    point = 1000 * 0.01 * abs(tighter["worth"] / (tighter["to"] - facts["asked"]))
    assert f"accuracy in `hard` costs {point:.3g} USD per 1,000 requests" in said(page)
    assert "The p95 latency costs nothing" in said(page)
    assert page.metric[3].label == "The next point costs"


def test_the_frontier_shows_single_strategies_as_the_command_lists_them(page: AppTest) -> None:
    chart = frontier(page)
    singles = {one["strategy"]: one for one in planned(page, command="frontier")["singles"]}
    drawn = {row["all"]: row for row in values(chart, "all")}
    assert drawn.keys() == singles.keys()
    for text, row in drawn.items():
        one = singles[text]
        assert row["accuracy"] == pytest.approx(100 * one["expected"]["accuracy"])
        assert row["promised"] == pytest.approx(100 * one["promised"]["accuracy"])
        assert row["cost"] == pytest.approx(1000 * one["expected"]["cost_usd_per_request"])
        assert one["promised"]["accuracy"] < one["expected"]["accuracy"]


def test_the_frontier_tells_mixtures_from_single_strategies(page: AppTest) -> None:
    kinds = {row["kind"] for row in values(frontier(page), "kind")}
    assert "one strategy for all" in kinds
    assert "a class is shared" in kinds


def test_the_naive_curve_stands_above_what_is_promised(page: AppTest) -> None:
    curves = {row["curve"] for row in values(frontier(page), "curve")}
    assert curves == {"expected", "promised"}
    page.toggle(key="naive").set_value(True).run()
    rows = values(frontier(page), "curve")
    best = {name: max(r["accuracy"] for r in rows if r["curve"] == name) for name in
            ("promised", "naive, without margins")}  # fmt: skip
    assert best["promised"] < best["naive, without margins"]


def test_without_a_confidence_there_is_no_other_curve(asking: Callable[[str], AppTest]) -> None:
    page = asking("objective: maximize accuracy\nconfidence: none\n")
    assert not [one for one in page.toggle if one.key == "naive"]
    assert "point estimates" in page.warning[0].value
    assert "A point estimate, no promise" in said(page)


@pytest.mark.parametrize("objective", ["maximize accuracy", "minimize cost"])
def test_an_adopted_point_becomes_the_plan(
    objective: str, asking: Callable[[str], AppTest]
) -> None:
    page = asking(f"objective: {objective}\nlimits: {{accuracy: {{overall: 0.9}}}}\n")
    points = values(frontier(page), "kind")
    choice = page.selectbox(key="adopt")
    middle = len(points) // 2
    choice.select_index(middle).run()
    assert not page.exception
    assert not page.error
    assert page.toggle(key="limit_budget").value
    assert page.slider(key="budget").value >= points[middle]["promised_cost"]
    assert figure(page, "Accuracy") == pytest.approx(points[middle]["accuracy"], abs=0.6)
    assert figure(page, "USD per 1,000 requests") == pytest.approx(points[middle]["cost"], rel=0.05)
    assert page.selectbox(key="adopt").value is None


def test_the_frontier_keeps_the_latency_that_the_slider_asks_for(page: AppTest) -> None:
    before = values(frontier(page), "kind")
    tight = page.select_slider(key="p95").options[-1]
    page.toggle(key="limit_p95").set_value(False).run()
    free = values(frontier(page), "kind")
    assert max(row["accuracy"] for row in free) >= max(row["accuracy"] for row in before)
    page.toggle(key="limit_p95").set_value(True).run()
    page.select_slider(key="p95").set_value(float(tight)).run()
    assert not page.exception


def test_the_heatmap_has_the_strategies_in_use_and_their_shares(page: AppTest) -> None:
    allocation = planned(page, "-o", "-")["rungs"][0]["allocation"]
    (chart,) = [one for one in page.get("vega_lite_chart") if one.proto.alt.startswith("Heatmap")]
    rows = convert_arrow_bytes_to_pandas_df(chart.proto.datasets[0].data.data)
    used = {text for shares in allocation.values() for text in shares}
    assert set(rows["strategy"]) == used
    for row in rows.to_dict("records"):
        assert row["share"] == pytest.approx(allocation[row["class"]].get(row["strategy"], 0.0))
        assert row["queries"] in {400, 200}


def test_the_flow_carries_all_traffic_and_is_there_as_a_table(page: AppTest) -> None:
    (flow,) = page.get("echarts_chart")
    series = json.loads(flow.proto.spec)["series"][0]
    assert sum(link["value"] for link in series["links"]) == pytest.approx(1.0)
    table = page.dataframe[0].value
    assert table["of all requests"].sum() == pytest.approx(1.0)
    assert flow.proto.alt.startswith("Flow of traffic")


def test_many_classes_and_strategies_are_drawn_as_few() -> None:
    shares = {f"c{d:02d}": {f"m{d}/single": 0.5, f"m{d + 50}/single": 0.5} for d in range(50)}
    weights = dict.fromkeys(shares, 0.02)
    flow = allocation_flow(shares, weights, {}, "#31333F")
    nodes, links = (flow["series"][0][part] for part in ("data", "links"))
    assert len(nodes) == 2 * MOST_ENDS
    assert sum(link["value"] for link in links) == pytest.approx(1.0)
    assert {link["source"] for link in links} | {link["target"] for link in links} == {
        node["name"] for node in nodes
    }
    assert any("other strategies" in node["name"] for node in nodes)
    drawn = grouped(list(traffic_of(shares, weights)), MOST_STRATEGIES, "strategies")
    assert len(set(drawn.values())) == MOST_STRATEGIES
    assert list(drawn.values()).count("81 other strategies") == 81


def test_the_address_alone_brings_the_same_page(page: AppTest) -> None:
    page.slider(key="budget").set_value(3.0).run()
    page.slider(key="accuracy").set_value(60.0).run()
    again = AppTest.from_function(script, default_timeout=60)
    for key, value in {"budget": "3.0", "accuracy": "60.0", "limit_budget": "true"}.items():
        again.query_params[key] = value
    again.run()
    assert [one.value for one in again.metric] == [one.value for one in page.metric]
    assert again.code[0].value == page.code[0].value


def test_an_unmoved_view_is_the_plain_command(asking: Callable[[str], AppTest]) -> None:
    page = asking(
        "traffic: {requests: 7000}\n"
        "limits: {accuracy: {overall: 0.70123}, spend: {usd: 50, per: month}}\n"
    )
    assert "--set" not in page.code[0].value


def test_where_no_single_move_helps_the_page_says_so(asking: Callable[[str], AppTest]) -> None:
    page = asking(
        "limits: {accuracy: {by_class: {easy: 0.999, hard: 0.999}}, "
        "spend: {usd_per_request: 0.0011}}\n"
    )
    assert "No plan keeps these limits" in page.error[0].value
    assert not [one for one in page.button if one.label.startswith("Move")]
    assert "No single move helps" in page.info[0].value
    assert page.code[0].value.startswith("inferbudget plan")


def test_a_fix_beyond_the_end_of_the_slider_is_a_setting(asking: Callable[[str], AppTest]) -> None:
    page = asking("limits: {accuracy: {by_class: {hard: 0.7}}, spend: {usd_per_request: 0.002}}\n")
    fixes = [one for one in page.button if one.label.startswith("Move spend.usd")]
    assert fixes
    fixes[0].click().run()
    assert not page.exception
    assert not page.error


def test_a_spec_that_asks_for_less_than_there_is_shows_its_clash(
    asking: Callable[[str], AppTest],
) -> None:
    page = asking("objective: maximize accuracy\nlimits: {spend: {usd_per_request: 0.0001}}\n")
    assert page.slider(key="budget").value == pytest.approx(0.1)
    assert "No plan keeps these limits" in page.error[0].value
    (fix,) = [one for one in page.button if one.label.startswith("Move")]
    fix.click().run()
    assert not page.exception
    assert not page.error


def test_a_proof_that_takes_too_long_is_said_with_what_helps(
    asking: Callable[[str], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.solving.TIME_LIMIT_S", 1e-9)
    page = asking("objective: maximize accuracy\nlimits: {spend: {usd_per_request: 0.0041}}\n")
    assert "no proof" in page.error[0].value
    assert "--time-limit 600" in page.error[0].value
    assert "There is no frontier to draw" in said(page)
    assert page.code[0].value.startswith("inferbudget plan")


@pytest.fixture
def bare_store(tmp_path: Path) -> Path:
    """Scores only: neither dollars nor seconds."""
    rows = ["query_id,strategy,score,class"]
    for index in range(300):
        rows += [f"q{index},small/single,{index % 2},*any*", f"q{index},large/single,1,*any*"]
    (tmp_path / "bare.csv").write_text("\n".join(rows) + "\n")
    with Store.open(tmp_path / "bare.duckdb") as store:
        import_file(store, tmp_path / "bare.csv", workload="tiny", evidence=Evidence.SIMULATED)
    return tmp_path / "bare.duckdb"


def test_what_was_not_measured_is_said_to_be_absent(
    asking: Callable[[str, Path], AppTest], bare_store: Path
) -> None:
    page = asking("objective: maximize accuracy\n", bare_store)
    assert [one.value for one in page.metric][:3] == ["not measured", "100.0%", "not measured"]
    text = said(page)
    assert "No latency was recorded" in text
    assert "There is no frontier to draw" in text
    assert "no dollars known" in text
    assert not page.select_slider
    assert not [one for one in page.slider if one.key == "budget"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ("spend: {usd_per_request: 0.004}", "cost"),
        ("latency: {p95_s: 2.0}", "latenc"),
    ],
)
def test_a_limit_on_what_was_not_measured_is_refused_and_can_be_taken_away(
    limits: str, reason: str, asking: Callable[[str, Path], AppTest], bare_store: Path
) -> None:
    page = asking(f"objective: maximize accuracy\nlimits: {{{limits}}}\n", bare_store)
    assert reason in page.error[0].value
    page.toggle(key="limit_budget" if "spend" in limits else "limit_p95").set_value(False).run()
    assert not page.error
    assert page.metric


def test_an_objective_that_needs_dollars_is_refused_without(
    asking: Callable[[str, Path], AppTest], bare_store: Path
) -> None:
    page = asking("objective: minimize cost\n", bare_store)
    assert "cost" in page.error[0].value
    assert not page.metric


def test_names_of_others_are_no_markup(
    asking: Callable[[str, Path], AppTest], bare_store: Path
) -> None:
    page = asking(
        'objective: maximize accuracy\nlimits: {accuracy: {by_class: {"*any*": 0.5}}}\n',
        bare_store,
    )
    assert "class `*any*`" in said(page)
    page.text_area(key="set").set_value("limits.accuracy.by_class.none=0.5").run()
    assert "\\*any\\*" in page.error[0].value


@pytest.mark.parametrize("missing", ["spec.yaml", "store.duckdb"])
def test_a_file_that_is_gone_is_said(
    missing: str, opened_store: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SPEC if missing == "spec.yaml" else STORE, str(tmp_path / missing))
    page = opened()
    assert missing in page.error[0].value
    assert not page.metric


def test_a_changed_spec_is_read_again(asking: Callable[[str], AppTest]) -> None:
    page = asking("objective: maximize accuracy\nlimits: {spend: {usd_per_request: 0.004}}\n")
    before = figure(page, "Accuracy")
    again = asking("objective: maximize accuracy\nlimits: {spend: {usd_per_request: 0.002}}\n")
    assert figure(again, "Accuracy") < before


def test_a_setting_that_a_slider_overrules_is_told(page: AppTest) -> None:
    page.text_area(key="set").set_value("limits.accuracy.overall=0.3").run()
    assert "has the last word" in said(page)


def test_a_budget_of_another_question_moves_to_the_nearest_end(page: AppTest) -> None:
    highest = page.slider(key="budget").max
    page.slider(key="budget").set_value(highest).run()
    page.text_area(key="set").set_value("strategies=[small/single]").run()
    assert not page.exception
    budget = page.slider(key="budget")
    assert budget.max < highest
    assert budget.value == budget.max


def test_confidence_is_not_rounded_up_to_certainty(asking: Callable[[str], AppTest]) -> None:
    page = asking("confidence: 0.9995\n")
    assert "Promised with 99.95 % confidence" in " ".join(one.value for one in page.caption)
    assert "100%" not in page.metric[0].help


def test_without_a_floor_the_next_point_has_no_price(asking: Callable[[str], AppTest]) -> None:
    page = asking("limits: {spend: {usd_per_request: 0.004}}\n")
    assert page.metric[3].label == "The next point costs"
    assert page.metric[3].value == "no floor asked"


@pytest.mark.parametrize(
    ("spec", "is_said"),
    [
        ("objective: maximize accuracy\n", True),
        ("objective: maximize accuracy\nconfidence: none\n", False),
        ("objective: maximize accuracy\nallocation: {at_most_strategies: 1}\n", False),
        ("objective: maximize accuracy\nlimits: {spend: {usd_per_request: 0.004}}\n", False),
        ("objective: minimize cost\nlimits: {accuracy: {overall: 0.1}}\n", False),
    ],
)
def test_where_no_mixture_is_shown_to_gain_the_page_says_what_may_show_one(
    spec: str, asking: Callable[[str], AppTest], *, is_said: bool
) -> None:
    captions = " ".join(caption.value for caption in asking(spec).caption)
    assert ("One strategy answers every class" in captions) is is_said
