"""The page about observing names every metric, alert, key and column that there is."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from pydantic import BaseModel

from runtime import budget_metrics, operation_metrics, tracing
from runtime.audit import AuditSettings
from runtime.reconciliation import ReconciledEpoch
from runtime.recording import parquet
from runtime.recording.record import Record
from runtime.recording.recorder import RecorderSettings
from runtime.settings import GatewaySettings
from runtime.trace_export import TracingSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/observe.md").read_text()
SERVE = (ROOT / "docs/how-to/serve.md").read_text()
FILES = (ROOT / "docs/reference/files.md").read_text()


def test_every_metric_around_requests_is_named() -> None:
    code = Path(operation_metrics.__file__).read_text()
    names = set(re.findall(r'"(inferbudget_[a-z_]+)"', code))
    names |= {
        f"inferbudget_{sink}_{what}"
        for sink in ("recorder", "audit")
        for what in ("written", "lost", "waiting")
    }
    assert len(names) > 10
    assert [name for name in names if not re.search(rf"`{name}(_total)?`", PAGE)] == []


def test_every_metric_of_budgets_is_named_on_one_of_both_pages() -> None:
    code = Path(budget_metrics.__file__).read_text()
    names = set(re.findall(r'"(inferbudget_[a-z_]+)"', code))
    assert len(names) > 10
    assert [name for name in names if f"`{name}`" not in PAGE + SERVE] == []


def test_every_alert_is_named_with_what_to_do() -> None:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    names = [rule["alert"] for group in groups for rule in group["rules"]]
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `Inferbudget"))
    assert [name for name in names if f"`{name}`" not in rows] == []
    assert f"SUCCESS: {len(names)} rules found" in PAGE


def test_the_example_of_a_configuration_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    found = GatewaySettings.model_validate(yaml.safe_load(text) | {"format_version": "1.0"})
    assert found.recorder
    assert found.audit
    assert found.tracing
    assert found.logs == "json"


def test_every_key_is_named_with_its_default() -> None:
    models: tuple[type[BaseModel], ...] = (RecorderSettings, AuditSettings, TracingSettings)
    for model in models:
        for key, field in model.model_fields.items():
            assert f"`{key}`" in PAGE or f"{key}:" in PAGE, key
            if isinstance(field.default, int) and field.default > 1:
                assert f"`{key}` ({field.default:,})" in PAGE or f"{field.default:,}" in PAGE, key


def test_every_column_of_a_record_is_named() -> None:
    for field in Record.__struct_fields__:
        name = parquet._RENAMED.get(field, field)
        assert f"`{name}`" in PAGE or f"`{name}`" in FILES, name


def test_every_attribute_of_ours_and_every_part_of_a_reconciliation_is_named() -> None:
    names = {
        value
        for value in vars(tracing).values()
        if isinstance(value, str) and value.startswith("inferbudget.")
    }
    assert [name for name in names if f"`{name}`" not in PAGE] == []
    for part in ("told", "proven", "unproven", "unlogged", "difference", "adjusted", "spent"):
        assert hasattr(ReconciledEpoch, part)
        assert f"| `{part}` |" in PAGE
