"""Which cell to measure next, how many more queries, and what that is worth in dollars.

`advise` lists what a plan would gain from more queries of each cell, by the value of information
of `planner.information`, less what measuring costs. Where no plan can be certified it says which
limit blocks, which cells to measure and about how many more queries would do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.adaptive import BATCHES, dollars_per_window
from planner.information import ACCURACY, COST, Information
from planner.model import OVERALL
from planner.planner import Planner
from planner.spec import Spec
from profiles.errors import InfeasibleError, InputError
from profiles.profile import Profile

MOST_TIMES = 1e4
"""More than this many times the queries of today is no advice."""

NEGLIGIBLE = 1e-9
"""Relative to the objective: an improvement below this is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One piece of advice.

    Attributes:
        class_name: The class.
        strategy: Canonical text.
        queries: More queries to measure there.
        value: Expected improvement of the plan's objective per request, in `Advice.unit`.
        value_usd: The same in dollars per window of traffic; None where no price or no traffic
            says.
        cost_usd: Dollars of measuring, at the cell's mean cost; None where unknown.
        measured: Queries that the cell rests on today; 0 where it was never measured.
        share: Share of the class that it answers in today's plan, 0..1.
        reason: Why, in words.
    """

    class_name: str
    strategy: str
    queries: int
    value: float
    value_usd: float | None
    cost_usd: float | None
    measured: int
    share: float
    reason: str

    @property
    def worth_it(self) -> bool | None:
        """Whether one window pays for the measuring; None where either is unknown."""
        if self.value_usd is None or self.cost_usd is None:
            return None
        return self.value_usd > self.cost_usd


@dataclass(frozen=True, slots=True)
class Advice:
    """What to measure, most valuable first.

    Attributes:
        unit: What `Row.value` counts: dollars per request, accuracy, or points towards a limit.
        certified: The certified plan's objective; None where no plan can be certified.
        hindsight: The same, were every measured mean the truth; None where even that is
            infeasible. The distance of the two is what missing evidence costs.
        missing_evidence_usd: That distance in dollars per window; None where no price says.
        blocked: The limit that cannot be certified, None where a plan exists.
        summary: What stands in the way, in words.
        rows: The list.
    """

    unit: str
    certified: float | None
    hindsight: float | None
    missing_evidence_usd: float | None
    blocked: str | None
    summary: str
    rows: tuple[Row, ...]


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
        InfeasibleError: The limits cannot be kept by moving a single one.
        UnknownValueError: A class without cells, an unknown cost or tail that the question needs.
        InputError: A limit below 1 or a budget that is no amount.
    """
    if limit < 1 or (budget_usd is not None and not budget_usd > 0):
        raise InputError("a list needs at least one row and a budget above 0", where="advise")
    planner = Planner(profile, spec)
    information = Information(planner)
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
        distance = abs(certified - hindsight) * usd
    if needed is not None:
        rows = _scaled(information, needed)
    return Advice(
        unit=_unit(information),
        certified=certified,
        hindsight=hindsight,
        missing_evidence_usd=distance,
        blocked=blocked,
        summary=_summary(information, rows, needed, distance),
        rows=tuple(_within(rows, budget_usd))[:limit],
    )


def _unit(information: Information) -> str:
    if information.position.blocked is not None:
        return f"towards {information.position.blocked}"
    return "USD per request" if COST in information.position.prices else ACCURACY


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
        return False, row.value / row.queries
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
        reason=_reason(information, entry, queries),
    )


def _share(information: Information, entry: int) -> float:
    x = information.position.x
    return float(x[entry]) if entry < len(x) else 0.0


def _reason(information: Information, entry: int, queries: int) -> str:
    b = information.beliefs
    if b.queries[entry] == 0:
        return (
            f"never measured in this class; its other classes suggest {b.accuracy[entry]:.0%}, "
            "and a strategy without a cell cannot be planned with"
        )
    share = _share(information, entry)
    if share > 0:
        outlook = b.after(float(queries))
        now, then = b.after(0.0).accuracy_sd[entry], outlook.accuracy_sd[entry]
        return (
            f"answers {share:.0%} of its class; the standard error of its accuracy would fall "
            f"from {100 * now:.1f} to {100 * then:.1f} points"
        )
    chance = information.chance(entry, queries)
    likely = f"{chance:.0%} chance" if chance >= 0.01 else "less than 1% chance"
    return f"not in use; {likely} that {queries} more queries make it the better choice"


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
    return sorted(rows, key=lambda row: row.value, reverse=True)


def _times_needed(information: Information) -> float | None:
    """How many times the queries the nearest plan needs for the overall floor, means as today."""
    planner, b, x = information.planner, information.beliefs, information.position.x
    e, accounts = planner.estimates, planner.accounts
    floor = planner.limits.floors[OVERALL]
    for times in np.geomspace(1.0, MOST_TIMES, 400):
        outlook = b.after(b.queries * (times - 1))
        careful = outlook.careful[: e.columns]
        margin = accounts.margin_of(careful, outlook.accuracy_sd[: e.columns])
        missed = floor + margin.value(x, accounts.judged_offset(floor))
        if missed <= float(e.traffic_share * x @ careful):
            return float(times)
    return None


def _within(rows: list[Row], budget_usd: float | None) -> list[Row]:
    """The rows that a budget buys, most value per dollar first; all of them without a budget."""
    if budget_usd is None:
        return rows

    def rate(row: Row) -> float:
        return row.value / row.cost_usd if row.cost_usd else np.inf

    taken, left = [], budget_usd
    for row in sorted((row for row in rows if row.cost_usd is not None), key=rate, reverse=True):
        if row.cost_usd is not None and row.cost_usd <= left:
            taken.append(row)
            left -= row.cost_usd
    return taken


def _summary(
    information: Information, rows: list[Row], needed: float | None, distance: float | None
) -> str:
    blocked = information.position.blocked
    if blocked is None:
        return _of_a_plan(rows, distance)
    short = f"{blocked} cannot be certified: it is missed by {information.position.value:.3g}"
    if needed is not None:
        more = sum(row.queries for row in rows)
        known = [row.cost_usd for row in rows if row.cost_usd is not None]
        dollars = f" for about {sum(known):.3g} USD" if len(known) == len(rows) else ""
        return f"{short}; about {more} more queries of the cells listed would do{dollars}"
    if blocked == OVERALL:
        return f"{short}; with today's means more queries of the same cells would not do"
    return f"{short}; the list says what brings it nearest"


def _of_a_plan(rows: list[Row], distance: float | None) -> str:
    if distance is None:
        start = "no price turns this plan's improvements into dollars per window"
    else:
        start = f"missing evidence costs this plan about {distance:.3g} USD per window"
    worth = [row for row in rows if row.worth_it]
    if distance is not None and not worth:
        return f"{start}; no cell is worth measuring further at this traffic"
    return start
