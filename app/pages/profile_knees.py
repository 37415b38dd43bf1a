"""Knee per class: where more money stops paying, were all traffic of one class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.charts.knees import knee_chart
from app.charts.palette import USD_PER_1000
from app.chosen import spec_question
from app.figures import number, prose, window_words
from planner.explaining.words import bend_words
from planner.frontiers.frontier import FrontierPoint, frontier
from planner.frontiers.knee import Knee, knee
from planner.moving import of_one_class
from planner.spec import read_spec
from policies.report_layout import code
from profiles.errors import InferbudgetError

if TYPE_CHECKING:
    from app.asking import Asked
    from app.chosen import Changed, Chosen
    from app.views import View

POINTS = 20
"""As many as `inferbudget frontier` prints."""
_AT_ONCE = 10_000
"""Classes times cells up to which every class is solved at once."""
_DOLLARS = (USD_PER_1000, "USD per 1,000 requests of a point below", "and beyond")
_COLUMNS = ("class", USD_PER_1000, "accuracy, %", *_DOLLARS[1:], "knee")


@dataclass(frozen=True, slots=True)
class Bend:
    """The frontier of one class.

    Attributes:
        view: What is asked.
        points: Empty where there is no frontier.
        knee: None where it does not bend.
        refused: Why there is no frontier.
    """

    view: View
    points: list[FrontierPoint]
    knee: Knee | None = None
    refused: str | None = None


def section(chosen: Chosen) -> None:
    """Draw the knees of the spec's classes, with the limits of the sidebar."""
    question = spec_question(chosen)
    if question is None:
        return
    profile = question.found.question.profile
    st.caption(
        "Each class as if all traffic were of it. Beyond the knee a point of accuracy is dearer "
        "than points are on average."
    )
    name = st.selectbox(
        "Class", profile.classes, key="knee_class", bind="query-params", persist_state="session",
        help="Its frontier is drawn below. Classes stand easiest first.",
    )  # fmt: skip
    all_at_once = len(profile.classes) * len(profile.cells) <= _AT_ONCE
    key = question.written_at
    bends = {
        class_name: _bend(question, question.view, class_name, key)
        for class_name in (profile.classes if all_at_once else (name,))
    }
    st.dataframe([_row(*one) for one in bends.items()], hide_index=True)
    if not all_at_once:
        st.caption("With so many cells only the class that is chosen is solved.")
    _one(question, name, bends[name])


def _row(name: str, bend: Bend) -> dict[str, Any]:
    said = "no bend: points cost about the same"
    if bend.knee:
        said = "the frontier bends here"
    elif bend.refused:
        said = "no frontier"
    row: dict[str, Any] = dict.fromkeys(_COLUMNS) | {"class": name, "knee": said}
    if bend.knee:
        usd = (
            bend.knee.usd_per_request,
            bend.knee.usd_per_point_below,
            bend.knee.usd_per_point_beyond,
        )
        row |= zip(_DOLLARS, (float(f"{1000 * one:.4g}") for one in usd), strict=True)
        row["accuracy, %"] = round(100 * bend.knee.accuracy, 1)
    return row


def _one(question: Asked, name: str, bend: Bend) -> None:
    if bend.refused:
        st.error(prose(bend.refused))
        st.markdown("This says more, such as which limits clash:")
        st.code(bend.view.command("plan", "explain"), language=None, wrap_lines=True)
        return
    said = bend_words(bend.knee) if bend.knee else "the frontier has no bend"
    st.markdown(f"In {code(name)} {said}.")
    if bend.knee:
        st.markdown(_price(question, name, bend.knee))
    st.altair_chart(
        knee_chart(bend.points, bend.knee),
        key="knee_frontier",
        alt=f"Expected accuracy against spend in {name}: {said}.",
    )
    st.code(bend.view.command("frontier"), language=None, wrap_lines=True)


def _price(question: Asked, name: str, knee: Knee) -> str:
    """What a further point costs in a window of the spec's traffic; nothing where it says none."""
    found = question.found.question
    traffic = found.spec.traffic
    if traffic is None:
        return ""
    share = float(question.found.planner.estimates.weights[found.profile.classes.index(name)])
    usd = knee.usd_per_point_beyond * traffic.requests * share
    return (
        f"Beyond it, one more point of accuracy in {code(name)} costs {number(usd)} USD "
        f"{window_words(traffic)}, {share:.1%} of them of this class."
    )


@st.cache_resource(show_spinner="Solving the frontiers of classes", max_entries=256)
def _bend(_question: Asked, view: View, name: str, changed: Changed) -> Bend:  # noqa: ARG001 - key
    """What `inferbudget frontier` answers where all traffic is of one class."""
    found = _question.found.question
    alone = replace(view, settings=(*view.settings, *of_one_class(found.spec, name)))
    try:
        spec = read_spec(alone.spec, alone.settings)
        points = frontier(replace(found, spec=spec).planner(), POINTS)
    except InferbudgetError as error:
        return Bend(alone, [], refused=str(error))
    return Bend(alone, points, knee(points))
