"""What a run came to: value over hindsight, time, money and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.paced_traffic import Ladder, World, hindsight
from benchmarks.replayed_traffic.planned import WORKLOAD, Material
from benchmarks.replayed_traffic.traffic import Arm, Floats, Indices
from policies.policy import Policy
from profiles.cells.by_query import read_by_query
from profiles.money import NANO_PER_USD
from profiles.store.store import Store
from runtime.decision import DecisionSession

WARM = 0.2
"""Share of a run after which memory is looked at."""
POINTS = 120
"""Of a course."""


@dataclass(frozen=True)
class Known:
    """What hindsight knows of the traffic's problems.

    Attributes:
        policy: By whose accuracies value is counted.
        class_of: Class of every problem, by the policy's own graph.
        usd: What every strategy of the policy costs on every problem, shape (problems, S).
    """

    policy: Policy
    class_of: Indices
    usd: Floats

    @classmethod
    def of(cls, policy: Policy, graph: Any, material: Material) -> Known:
        """Of recorded answers, which cost the same whenever they are asked for."""
        asked = material.asked()
        nothing = np.zeros(len(asked))
        decisions = DecisionSession(policy, graph).decide_many(
            [one.prompt for one in asked], nothing.astype(int).tolist(), nothing.tolist()
        )
        with Store.open(str(material.outcomes)) as store:
            found = read_by_query(store, WORKLOAD)
        rows = [found.query_ids.index(one.query_id) for one in asked]
        columns = [found.strategies.index(text) for text in policy.strategy_texts()]
        return cls(
            policy,
            np.array([one.class_index for one in decisions]),
            found.costs[np.ix_(rows, columns)],
        )

    def mean_usd(self, asked: Indices) -> Floats:
        """By class and strategy over the requests that came, repeated problems counted again."""
        of_class = self.class_of[asked]
        members = [self.usd[asked[of_class == one]] for one in range(self._classes)]
        return np.array(
            [own.mean(axis=0) if len(own) else self.usd.mean(axis=0) for own in members]
        )

    @property
    def _classes(self) -> int:
        return len(self.policy.classes.names)

    def optima(self, asked: Indices, budget_usd: float) -> dict[str, float]:
        """The most value for this money with every request known, by linear programmes.

        Costs are the means that these requests really have under each strategy, class by class.
        "rungs" divides every class over the rows of the policy's rungs, as the runtime may;
        "strategies" over all its strategies, a plan that nobody reviewed.
        """
        ladder = replace(Ladder.of(self.policy), cost=self.mean_usd(asked))
        strategies = self.usd.shape[1]
        alone = np.repeat(np.eye(strategies)[:, None], self._classes, axis=1)
        best = {}
        for name, shares in (("rungs", ladder.shares), ("strategies", alone)):
            world = World(
                ladder=replace(ladder, shares=shares),
                arrived=np.linspace(0, 0.999, len(asked))[:, None],
                classes=self.class_of[asked][:, None],
                budget=np.array([budget_usd]),
                forecast=np.array([float(len(asked))]),
                seed=0,
            )
            best[name] = float(hindsight(world)[0])
        return best

    def unpaced(self, asked: Indices, budget_usd: float) -> dict[str, float]:
        """Value without pacing: one rung for every request, as they come, until the money is gone.

        By the means of hindsight; "first" is the best plan, "last" the cheapest one.
        """
        ladder = replace(Ladder.of(self.policy), cost=self.mean_usd(asked))
        accuracy, cost = ladder.by_class()
        of_class, found = self.class_of[asked], {}
        for name, rung in (("first", 0), ("last", -1)):
            paid = np.cumsum(cost[rung, of_class]) <= budget_usd
            found[name] = float(accuracy[rung, of_class][paid].sum())
        return found


def figures(arm: Arm, seen: Mapping[str, Any], known: Known, p95_s: float) -> dict[str, Any]:
    """All figures of a run."""
    requests = sorted(seen["requests"], key=lambda one: one["at_s"])
    policy = known.policy
    asked = np.array([one["problem"] for one in requests])
    answered = [one for one in requests if one["status"] == 200]
    accuracy = {
        (name, entry.text): cell.accuracy
        for entry in policy.strategies
        for name, cell in entry.by_class.items()
    }
    names = policy.classes.names
    wrong = sum(one["class_name"] != names[known.class_of[one["problem"]]] for one in answered)
    expected = sum(accuracy[one["class_name"], one["strategy"]] or 0.0 for one in answered)
    budget = seen["budget_nano_usd"]
    usd = known.mean_usd(asked)
    best = known.optima(asked, budget / NANO_PER_USD)
    unpaced = known.unpaced(asked, budget / NANO_PER_USD)
    times = np.array([one["latency_s"] for one in answered])
    first_usd = float((Ladder.of(policy).shares[0] * usd).sum(axis=1)[known.class_of[asked]].sum())
    return {
        "requests": len(requests),
        "forecast_requests": seen["forecast_requests"],
        "refused": sum(one["status"] in {402, 429} for one in requests),
        "failed": sum(one["status"] not in {200, 402, 429} for one in requests),
        "downgraded": sum(one["outcome"] == "downgraded" for one in answered),
        "sorted_otherwise": wrong,
        "value": round(expected / best["rungs"], 4),
        "value_over_any_strategy": round(expected / best["strategies"], 4),
        "value_unpaced": {name: round(one / best["rungs"], 4) for name, one in unpaced.items()},
        "expected_accuracy": round(expected / len(requests), 4),
        "true_accuracy": round(sum(one["score"] for one in answered) / len(requests), 4),
        "rungs": np.bincount(
            [one["rung"] for one in answered], minlength=len(policy.rungs)
        ).tolist(),
        "p50_s": round(float(np.quantile(times, 0.5)), 3),
        "p95_s": round(float(np.quantile(times, 0.95)), 3),
        "p95_limit_s": p95_s,
        "sent_late_p99_s": round(float(np.quantile([one["late_s"] for one in requests], 0.99)), 4),
        "budget_usd": round(budget / NANO_PER_USD, 9),
        "budget_over_first_rung": round(budget / NANO_PER_USD / first_usd, 4),
        "spent_share": round(seen["bill_nano_usd"] / budget, 4),
        "bill_nano_usd": seen["bill_nano_usd"],
        "ledger_nano_usd": seen["ledger_nano_usd"],
        "told_nano_usd": sum(one["nano_usd"] for one in answered),
        "cpu_ms_per_request": round(1e3 * seen["gateways_cpu_s"] / len(requests), 2),
        "memory": memory(seen["seconds"]),
        "course": course(arm, seen),
    }


def row(name: str, found: Mapping[str, Any]) -> str:
    """A line of the table in docs/explanation/pacing.md."""
    arm, memory = Arm.named(name), found["memory"]
    cells = (
        f"{arm.trace}, {arm.replay.minutes * arm.replay.rounds:g} min at {arm.replay.speed:g}x",
        f"{arm.budget:.0%}".replace("%", " %"),
        arm.replicas,
        f"{found['requests']:,}",
        found["refused"],
        f"**{found['value']:.3f}**",
        f"{found['value_unpaced']['first']:.3f}",
        f"{found['value_unpaced']['last']:.3f}",
        f"{100 * found['spent_share']:.1f} %",
        f"{found['p50_s']:.2f} / {found['p95_s']:.2f}",
        f"{memory['mb_at_first']:.0f} to {memory['mb_at_last']:.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def memory(seconds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Resident MB of the gateway that grew most, once `WARM` of the run is over.

    Growth is the slope of a straight line through all seconds after that, over their whole length.
    """
    after = seconds[int(len(seconds) * WARM) :]
    rss = np.array([one["rss_mb"] for one in after])
    moments = np.array([one["at_s"] for one in after])
    slopes = np.polyfit(moments, rss, 1)[0]
    worst = int(slopes.argmax())
    return {
        "after_s": round(float(moments[0]), 1),
        "mb_at_first": float(rss[0, worst]),
        "mb_at_last": float(rss[-1, worst]),
        "mb_most": float(rss.max()),
        "grown_mb": round(float(slopes[worst] * (moments[-1] - moments[0])), 2),
    }


