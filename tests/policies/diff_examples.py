"""Small policies for tests of differences: figures follow from cells and shares."""

from __future__ import annotations

import math
from typing import Any

from planner.plan import Figures, LimitFigures
from planner.spec import Limits, Traffic
from policies.policy import (
    Budget,
    CellFigures,
    Graph,
    Policy,
    PolicyClasses,
    PolicyRung,
    Provenance,
    StrategyEntry,
)
from profiles.money import PriceCard

SMALL, BEST, LARGE = "small/single", "small/best_of_n(n=8,verifier=checker)", "large/single"
Cells = dict[str, dict[str, CellFigures]]
Shares = dict[str, dict[str, float]]


def cell(accuracy: float, usd: float | None, se: float = 0.01) -> CellFigures:
    return CellFigures(
        queries=400,
        accuracy=accuracy,
        accuracy_se=se,
        cost_usd=usd,
        cost_se_usd=None if usd is None else usd / 50,
        cost_max_usd=None if usd is None else usd * 3,
        latency_p95_s=1.5,
    )


CELLS: Cells = {
    "easy": {SMALL: cell(0.92, 0.0002), BEST: cell(0.95, 0.0016), LARGE: cell(0.97, 0.004)},
    "hard": {SMALL: cell(0.35, 0.0003), BEST: cell(0.62, 0.0024), LARGE: cell(0.81, 0.006)},
}
WEIGHTS = {"easy": 0.7, "hard": 0.3}
OLD_SHARES: Shares = {"easy": {SMALL: 1.0}, "hard": {SMALL: 0.25, LARGE: 0.75}}
NEW_SHARES: Shares = {"easy": {SMALL: 1.0}, "hard": {BEST: 0.375, LARGE: 0.625}}
LOW_SHARES: Shares = {"easy": {SMALL: 1.0}, "hard": {SMALL: 1.0}}


def mean(parts: list[tuple[float, float]]) -> float:
    return math.fsum(weight * value for weight, value in parts)


def figures(shares: dict[str, float], cells: dict[str, CellFigures], p95_s: float) -> Figures:
    costs = [cells[text].cost_usd for text in shares]
    known = [cost for cost in costs if cost is not None]
    return Figures(
        accuracy=round(mean([(x, cells[text].accuracy or 0) for text, x in shares.items()]), 6),
        cost_usd_per_request=mean(list(zip(shares.values(), known, strict=True)))
        if len(known) == len(costs)
        else None,
        latency_p95_s=p95_s,
    )


def rung(
    shares: Shares,
    *,
    fraction: float = 1.0,
    cells: Cells = CELLS,
    weights: dict[str, float] = WEIGHTS,
    p95_s: float = 2.0,
    **changes: Any,
) -> PolicyRung:
    by_class = {name: figures(row, cells[name], p95_s) for name, row in shares.items()}
    costs = [found.cost_usd_per_request for found in by_class.values()]
    known = [cost for cost in costs if cost is not None]
    accuracy = round(mean([(weights[n], f.accuracy) for n, f in by_class.items()]), 6)
    usd = mean(list(zip(weights.values(), known, strict=True))) if known == costs else None
    expected = Figures(accuracy=accuracy, cost_usd_per_request=usd, latency_p95_s=p95_s)
    promised = round(max(accuracy - 0.03, 0.0), 6)
    values: dict[str, Any] = {
        "budget_fraction": fraction,
        "objective": "minimize cost",
        "shares": shares,
        "expected": expected,
        "promised": expected.model_copy(update={"accuracy": promised}),
        "by_class": by_class,
        "limits": {
            "accuracy.overall": LimitFigures(
                asked=0.7, allowed=0.7, promised=promised, kept=promised >= 0.7
            ),
            "latency.p95_s": LimitFigures(asked=2.5, allowed=0.05, promised=0.04, kept=True),
        },
        "shadow_prices": {"accuracy.overall": 0.01},
    }
    return PolicyRung(**{**values, **changes})


def policy(
    shares: Shares = OLD_SHARES,
    *,
    cells: Cells = CELLS,
    weights: dict[str, float] = WEIGHTS,
    rungs: tuple[PolicyRung, ...] | None = None,
    profile: str = "sha256:9f0f",
    **changes: Any,
) -> Policy:
    rungs = rungs or (
        rung(shares, cells=cells, weights=weights),
        rung({n: {SMALL: 1.0} for n in weights}, fraction=0.5, cells=cells, weights=weights),
    )
    used = {text for one in rungs for row in one.shares.values() for text in row}
    values: dict[str, Any] = {
        "workload": "support",
        "confidence": 0.95,
        "classes": PolicyClasses(
            source="label", names=tuple(weights), weights=tuple(weights.values())
        ),
        "graph": Graph(file="policy.onnx", sha256="sha256:502e"),
        "strategies": tuple(
            StrategyEntry(
                text=text,
                max_tokens=512,
                by_class={name: cells[name][text] for name in weights},
            )
            for text in (SMALL, BEST, LARGE)
            if text in used
        ),
        "rungs": rungs,
        "traffic": Traffic(requests=1_000_000, per="month"),
        "limits": Limits.model_validate({"accuracy": {"overall": 0.7}, "latency": {"p95_s": 2.5}}),
        "budgets": (
            Budget(limit_usd=5000, usd_per_request=0.005, window="month", requests=1_000_000),
        ),
        "prices": PriceCard.model_validate(
            {
                "models": {
                    "small": {"input": 0.05, "output": 0.4},
                    "large": {"input": 1.25, "output": 10.0},
                }
            }
        ),
        "provenance": Provenance(
            plan="sha256:1",
            spec="sha256:2",
            profile=profile,
            solver="HiGHS 1.12.0",
            evidence=("measured",),
        ),
    }
    return Policy(**{**values, **changes}).sealed()
