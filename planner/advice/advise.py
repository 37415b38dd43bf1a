"""Which cell to measure next, how many more queries, and what that is worth in dollars.

`advise` lists what a plan would gain from more queries of each cell, by the value of information of
`planner.advice.information`, less what measuring costs. Where no plan can be certified it says
which limit blocks, which cells to measure and about how many more queries would do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.advice.adaptive import BATCHES, dollars_per_window, towards_hindsight
from planner.advice.advice import SEVERAL, Advice, Row
from planner.advice.advice_in_words import beyond, of_several_limits, reason, summary
from planner.advice.information import ACCURACY, Information, not_valued
from planner.limit_names import OVERALL
from planner.planner import Planner
from planner.spec import Objective, Spec
from profiles.errors import InfeasibleError, InputError
from profiles.profile import Profile

MOST_TIMES = 1e4
"""More than this many times the queries of today is no advice."""

MOST_QUERIES = 10**9

NEGLIGIBLE = 1e-9
"""Relative to the objective: an improvement below this is none."""


def advise(
    profile: Profile, spec: Spec, *, budget_usd: float | None = None, limit: int = 20
) -> Advice:
    """What measuring is worth to the certified plan.

    A cell's batch size is the one with the largest value less cost; where either is unknown, the
    one with the largest value per query. Each row stands alone: values of two rows of one class
    overlap.

    Args:
        profile: What was measured.
        spec: The question that the plan answers.
        budget_usd: Dollars to measure with; rows are taken, best value per dollar first, while
            they fit. Rows of unknown cost are left out then.
        limit: At most so many rows.

    Raises:
        LimitsClashError: No plan would keep the limits, were every measured mean the truth, and
            moving a single limit is not enough.
        UnknownValueError: A class without cells, an unknown cost or tail that the question needs.
        InputError: A limit below 1 or a budget that is no amount.
    """
    if limit < 1 or (budget_usd is not None and not budget_usd > 0):
        raise InputError("a list needs at least one row and a budget above 0", where="advise")
    planner = Planner(profile, spec)
    try:
        information = Information(planner)
    except InfeasibleError:
        return _of_several(planner, budget_usd, limit)
    if not_valued(information.position.prices):
        return _beyond(planner, information, budget_usd, limit)
    rows = _rows(information, spec)
    needed = None
    if information.position.blocked == OVERALL:
        needed = _times_needed(information)
    hindsight = _hindsight(planner)
    usd = dollars_per_window(information, spec)
    blocked = information.position.blocked
    certified = None if blocked else information.position.value
    distance = None
    if certified is not None and hindsight is not None and usd is not None:
        gap = abs(certified - hindsight)
        distance = gap * usd if gap > NEGLIGIBLE * abs(certified) else 0.0
    if needed is not None:
        rows = _scaled(information, needed)
    return Advice(
        unit=_unit(information),
        certified=certified,
        hindsight=hindsight,
        missing_evidence_usd=distance,
        blocked=blocked,
        summary=summary(information, rows, scaled=needed is not None, distance_usd=distance),
        rows=tuple(_within(rows, budget_usd))[:limit],
    )


def _beyond(
    planner: Planner, information: Information, budget_usd: float | None, limit: int
) -> Advice:
    """Where the plan pays for something to which no cell's worth is known."""
    blocked = information.position.blocked
    advice = _of_several(planner, budget_usd, limit, blocked=blocked or SEVERAL)
    if blocked:
        return advice
    return replace(
        advice,
        unit=_unit(information),
        certified=information.position.value,
        blocked=None,
        summary=beyond(not_valued(information.position.prices)),
    )


def _of_several(
    planner: Planner, budget_usd: float | None, limit: int, *, blocked: str = SEVERAL
) -> Advice:
    """Where no single limit is to blame: what the plan in hindsight rests on, as often again."""
    profile, spec = planner.profile, planner.spec
    bold = planner.on_point_estimates()
    answer = bold.explained(bold.limits)
    cells = zip(bold.estimates.cells, answer.x, strict=True)
    of = {(cell.class_name, cell.strategy): (cell, float(x)) for cell, x in cells}
    rows = []
    for batch in towards_hindsight(profile, spec, dict.fromkeys(profile.cells, MOST_QUERIES)):
        cell, x = of[batch.class_name, batch.strategy]
        rows.append(
            Row(
                class_name=batch.class_name,
                strategy=batch.strategy,
                queries=batch.queries,
                value=None,
                value_usd=None,
                cost_usd=batch.cost_usd,
                measured=cell.queries,
                share=x,
                reason=f"would answer {x:.0%} of its class, were every measured mean the truth",
            )
        )
    return Advice(
        unit=f"towards {blocked}",
        certified=None,
        hindsight=answer.value,
        missing_evidence_usd=None,
        blocked=blocked,
        summary=of_several_limits(rows, blocked),
        rows=tuple(_within(rows, budget_usd))[:limit],
    )


