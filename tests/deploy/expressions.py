"""What a PromQL expression names: metrics, and the labels that it reads of them."""

from __future__ import annotations

import re

_METRIC = re.compile(r"\b(inferbudget_[a-z_0-9]+)(?:\s*\{([^}]*)\})?")
_MATCHER = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
_GROUPS = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
SCRAPED = frozenset({"instance", "job"})
"""Labels that Prometheus itself adds."""


def metrics_of(expression: str) -> set[str]:
    """Names of the metrics."""
    return {name for name, _ in _METRIC.findall(expression)}


def unknown_labels(expression: str, known: dict[str, frozenset[str]]) -> set[str]:
    """Labels that an expression asks of metrics which do not have them, as ``metric{label}``."""
    found = set()
    for name, matchers in _METRIC.findall(expression):
        for label in _MATCHER.findall(matchers):
            if label not in known[name] | SCRAPED:
                found.add(f"{name}{{{label}}}")
    grouped = {
        label.strip()
        for labels in _GROUPS.findall(expression)
        for label in labels.split(",")
        if label.strip()
    }
    for name in metrics_of(expression):
        found |= {f"{name}{{{label}}}" for label in grouped - known[name] - SCRAPED}
    return found
