"""Plans as columns of a fleet: taken whole, with the promises that they came with.

A plan is one rung of a plan file and its shares are never changed here. What a fleet may choose is
which plan runs in which hour.

A mean over hours is a promise too. With shares ``v_h`` of the requests and allocations ``x_h``, the
margin of a promise is a norm, hence convex: ``g (sum v x) - z |M sum v x|`` is at least
``sum v (g x - z |M x|)``, the mean of the promises. Where promises also count the noise of the
judged requests, that noise averages in squares, and the mean falls short by `turns_noise`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from planner.plan import Plan, Rung
from profiles.errors import InputError


@dataclass(frozen=True)
class CertifiedPlan:
    """One rung of a plan file, which an hour can run.

    Attributes:
        name: File's name and rung, for people.
        promised_accuracy: What its certificate says, 0..1.
        weights: Share of requests by class.
        allocation: Share of a class's requests by strategy.
        cost_usd: Mean dollars of one request by class and strategy, None where unknown.
        judged_noise: Within the promise, least and most that the noise of the judged requests
            themselves can be; 0 where it does not count them.
    """

    name: str
    promised_accuracy: float
    weights: Mapping[str, float]
    allocation: Mapping[str, Mapping[str, float]]
    cost_usd: Mapping[str, Mapping[str, float | None]]
    judged_noise: tuple[float, float] = (0.0, 0.0)

    def shares(self) -> list[tuple[str, str, float]]:
        """Class, strategy and share of all requests, where that is above 0."""
        return [
            (class_name, strategy, self.weights[class_name] * share)
            for class_name, strategies in self.allocation.items()
            for strategy, share in strategies.items()
            if self.weights[class_name] * share > 0
        ]


def certified(plans: Mapping[str, Plan], *, rungs: bool = True) -> tuple[CertifiedPlan, ...]:
    """Rungs of plan files as columns, in the order of the files.

    Args:
        plans: Plan files by name; all about the same classes and mix of traffic.
        rungs: Every rung, or only the first of each file.

    Raises:
        InputError: Plans of different workloads, classes or mixes, or none.
    """
    if not plans:
        raise InputError("no plan was given", next_step="pass a plan file with --plan")
    first = next(iter(plans.values()))
    for name, plan in plans.items():
        _refuse_other_traffic(first, plan, name)
    return tuple(
        _column(f"{name} rung {i}", plan, rung)
        for name, plan in plans.items()
        for i, rung in enumerate(plan.rungs if rungs else plan.rungs[:1])
    )


def turns_noise(judged: Sequence[tuple[float, float]]) -> float:
    """By how much a mean of promises may be too high when their plans take turns.

    Noise k_h of requests in different hours averages to ``sqrt(sum v k^2)``, which exceeds
    ``sum v k`` by at most ``(k_max - k_min)^2 / (8 k_min)``: a variance is at most a quarter of the
    squared range.

    Args:
        judged: Least and most noise of every plan.
    """
    least, most = min(low for low, _ in judged), max(high for _, high in judged)
    if most == least:
        return 0.0
    return (most - least) ** 2 / (8 * least) if least > 0 else most


def _judged_noise(plan: Plan, rung: Rung) -> tuple[float, float]:
    if plan.confidence is None or plan.traffic is None:
        return 0.0, 0.0
    z = NormalDist().inv_cdf(plan.confidence)
    # a score in 0..1 with mean m varies by at most m (1 - m), which falls from 1/2 upwards
    means = (rung.expected.accuracy, rung.promised.accuracy)
    spread = [math.sqrt(m * (1 - m)) for m in (min(max(mean, 0.5), 1.0) for mean in means)]
    low, high = sorted(z * value / math.sqrt(plan.traffic.fewest) for value in spread)
    return low, high


def _refuse_other_traffic(first: Plan, plan: Plan, name: str) -> None:
    for what, own, expected in (
        ("workload", plan.workload, first.workload),
        ("classes", plan.classes.names, first.classes.names),
        ("mix of classes", plan.classes.weights, first.classes.weights),
        ("profile", plan.profile_digest, first.profile_digest),
    ):
        if own != expected:
            raise InputError(
                f"plans of one fleet have one {what}",
                where=name,
                expected=str(expected),
                got=str(own),
            )


def _column(name: str, plan: Plan, rung: Rung) -> CertifiedPlan:
    return CertifiedPlan(
        name=name,
        promised_accuracy=rung.promised.accuracy,
        weights=dict(zip(plan.classes.names, plan.classes.weights, strict=True)),
        allocation=rung.allocation,
        cost_usd={
            class_name: {strategy: facts.cost_usd for strategy, facts in cells.items()}
            for class_name, cells in plan.cells.items()
        },
        judged_noise=_judged_noise(plan, rung),
    )
