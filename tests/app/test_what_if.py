"""The What-if page, driven without a browser."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

import app
from app.cli.main import cli
from app.downloads import plan_bytes, policy_bytes
from app.opened import SPEC
from app.views import View

SCRIPT = str(Path(app.__file__).with_name("what_if_app.py"))


@pytest.fixture
def page(opened_store: tuple[Path, Path]) -> AppTest:
    found = AppTest.from_file(SCRIPT, default_timeout=60).run()
    assert not found.exception
    return found


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
    found = AppTest.from_file(SCRIPT, default_timeout=60).run()
    assert not found.exception
    assert found.slider(key="budget").value == pytest.approx(5.0)


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
    assert 50 < page.slider(key="accuracy").value < 99


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
