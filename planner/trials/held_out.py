"""A plan judged by queries that it was not made from: every promise, kept or broken, with interval.

The plan's shares are weighed on the outcomes of other queries, by their own mix of classes unless
the spec gives one. A query counts as its expectation under the shares of its class; where some
strategy did not answer it, the class's mean stands in, with the noise that this leaves
(`planner.sorting.cells_of_outcomes.filled`). Intervals are those of the judging queries' luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planner.sorting.cells_of_outcomes import Outcomes, profile_of
from planner.trials.resplit import (
    OWN_ACCURACY,
    OWN_BILL,
    OWN_P95,
    Verdict,
    judge_of,
    judged,
)
from planner.trials.weighing import Held, Weighing
from profiles.errors import InputError

if TYPE_CHECKING:
    from planner.plan import Figures, Rung
    from planner.planner import Planner
    from planner.sorting.plans_by_fold import Classes


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What other queries say of a plan.

    Attributes:
        queries: How many judged it.
        confidence: Of the intervals.
        worth: The plan's figures by their means.
        promises: The spec's limits in their order, then what the plan promised itself.
    """

    queries: int
    confidence: float
    worth: Figures
    promises: tuple[Held, ...]


def held_out(planner: Planner, rung: Rung, outcomes: Outcomes, sorted_by: Classes) -> HeldOut:
    """Judge a rung of a plan by other queries.

    Args:
        planner: Of the plan.
        rung: One of its answers.
        outcomes: Of the judging queries, with what the limits are about.
        sorted_by: Their classes, by the names of the plan's.

    Raises:
        InputError: The judging queries never met a cell that the plan uses.
        UnknownValueError: They lack a cost or a latency that a limit needs.
    """
    rows = np.flatnonzero(outcomes.known.any(axis=1))
    outcomes, class_of = outcomes.part(rows), sorted_by.classes[rows]
    profile = profile_of(outcomes, class_of, sorted_by.names, np.arange(len(rows)))
    judge = judge_of(profile, planner.spec, planner.limits)
    verdict = judged(judge, rung)
    if not isinstance(verdict, Verdict):
        raise InputError(
            "the judging queries have no outcome of a strategy that the plan uses in some class",
            where=f"workload {outcomes.workload}",
            next_step="measure the plan's strategies on the new queries as well",
        )
    mix = planner.spec.traffic.mix if planner.spec.traffic else None
    level = planner.spec.level
    weighing = Weighing(outcomes, class_of, sorted_by.names, rung, mix=mix, level=level)
    own: dict[str, float | None] = {
        OWN_ACCURACY: rung.promised.accuracy,
        OWN_BILL: rung.promised.cost_usd_per_request,
        OWN_P95: rung.promised.latency_p95_s,
    }
    promised = {**planner.limits.values, **own}
    return HeldOut(
        queries=len(rows),
        confidence=weighing.level,
        worth=verdict.worth,
        promises=tuple(
            weighing.held(name, value, kept=verdict.kept[name], found=verdict.found.get(name))
            for name, value in promised.items()
            if value is not None and name in verdict.kept
        ),
    )