def _unit(information: Information) -> str:
    if information.position.blocked is not None:
        return f"towards {information.position.blocked}"
    if information.planner.spec.objective is Objective.MINIMIZE_COST_PER_CORRECT:
        return "USD per correct answer"
    return ACCURACY if ACCURACY in information.position.prices else "USD per request"


def _hindsight(planner: Planner) -> float | None:
    try:
        bold = planner.on_point_estimates()
        return bold.answer(planner.spec.objective, planner.limits).value
    except InfeasibleError:
        return None


def _rows(information: Information, spec: Spec) -> list[Row]:
    """Every cell whose best batch improves the plan, the most valuable first."""
    b = information.beliefs
    values = np.array([information.value(float(size)) for size in BATCHES])
    sizes = np.array(BATCHES, dtype=np.float64)[:, None]
    usd = dollars_per_window(information, spec)
    known = np.isfinite(b.cost_usd)
    net = values / sizes
    if usd is not None:
        net = np.where(known, values * usd - sizes * b.cost_usd, net)
    chosen = np.argmax(net, axis=0)
    least = NEGLIGIBLE * max(abs(information.position.value), 1e-12)
    rows = [
        _row(information, int(j), BATCHES[chosen[j]], float(values[chosen[j], j]), usd)
        for j in np.flatnonzero(values[chosen, np.arange(len(chosen))] > least)
    ]
    return sorted(rows, key=_merit, reverse=True)


def _merit(row: Row) -> tuple[bool, float]:
    """By value less cost; where a figure is unknown, by value per query, after all others."""
    if row.value_usd is None or row.cost_usd is None:
        return False, (row.value or 0.0) / row.queries
    return True, row.value_usd - row.cost_usd


def _row(
    information: Information, entry: int, queries: int, value: float, usd: float | None
) -> Row:
    b, e = information.beliefs, information.planner.estimates
    cost = float(b.cost_usd[entry])
    return Row(
        class_name=e.classes[b.class_of[entry]],
        strategy=e.strategies[b.strategy_of[entry]],
        queries=queries,
        value=value,
        value_usd=None if usd is None else value * usd,
        cost_usd=cost * queries if np.isfinite(cost) else None,
        measured=int(b.queries[entry]),
        share=_share(information, entry),
        reason=reason(information, entry, queries, _share(information, entry)),
    )


def _share(information: Information, entry: int) -> float:
    x = information.position.x
    return float(x[entry]) if entry < len(x) else 0.0


def _scaled(information: Information, times: float) -> list[Row]:
    """The cells that the nearest plan uses, each measured `times` as often."""
    b, x = information.beliefs, information.position.x
    extra = np.ceil(b.queries * (times - 1))
    values = information.value(extra)
    used = np.flatnonzero(x > 0)
    rows = [
        _row(information, int(j), int(extra[j]), float(values[j]), None)
        for j in used
        if extra[j] > 0
    ]
    return sorted(rows, key=lambda row: row.value or 0.0, reverse=True)


def _times_needed(information: Information) -> float | None:
    """How many times the queries the nearest plan needs for the overall floor, means as today."""
    planner, b, x = information.planner, information.beliefs, information.position.x
    e, accounts = planner.estimates, planner.accounts
    floor = planner.limits.values[OVERALL]
    for times in np.geomspace(1.0, MOST_TIMES, 400):
        outlook = b.after(b.queries * (times - 1))
        careful = outlook.careful[: e.columns]
        margin = accounts.accuracy_margin_of(careful, outlook.accuracy_sd[: e.columns])
        missed = floor + margin.value(x, accounts.judged_offset(floor))
        if missed <= float(e.traffic_share * x @ careful):
            return float(times)
    return None


def _within(rows: list[Row], budget_usd: float | None) -> list[Row]:
    """The rows that a budget buys, most value per dollar first; all of them without a budget."""
    if budget_usd is None:
        return rows

    def rate(row: Row) -> float:
        return (row.value or 0.0) / row.cost_usd if row.cost_usd else np.inf

    taken, left = [], budget_usd
    for row in sorted((row for row in rows if row.cost_usd is not None), key=rate, reverse=True):
        if row.cost_usd is not None and row.cost_usd <= left:
            taken.append(row)
            left -= row.cost_usd
    return taken
