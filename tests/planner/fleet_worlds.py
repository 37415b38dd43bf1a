"""Fleet questions with made-up prices and speeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.fleet.certified import CertifiedPlan
from planner.fleet.question import FleetQuestion

CHEAP = CertifiedPlan("cheap", 0.78, {"c": 1.0}, {"c": {"small": 1.0}}, {})
MIXED = CertifiedPlan("mixed", 0.82, {"c": 1.0}, {"c": {"small": 0.6, "large": 0.4}}, {})
DEAR = CertifiedPlan("dear", 0.85, {"c": 1.0}, {"c": {"large": 1.0}}, {})

STEADY = {"rule": "utilisation", "utilisation": 0.7, "wait_s": 1.0}
TAIL = {"rule": "erlang c", "late_share": 0.01, "wait_s": 1.0}

FIRST = {
    "gpu": "h200", "gpus": 1, "slots": 8, "gpu_s": {"small": 1.2, "large": 3.0}, "source": "made up"
}  # fmt: skip
SECOND = {
    "gpu": "h100", "gpus": 1, "slots": 6, "gpu_s": {"small": 1.9, "large": 4.1}, "source": "made up"
}  # fmt: skip


def day(**hours: float) -> list[float]:
    """A day with requests in a few hours: ``h3=100`` is hour 3."""
    return [hours.get(f"h{hour}", 0.0) for hour in range(24)]


def wave(peak: float) -> list[float]:
    """A day that rises to `peak` by the afternoon."""
    return [round(peak * (1 - abs(hour - 14) / 20), 0) for hour in range(24)]


def fleet_question(
    hours: Sequence[float], servers: Sequence[dict[str, Any]] = (FIRST,), **keys: Any
) -> FleetQuestion:
    """A question about one pool."""
    given: dict[str, Any] = {
        "format_version": "1.0",
        "requests_per_hour": list(hours),
        "gpus": {
            "h200": {"usd_per_hour": 4.0, "reserved_usd_per_hour": 2.5},
            "h100": {"usd_per_hour": 2.6, "reserved_usd_per_hour": 1.7},
        },
        "pools": {"chat": {"strategies": ["small", "large"], "servers": list(servers)}},
        "headroom": STEADY,
    }
    return FleetQuestion.model_validate(given | keys)
