"""The What-if page, driven without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import app
from app.source import SPEC

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
    page.slider(key="p95").set_value(1.0).run()
    assert not page.exception
    assert page.error or figure(page, "p95 latency, s") <= 1.0
