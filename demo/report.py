"""What the demo found: the promise against the outcome, the bills, and the baselines."""

from __future__ import annotations

import json
import math
import platform
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.traffic import Traffic
from profiles.cells.report import wilson
from profiles.money import to_usd


@dataclass(frozen=True)
class Baseline:
    """One strategy for everything on the traffic's problems.

    Attributes:
        strategy: Canonical text.
        accuracy: Share of correct answers.
        accuracy_ci: Wilson 95 % interval.
        cost_usd: Dollars for all requests.
        latency_p95_s: Measured 95th percentile, seconds, at a constant 24 requests in flight.
    """

    strategy: str
    requests: int
    accuracy: float
    accuracy_ci: tuple[float, float]
    cost_usd: float
    latency_p95_s: float | None

    @classmethod
    def build(cls, row: dict[str, Any], *, requests: int) -> Baseline:
        """From a row of `inferbudget profile show`."""
        return cls(
            strategy=row["strategy"],
            requests=requests,
            accuracy=row["accuracy"],
            accuracy_ci=wilson(row["accuracy"], row["queries"]),
            cost_usd=row["cost_usd"] * requests,
            latency_p95_s=row["latency_p95_s"],
        )

    def as_dict(self) -> dict[str, Any]:
        """For the report file."""
        return {
            "strategy": self.strategy,
            "requests": self.requests,
            "accuracy": self.accuracy,
            "accuracy_ci": list(self.accuracy_ci),
            "cost_usd": self.cost_usd,
            "latency_p95_s": self.latency_p95_s,
        }


@dataclass(frozen=True)
class Report:
    """Everything that `demo/out/report.json` says."""

    seed: int
    plan: dict[str, Any]
    traffic: Traffic
    baselines: dict[str, Baseline]

    @classmethod
    def build(
        cls, out: Path, *, seed: int, traffic: Traffic, baselines: dict[str, Baseline]
    ) -> Report:
        """Gather the plan's promises and what came of them."""
        return cls(seed, json.loads((out / "plan.json").read_text()), traffic, baselines)

    @property
    def accuracy(self) -> float:
        """Share of requests answered correctly; a refused request is not correct."""
        return self._right() / len(self.traffic.served)

    def accuracy_ci(self) -> tuple[float, float]:
        """Wilson 95 % interval of the accuracy."""
        return wilson(self.accuracy, len(self.traffic.served))

    def latency_p95_s(self) -> float:
        """95th percentile over answered requests, as the client saw it, seconds."""
        ordered = sorted(one.latency_s for one in self.traffic.answered())
        return ordered[math.ceil(0.95 * len(ordered)) - 1]

    def budget_held(self) -> bool:
        """The ledger equals the upstream's bill and is within the budget, to the nano-dollar."""
        spent = self.traffic.ledger_nano_usd
        return spent == self.traffic.upstream_nano_usd and spent <= self.traffic.budget_nano_usd

    def promised(self) -> dict[str, Any]:
        """The first rung's promise."""
        found: dict[str, Any] = self.plan["rungs"][0]["promised"]
        return found

    def outcome_mark(self) -> dict[str, Any]:
        """What the traffic cost and achieved, as a point of the picture."""
        spent = to_usd(self.traffic.ledger_nano_usd)
        return {
            "name": "this run",
            "usd_per_request": spent / len(self.traffic.served),
            "accuracy": self.accuracy,
        }

    def baseline_marks(self) -> list[dict[str, Any]]:
        """The baselines as points of the picture; one strategy in two roles is one point."""
        roles: dict[str, list[str]] = {}
        for name, one in self.baselines.items():
            roles.setdefault(one.strategy, []).append(name.replace("_", " "))
        return [
            {
                "name": " = ".join(roles.pop(one.strategy)),
                "usd_per_request": one.cost_usd / one.requests,
                "accuracy": one.accuracy,
            }
            for one in self.baselines.values()
            if one.strategy in roles
        ]

    def by_class(self) -> dict[str, dict[str, Any]]:
        """Requests, accuracy and strategies used, per class and rung."""
        found: dict[str, dict[str, Any]] = {}
        for name in self.plan["classes"]["names"]:
            served = [one for one in self.traffic.served if one.class_name == name]
            used = Counter((one.rung, one.strategy) for one in served)
            right = sum(one.correct or 0.0 for one in served)
            found[name] = {
                "requests": len(served),
                "accuracy": right / len(served) if served else None,
                "strategies": [
                    {"rung": rung, "strategy": text, "requests": count}
                    for (rung, text), count in sorted(used.items())
                ],
            }
        return found

    def as_dict(self) -> dict[str, Any]:
        """The report file."""
        latency = self.plan["limits"]["latency"]
        return {
            "format_version": "1.0",
            "seed": self.seed,
            "requests": len(self.traffic.served),
            "refused": self._status(402, 429),
            "failed": len(self.traffic.served)
            - len(self.traffic.answered())
            - self._status(402, 429),
            "budget_usd": to_usd(self.traffic.budget_nano_usd),
            "ledger_spend_usd": to_usd(self.traffic.ledger_nano_usd),
            "upstream_bill_usd": to_usd(self.traffic.upstream_nano_usd),
            "promised_accuracy": self.promised()["accuracy"],
            "expected_accuracy": self.plan["rungs"][0]["expected"]["accuracy"],
            "confidence": self.plan["confidence"],
            "accuracy": self.accuracy,
            "accuracy_ci": list(self.accuracy_ci()),
            "latency_p95_s": self.latency_p95_s(),
            "latency_limit_s": latency["p95_s"] if latency else None,
            "by_class": self.by_class(),
            "baselines": {name: one.as_dict() for name, one in self.baselines.items()},
            "provider": self.traffic.provider,
            "machine": {"python": platform.python_version(), "system": platform.platform()},
        }

    def _right(self) -> float:
        return sum(one.correct or 0.0 for one in self.traffic.served)

    def _status(self, *statuses: int) -> int:
        return sum(one.status in statuses for one in self.traffic.served)


