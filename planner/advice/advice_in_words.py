"""Advice in words: why a cell is listed, and what stands between the plan and its promise."""

from __future__ import annotations

from collections.abc import Sequence

from planner.advice.advice import Row
from planner.advice.information import COST, Information
from planner.limit_names import OVERALL
from planner.spec import Spec, Window


def reason(information: Information, entry: int, queries: int, share: float) -> str:
    """Why a cell is listed.

    Args:
        information: Where the plan stands.
        entry: Of the beliefs.
        queries: More queries to measure.
        share: Of the class that the cell answers in today's plan.
    """
    b = information.beliefs
    if b.queries[entry] == 0:
        return (
            f"never measured in this class; its other classes suggest {b.accuracy[entry]:.0%}, "
            "and a strategy without a cell cannot be planned with"
        )
    if share > 0:
        now, then = (b.after(more).accuracy_sd[entry] for more in (0.0, float(queries)))
        return (
            f"answers {share:.0%} of its class; the standard error of its accuracy would fall "
            f"from {100 * now:.3g} to {100 * then:.3g} points"
        )
    chance = information.chance(entry, queries)
    likely = f"{chance:.0%} chance" if chance >= 0.01 else "less than 1% chance"
    return f"not in use; {likely} that {queries} more queries make it the better choice"


def summary(
    information: Information, rows: Sequence[Row], *, scaled: bool, distance_usd: float | None
) -> str:
    """What stands in the way, and what all advice together costs.

    Args:
        information: Where the plan stands.
        rows: All of them.
        scaled: Whether `rows` are what would do to certify the overall floor.
        distance_usd: What missing evidence costs per window, None where no price says.
    """
    blocked = information.position.blocked
    if blocked is None:
        return _of_a_plan(information, rows, distance_usd)
    short = f"{blocked} cannot be certified: it is missed by {information.position.value:.3g}"
    if scaled:
        more = sum(row.queries for row in rows)
        dollars = f" for about {total:.3g} USD" if (total := _total_usd(rows)) is not None else ""
        return f"{short}; about {more:,} more queries of the cells listed would do{dollars}"
    if blocked == OVERALL:
        return f"{short}; with today's means more queries of the same cells would not do"
    return f"{short}; the list says what brings it nearest"


def of_several_limits(rows: Sequence[Row], blocked: str) -> str:
    """The same where no single limit is to blame, or one whose cells have no values."""
    dollars = f" for about {total:.3g} USD" if (total := _total_usd(rows)) is not None else ""
    return (
        f"{blocked} cannot be certified, though the measured means keep all of them; "
        f"measure the cells that they rest on as often again{dollars}, then ask again"
    )


def beyond(names: Sequence[str]) -> str:
    """The same for a plan that pays for something that values know nothing of."""
    return (
        f"the plan pays for {' and '.join(names)}, and what more queries are worth to that is "
        "not known; listed are the cells that the plan would rest on, were every "
        "measured mean the truth"
    )


def _of_a_plan(information: Information, rows: Sequence[Row], distance_usd: float | None) -> str:
    spec = information.planner.spec
    if distance_usd is None:
        return "no price turns this plan's improvements into dollars per window"
    if distance_usd == 0:
        start = "missing evidence costs this plan nothing"
    else:
        start = f"missing evidence costs this plan about {distance_usd:.3g} USD {_window(spec)}"
        if COST not in information.position.prices:
            start += ", counted as what the same gain in accuracy would cost to buy"
    worth = [row for row in rows if row.worth_it]
    if not worth:
        return f"{start}; no cell is worth measuring further at this traffic"
    cells = "1 cell is" if len(worth) == 1 else f"{len(worth)} cells are"
    more = sum(row.queries for row in worth)
    return (
        f"{start}; {cells} worth measuring further: {more:,} queries for "
        f"{_total_usd(worth) or 0.0:.3g} USD"
    )


def _window(spec: Spec) -> str:
    if spec.traffic is None or spec.traffic.per is Window.TOTAL:
        return "in all" if spec.traffic is None else f"on its {spec.traffic.requests:,} requests"
    return f"per {spec.traffic.per} of {spec.traffic.requests:,} requests"


def _total_usd(rows: Sequence[Row]) -> float | None:
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    return sum(known) if len(known) == len(rows) else None
