"""The frontier on the What-if page: what accuracy costs, and which of its plans to adopt."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.asking import Asked
from app.charts.frontier import ADOPTED, frontier_chart, kind_of
from app.figures import number, prose
from app.sliders import adopt
from app.solving import TIME_LIMIT_S
from planner.frontiers.knee import knee

if TYPE_CHECKING:
    from app.solving import Curve, Solving
    from planner.frontiers.frontier import FrontierPoint
    from planner.frontiers.singles import Single
    from planner.plan import Rung

_CHART, _CHOSEN = "frontier", "adopt"
_MOST_SINGLES = 30
"""Drawn beside the frontier: those that no cheaper one beats first, then the most accurate."""


def draw_frontier(question: Asked, rung: Rung | None) -> None:
    """The chart with the plan in it, and two ways to adopt a point."""
    st.subheader("What accuracy costs")
    found, moves = question.found, question.moves
    curve = found.curve(moves)
    if not curve.points:
        st.info(f"There is no frontier to draw.\n\n{prose(curve.missing)}")
        return
    naive = found.naive_curve(moves).points if _wants_naive(found) else ()
    st.altair_chart(
        frontier_chart(
            [asdict(point) for point in curve.points],
            _alone(found.singles()),
            _current(rung),
            [asdict(point) for point in naive],
        ),
        key=_CHART,
        on_select=lambda: _clicked(question, curve.points),
        selection_mode=ADOPTED,
        alt=_frontier_in_words(curve.points, rung),
    )
    st.caption(_legend(found, curve))
    st.selectbox(
        "Adopt a point",
        range(len(curve.points)),
        index=None,
        format_func=lambda number: _point_in_words(curve.points[number]),
        key=_CHOSEN,
        placeholder="Choose a point of the frontier",
        help="Moves the sliders so that the plan becomes this point: the budget to what it "
        "promises to spend. Where the plan is asked to be cheap, the accuracy floor follows.",
        on_change=_chosen,
        args=(question, curve.points),
    )


def _wants_naive(found: Solving) -> bool:
    """Whether to draw beside it what plans without margins claim."""
    if found.question.spec.level is None:
        return False
    return st.toggle(
        "Beside it the plan without margins",
        key="naive",
        bind="query-params",
        persist_state="session",
        help="The frontier as if every measured mean were the truth (`confidence: none`): what "
        "luck in the measurements makes look possible. The promised curve is what holds.",
    )


def _legend(found: Solving, curve: Curve) -> str:
    """What the marks mean, and where more money stops paying."""
    level = found.question.spec.level
    sure = f"with {100 * level:g} % confidence" if level else "as point estimates"
    text = (
        f"Marks on the line are plans as they are expected to turn out; the dashed curve is what "
        f"they promise {sure}. A filled circle joined to a hollow one is one strategy for "
        "everything: expected, and promised by the same margins."
    )
    bend = knee(curve.points)
    if bend is not None:
        below, beyond = bend.usd_per_point_below, bend.usd_per_point_beyond
        text += (
            f" The frontier bends at {number(bend.usd_per_request, 1000)} USD per 1,000 requests "
            f"and {bend.accuracy:.1%}: a point of accuracy costs {number(below, 1000)} USD per "
            f"1,000 requests below it and {number(beyond, 1000)} beyond."
        )
    if curve.hurried:
        text += (
            f" Only {len(curve.points)} plans were solved in {TIME_LIMIT_S:g} seconds; `inferbudget"
            " frontier` solves as many as it is asked for."
        )
    return f"{text} Click a mark on the line to adopt that plan, or choose it here."


def _clicked(question: Asked, points: tuple[FrontierPoint, ...]) -> None:
    picked = st.session_state[_CHART]["selection"].get(ADOPTED, [])
    if picked:
        _adopt(question, points[int(picked[0]["point"])])


def _chosen(question: Asked, points: tuple[FrontierPoint, ...]) -> None:
    chosen = st.session_state[_CHOSEN]
    if chosen is not None:
        _adopt(question, points[chosen])
        st.session_state[_CHOSEN] = None


def _adopt(question: Asked, point: FrontierPoint) -> None:
    adopt(question.found, question.moves, point.promised_usd_per_request, point.promised_accuracy)


def _point_in_words(point: FrontierPoint) -> str:
    return (
        f"{number(point.usd_per_request, 1000)} USD per 1,000 requests, {point.accuracy:.1%} "
        f"(promised {point.promised_accuracy:.1%}), {kind_of(point.allocation)}"
    )


def _frontier_in_words(points: tuple[FrontierPoint, ...], rung: Rung | None) -> str:
    """For those who do not see the chart."""
    first, last = points[0], points[-1]
    text = (
        f"Accuracy against spend, {len(points)} plans: from {_point_in_words(first)}, to "
        f"{_point_in_words(last)}."
    )
    if rung is None:
        return f"{text} No plan keeps the limits as they stand."
    spent = number(rung.expected.cost_usd_per_request, 1000)
    return f"{text} This plan: {spent} USD per 1,000 requests, {rung.expected.accuracy:.1%}."


def _current(rung: Rung | None) -> dict[str, Any] | None:
    if rung is None or rung.expected.cost_usd_per_request is None:
        return None
    return {
        "name": "this plan",
        "usd_per_request": rung.expected.cost_usd_per_request,
        "accuracy": rung.expected.accuracy,
        "promised_usd_per_request": rung.promised.cost_usd_per_request,
        "promised_accuracy": rung.promised.accuracy,
    }


def _alone(singles: list[Single]) -> list[dict[str, Any]]:
    """Rows of the chart, those that no cheaper one beats in front."""
    best, highest = [], -1.0
    for one in singles:  # by rising dollars
        if one.expected.accuracy > highest:
            best.append(one)
            highest = one.expected.accuracy
    others = sorted((one for one in singles if one not in best), key=lambda o: -o.expected.accuracy)
    return [
        {
            "name": one.strategy,
            "usd_per_request": one.expected.cost_usd_per_request,
            "accuracy": one.expected.accuracy,
            "promised_usd_per_request": one.promised.cost_usd_per_request,
            "promised_accuracy": one.promised.accuracy,
            "best": one in best,
        }
        for one in [*best, *others][:_MOST_SINGLES]
    ]