def headline(report: Report) -> str:
    """The outcome in a few lines."""
    facts = report.as_dict()
    low, high = facts["accuracy_ci"]
    kept = "kept" if report.accuracy >= facts["promised_accuracy"] else "BROKEN"
    equal = "equal" if facts["ledger_spend_usd"] == facts["upstream_bill_usd"] else "DIFFERENT"
    lines = [
        "class and rung -> strategy (requests)",
        *(_class_line(name, row) for name, row in facts["by_class"].items()),
        "",
        f"accuracy   {report.accuracy:.1%} ({low:.1%}..{high:.1%}, n={facts['requests']}), "
        f"promised {facts['promised_accuracy']:.1%} with {facts['confidence']:.0%} confidence: "
        f"{kept}",
        f"spend      ledger {facts['ledger_spend_usd']:.9f} USD, upstream's bill "
        f"{facts['upstream_bill_usd']:.9f} USD ({equal}), budget {facts['budget_usd']:.9f} USD",
        f"p95        {facts['latency_p95_s']:.2f} s, limit {facts['latency_limit_s']:.2f} s",
        f"refused    {facts['refused']} of {facts['requests']}, failed {facts['failed']}",
        f"provider   {facts['provider']}",
    ]
    return "\n".join(lines)


def _class_line(name: str, row: dict[str, Any]) -> str:
    accuracy = "n/a" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
    used = "".join(
        f"\n    rung {one['rung']}  {one['requests']:5d}  {one['strategy']}"
        for one in row["strategies"]
    )
    return f"  {name}: {row['requests']} requests, {accuracy} correct{used}"


def baseline_table(report: Report) -> str:
    """The plan beside every baseline, then the two fair comparisons."""
    ours = Baseline(
        strategy="the plan",
        requests=len(report.traffic.served),
        accuracy=report.accuracy,
        accuracy_ci=report.accuracy_ci(),
        cost_usd=to_usd(report.traffic.ledger_nano_usd),
        latency_p95_s=report.latency_p95_s(),
    )
    lines = [f"{'on the same problems':36} {'accuracy':>8} {'USD':>9}  {'p95 s':>5}  strategy"]
    for name, one in {"inferbudget": ours, **report.baselines}.items():
        p95 = "n/a" if one.latency_p95_s is None else f"{one.latency_p95_s:.2f}"
        lines.append(
            f"{name.replace('_', ' '):36} {one.accuracy:8.1%} {one.cost_usd:9.6f}  {p95:>5}  "
            f"{one.strategy}"
        )
    return "\n".join([*lines, "", *_comparisons(ours, report.baselines)])


def _comparisons(ours: Baseline, baselines: dict[str, Baseline]) -> list[str]:
    lines = []
    within = baselines.get("best_single_strategy_within_budget")
    if within:
        points = 100 * (ours.accuracy - within.accuracy)
        lines.append(f"within the budget: {points:+.1f} points against the best single strategy")
    equal = baselines["single_strategy_at_equal_accuracy"]
    lines.append(
        f"at planned accuracy: {ours.cost_usd / equal.cost_usd - 1:+.1%} USD against the cheapest "
        "single strategy that was measured as accurate "
        f"({100 * (ours.accuracy - equal.accuracy):+.1f} points)"
    )
    return lines
