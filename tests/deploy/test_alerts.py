"""The alerts read metrics that gateways export, and ring when they should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from exported_metrics import exported
from expressions import metrics_of, unknown_labels
from programs import program

DEPLOY = Path(__file__).parents[2] / "deploy"
PATH = DEPLOY / "prometheus/alerts.yaml"
CASES = DEPLOY / "prometheus/alerts_test.yaml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(PATH.read_text())["groups"] for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_metric_and_label_of_an_alert_is_exported(rule: dict[str, Any]) -> None:
    assert metrics_of(rule["expr"])
    assert metrics_of(rule["expr"]) <= exported().keys()
    assert not unknown_labels(rule["expr"], exported())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_names_labels_that_it_has(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    kept = {
        label.strip()
        for labels in re.findall(r"\bby \(([^)]*)\)", rule["expr"])
        for label in labels.split(",")
    }
    assert named <= kept


def test_every_alert_has_a_case_in_which_it_rings_and_one_in_which_it_does_not() -> None:
    tests = [
        case
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    for rings in (True, False):
        names = {case["alertname"] for case in tests if bool(case.get("exp_alerts")) == rings}
        assert {rule["alert"] for rule in RULES} <= names


@pytest.mark.parametrize("words", [("check", "rules", PATH), ("test", "rules", CASES)])
def test_prometheus_itself_finds_the_rules_good(words: tuple[str, str, Path]) -> None:
    done = subprocess.run(
        [program("promtool"), *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
