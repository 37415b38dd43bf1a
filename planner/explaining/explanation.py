"""A plan and everything that explains it, from one planner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from planner.advice.advice import Advice
from planner.advice.advise import advise
from planner.explaining.asked import asked, drawbacks
from planner.explaining.changes import SEEN, Asked, used_cells
from planner.explaining.flips import SIZES, TOLERANCE, flips
from planner.explaining.margins import CONFIDENCE, alternatives, limit_facts
from planner.explaining.report import Explanation, Place
from planner.explaining.strategies import strategy_facts
from planner.explaining.swings import SWING, swings
from planner.fees.fixed_costs import refuse
from planner.frontiers.frontier import frontier
from planner.frontiers.knee import Knee, knee
from planner.planner import Answer, Planner
from profiles.errors import InferbudgetError

MOST_SOLVES = 400
"""Re-solves for prices at which strategies enter, for changes that flip the plan, and for what
numbers do when all change by as much: each."""

POINTS = 25
_ADVICE = 3


def explanation(
    planner: Planner,
    *,
    most_solves: int = MOST_SOLVES,
    swing: float = SWING,
    advance: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Solve the planner's question and explain the answer.

    Fixed costs stay paid as they are in the planner's spec.

    Args:
        planner: Built for the profile and the spec in question.
        most_solves: Re-solves for prices at which strategies enter, as many for changes that flip
            the plan, and as many for swings; what was not tried is said.
        swing: Relative change of every number for its swing, above 0 and below 1.
        advance: Told after each re-solve how many were made, and how many there can be.

    Raises:
        LimitsClashError: No allocation keeps the limits; says which clash and what would help.
        UnprovenError: The solver stopped early.
        UnknownValueError: A cell, cost or tail that the question needs was never measured.
    """
    limits = asked(planner.limits)
    counter = _Counter(3 * most_solves + 2 * len(limits) + 1, advance)
    answer = planner.explained(planner.limits)
    rung = planner.rung(answer, planner.spec.objective)
    facts = tuple(limit_facts(planner, answer, rung, counter.one))
    without = tuple(alternatives(planner, counter.one))
    used = used_cells(planner, answer)
    trial = Asked(planner, most_solves, counter.one)
    strategies = strategy_facts(planner, answer, trial)
    trial.allow(most_solves)
    flipping, untried, fixed = flips(planner, used, trial)
    trial.allow(most_solves)
    swung, unswung = swings(planner, answer, used, swing, trial)
    notes: list[str] = []
    if planner.estimates.level is not None and all(one.without != CONFIDENCE for one in without):
        notes.append("on point estimates no plan keeps the limits")
    if planner.spec.groups:
        notes.append("accuracies were not changed: limits on groups rest on cells of their own")
    if planner.tenants is not None:
        notes.append("class shares were not changed: tenants have their own")
    if planner.spec.fixed_costs:
        notes.append(
            "fixed costs stay as paid: what is said of a strategy holds while they do, and one "
            "whose fixed cost is not paid is not considered"
        )
    if planner.spec.allocation:
        notes.append(
            "with whole numbers a small step may change nothing: whether a limit binds is said of "
            "the step that was tried; what it costs in full is said below"
        )
    bend, place = _knee(planner, answer, notes)
    return Explanation(
        workload=planner.profile.workload,
        traffic=planner.spec.traffic,
        objective=planner.spec.objective,
        confidence=planner.spec.level,
        value=float(f"{answer.value:.9g}"),
        expected=rung.expected,
        promised=rung.promised,
        allocation=rung.allocation,
        limits=facts,
        without=without,
        compared=tuple(dict.fromkeys(name for name, _ in drawbacks(planner))),
        strategies=tuple(strategies),
        flips=tuple(flipping),
        untried=tuple(untried),
        fixed=tuple(fixed),
        swings=tuple(swung),
        unswung=unswung,
        swing=swing,
        most_change=SIZES[-1],
        tolerance=TOLERANCE,
        seen=SEEN,
        knee=bend,
        place=place,
        advice=_advice(planner, notes),
        notes=tuple(notes),
    )


class _Counter:
    """Counts re-solves and tells of each."""

    def __init__(self, total: int, advance: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._advance = 0, total, advance

    def one(self) -> None:
        """One more."""
        self._done += 1
        if self._advance is not None:
            self._advance(self._done, self._total)


def _knee(planner: Planner, answer: Answer, notes: list[str]) -> tuple[Knee | None, Place | None]:
    """The knee, and where the plan is: its place is that of the point that spends nearest to it."""
    if not planner.costs_known:
        notes.append("no knee: some costs are unknown")
        return None, None
    points = frontier(planner, POINTS)
    found = knee(points)
    if found is None:
        notes.append("no knee: the frontier has no bend")
        return None, None
    e = planner.estimates
    usd = float(e.traffic_share * answer.x @ e.cost_usd)
    nearest = int(np.argmin([abs(point.usd_per_request - usd) for point in points]))
    if nearest == found.index:
        return found, "at"
    return found, "below" if nearest < found.index else "beyond"


def _advice(planner: Planner, notes: list[str]) -> Advice | None:
    try:
        refuse(planner.spec, "what to measure next")
        return advise(planner.profile, planner.spec, limit=_ADVICE)
    except InferbudgetError as error:
        notes.append(f"no advice on what to measure next: {error}")
        return None