def course(arm: Arm, seen: Mapping[str, Any]) -> list[dict[str, float]]:
    """How a run went: shares of its budget by the bill, by the plan and by the arrivals; and more.

    The plan spends its budget evenly over the clock; "arrivals" spends as much on every request
    that comes, which only hindsight can.
    """
    every = -(-len(seen["seconds"]) // POINTS)
    moments = seen["seconds"][::every]
    at_s = np.array([one["at_s"] for one in seen["requests"]])
    rungs = np.array([one["rung"] for one in seen["requests"]])
    span_s, found = arm.replay.span_s, []
    for last, second in pairwise(moments):
        now_s = second["at_s"]
        lately = (at_s > last["at_s"]) & (at_s <= now_s)
        told = rungs[lately & (rungs >= 0)]
        found.append(
            {
                "s": now_s,
                "spent": round(second["bill_nano_usd"] / seen["budget_nano_usd"], 4),
                "plan": round(min(max(now_s / span_s, 0.0), 1.0), 4),
                "arrivals": round(float((at_s <= now_s).mean()), 4),
                "per_s": round(float(lately.sum() / (now_s - last["at_s"])), 1),
                "rung": round(float(told.mean()), 2) if len(told) else None,
                "in_flight": sum(second["in_flight"]),
                "rss_mb": max(second["rss_mb"]),
            }
        )
    return found
