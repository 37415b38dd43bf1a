"""A profile as rows for people: the one place where shown numbers are computed."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from profiles.profile import Profile


def profile_rows(profile: Profile, *, confidence: float = 0.95) -> list[dict[str, Any]]:
    """One row per class and strategy, classes easiest first; unmeasured pairs have 0 queries.

    `accuracy_low` and `accuracy_high` are a Wilson interval over queries. Numbers that are not
    known are None.
    """
    rows = []
    for class_name, weight in zip(profile.classes, profile.weights, strict=True):
        for strategy in profile.strategies:
            cell = profile.cells.get((class_name, strategy))
            low, high = wilson(cell.accuracy, cell.queries, confidence) if cell else (0.0, 1.0)
            rows.append(
                {
                    "class": class_name,
                    "weight": weight,
                    "strategy": strategy,
                    "queries": cell.queries if cell else 0,
                    "observations": cell.observations if cell else 0,
                    "accuracy": cell.accuracy if cell else None,
                    "accuracy_low": low,
                    "accuracy_high": high,
                    "cost_usd": cell.cost_usd if cell else None,
                    "cost_max_usd": cell.cost_max_usd if cell else None,
                    "tokens_in": cell.tokens_in if cell else None,
                    "tokens_out": cell.tokens_out if cell else None,
                    "calls": cell.calls if cell else None,
                    "latency_p95_s": cell.latency_p95_s if cell else None,
                    "evidence": list(cell.evidence) if cell else [],
                }
            )
    return rows


def wilson(mean: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a mean of `count` values in 0..1 (Wilson 1927); (0, 1) without values.

    Exact in spirit for values 0 or 1; wider than needed for values between.
    """
    if count == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(mean * (1 - mean) / count + (z / count / 2) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)
