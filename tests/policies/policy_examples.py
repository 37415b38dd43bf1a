"""Plans, policies and a stand-in difficulty graph for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser

from planner.plan import CellFacts, Classes, Figures, LimitFigures, Plan, Rung
from planner.spec import Limits, Traffic
from policies.compile import compile_plan
from policies.file import CompiledPolicy
from policies.policy import Policy
from profiles.digest import digest_bytes
from profiles.money import PriceCard

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = "small/single"
LADDER = (
    "cascade(accept=checker,stages=[small/single(max_tokens=256),large/single(max_tokens=900)])"
)
LARGE = "large/best_of_n(n=8,verifier=checker)"
PRICES = {
    "models": {
        "small": {"input": 0.05, "output": 0.4},
        "large": {"input": 1.25, "output": 10.0},
        "other": {"input": 7.0, "output": 7.0},
    }
}


def words_estimator() -> bytes:
    """More than eight words are hard."""
    model = onnx.parser.parse_model((FIXTURES / "words.onnxtxt").read_text())
    return model.SerializeToString(deterministic=True)


def elsewhere(graph: bytes, name: str) -> bytes:
    """The same graph, with one of its constants in a file of the working directory."""
    model = onnx.load_from_string(graph)
    (made,) = [one for one in model.graph.initializer if one.name == name]
    made.raw_data = onnx.numpy_helper.to_array(made).tobytes()
    onnx.external_data_helper.set_external_data(made, f"{name.rpartition('/')[2]}.bin")
    for field in ("raw_data", "float_data", "int64_data"):
        made.ClearField(field)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def words_elsewhere() -> bytes:
    """The same, with one of its numbers in `half.bin`."""
    return elsewhere(words_estimator(), "half")


def cell(accuracy: float, cost_usd: float | None, tokens: int | None = 400) -> CellFacts:
    return CellFacts(
        queries=200,
        accuracy=accuracy,
        planned_accuracy=accuracy,
        accuracy_se=0.02,
        cost_usd=cost_usd,
        cost_se_usd=None if cost_usd is None else cost_usd / 20,
        cost_max_usd=None if cost_usd is None else cost_usd * 3.3333333,
        latency_p95_s=2.5,
        tokens_out_max=tokens,
        evidence=("measured",),
    )


def rung(fraction: float, easy: dict[str, float], hard: dict[str, float], cost: float) -> Rung:
    figures = Figures(accuracy=0.8, cost_usd_per_request=cost, latency_p95_s=8.0)
    return Rung(
        budget_fraction=fraction,
        objective="minimize cost",
        allocation={"easy": easy, "hard": hard},
        expected=figures,
        promised=Figures(accuracy=0.75, cost_usd_per_request=cost * 1.1, latency_p95_s=8.0),
        by_class={"easy": figures, "hard": figures},
        shadow_prices={"accuracy.overall": 0.031},
        limits={
            "accuracy.overall": LimitFigures(asked=0.75, allowed=0.75, promised=0.75, kept=True)
        },
    )


CELLS = {
    "easy": {SMALL: cell(0.9, 0.0000123), LADDER: cell(0.93, 0.00004), LARGE: cell(0.95, 0.01)},
    "hard": {SMALL: cell(0.3, 0.0000234), LADDER: cell(0.6, 0.0004), LARGE: cell(0.8, 0.02, 5120)},
}
WEIGHTS = {"easy": 0.625, "hard": 0.375}
SPEND_USD = 0.0052


def added_up(fraction: float, easy: dict[str, float], hard: dict[str, float]) -> Rung:
    """A rung whose figures are what its shares of `CELLS` come to."""
    return summed(fraction, {"easy": easy, "hard": hard}, CELLS, WEIGHTS)


def summed(
    fraction: float,
    allocation: Mapping[str, Mapping[str, float]],
    cells: Mapping[str, Mapping[str, CellFacts]],
    weights: Mapping[str, float],
) -> Rung:
    """A rung whose figures are what its shares of the cells come to."""
    by_class = {
        name: (
            sum(part * cells[name][text].planned_accuracy for text, part in shares.items()),
            sum(part * (cells[name][text].cost_usd or 0.0) for text, part in shares.items()),
        )
        for name, shares in allocation.items()
    }
    accuracy, usd = (
        sum(weights[name] * figures[part] for name, figures in by_class.items())
        for part in range(2)
    )
    spend = LimitFigures(asked=SPEND_USD, allowed=SPEND_USD, promised=usd * 1.02, kept=True)
    made = rung(fraction, {}, {}, usd)
    return made.model_copy(
        update={
            "allocation": allocation,
            "expected": Figures(accuracy=accuracy, cost_usd_per_request=usd, latency_p95_s=8.0),
            "by_class": {
                name: Figures(accuracy=mean, cost_usd_per_request=cost, latency_p95_s=8.0)
                for name, (mean, cost) in by_class.items()
            },
            "limits": {**made.limits, "spend.usd_per_request": spend},
        }
    )


def plan(**changes: Any) -> Plan:
    """Two classes, three strategies, two rungs; sorted by label unless changed."""
    values: dict[str, Any] = {
        "status": "optimal",
        "workload": "mixed",
        "confidence": 0.95,
        "classes": Classes(source="label", names=("easy", "hard"), weights=tuple(WEIGHTS.values())),
        "traffic": Traffic(requests=1_000_000, per="month"),
        "limits": Limits.model_validate(
            {"accuracy": {"overall": 0.75}, "spend": {"usd": 5200, "per": "month"}}
        ),
        "prices": PriceCard.model_validate(PRICES),
        "cells": CELLS,
        "rungs": (
            added_up(1.0, {SMALL: 0.7, LADDER: 0.3}, {LADDER: 1 / 3, LARGE: 2 / 3}),
            added_up(0.5, {SMALL: 1.0}, {LADDER: 1.0}),
        ),
        "best_single_strategy": None,
        "spec_digest": "sha256:5bec",
        "profile_digest": "sha256:9f0f",
        "solver": "HiGHS 1.12.0",
    }
    return Plan(**{**values, **changes}).sealed()


def text_plan(**changes: Any) -> Plan:
    """The same, sorted by the stand-in estimator."""
    classes = Classes(
        source="text",
        names=("easy", "hard"),
        weights=(0.625, 0.375),
        estimator="words.onnx",
        estimator_digest=digest_bytes(words_estimator()),
    )
    return plan(**{"classes": classes, **changes})


def compiled(source: str = "label") -> CompiledPolicy:
    if source == "label":
        return compile_plan(plan(), estimator=None)
    return compile_plan(text_plan(), estimator=words_estimator())


def requests(policy: Policy, classes: np.ndarray) -> np.ndarray:
    """Labels or prompts that fall into these classes; -1 is an unknown label."""
    if policy.classes.source == "label":
        return np.array([*policy.classes.names, "unheard of"], dtype=object)[classes]
    return np.array(["what is 2 + 3", "one two three four five six seven eight nine ten"], object)[
        classes
    ]
