"""The dashboard shows metrics that gateways export, and every one of them is shown."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from exported_metrics import exported
from expressions import SCRAPED, metrics_of, unknown_labels
from programs import program

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/inferbudget.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel, target) for panel in PANELS for target in panel["targets"]]
_GRAFANA = {"$__rate_interval": "5m", "$scope": ".*", "$instance": ".*", "$__range": "1h"}
_NOT_SHOWN = re.compile(r"_(created|sum|count)$")


def expressions() -> list[str]:
    return [target["expr"] for _, target in TARGETS]


def plain(expression: str) -> str:
    """Without Grafana's variables."""
    for name, value in _GRAFANA.items():
        expression = expression.replace(name, value)
    return expression


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_of_a_panel_is_exported(expression: str) -> None:
    assert metrics_of(expression)
    assert metrics_of(expression) <= exported().keys()
    assert not unknown_labels(expression, exported())
    assert "$" not in plain(expression)


def test_every_metric_that_is_exported_is_shown() -> None:
    shown = set().union(*map(metrics_of, expressions()))
    spare = {"inferbudget_units_held"}  # as `remaining` falls, so this rises
    missing = {name for name in exported() if not _NOT_SHOWN.search(name)} - shown - spare
    assert not missing


def test_legends_name_labels_that_their_series_have() -> None:
    for panel, target in TARGETS:
        grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        kept = {label.strip() for labels in grouped for label in labels.split(",")}
        if not grouped:
            kept = set(SCRAPED).union(*(exported()[name] for name in metrics_of(target["expr"])))
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert named <= kept, panel["title"]


def test_variables_read_metrics_that_are_exported() -> None:
    variables = {item["name"]: item for item in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "instance", "scope"}
    for name in ("instance", "scope"):
        query = variables[name]["query"]["query"]
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert label in exported()[metric] | SCRAPED


def test_panels_have_titles_words_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert all(panel["description"].endswith(".") for panel in PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_prometheus_itself_can_read_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": plain(expression)}
        for number, expression in enumerate(expressions())
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [program("promtool"), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout
