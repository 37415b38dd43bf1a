"""Sensitivity: what the plan depends on, what its promises cost, and what would change it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import streamlit as st

from app.asking import Asked, asked, solved
from app.charts.palette import strategy_colours
from app.charts.sensitivity import entering_chart, reach_chart, tornado_chart
from app.explained import notes
from app.figures import OBJECTIVES, basis, behind, number, prose
from app.pages.sensitivity_worked_out import explained
from app.sensitivity_rows import (
    advice_rows,
    entering_rows,
    limit_rows,
    objective,
    promise_rows,
    promise_words,
    reach_rows,
    strategy_rows,
    swing_rows,
    tornado_rows,
)
from planner.explaining import swing_words, words
from planner.explaining.plain import limit_sentence
from policies.report_layout import code

if TYPE_CHECKING:
    from planner.explaining.report import Explanation, Swing

_BARS = 15
"""Of a picture; tables have the rest."""
_KINDS = {
    "Prices": "price",
    "Accuracy": "accuracy",
    "Traffic mix": "class share",
    "Limits": "limit",
}


def page() -> None:
    """Draw the page."""
    st.title("What does the plan depend on?")
    question = asked()
    if question is None:
        return
    st.caption(basis(question.found))
    rung = solved(question)
    if rung is None:
        return
    st.caption(behind(question.found, rung))
    found = explained(question)
    if found is None:
        return
    swings = _of_kinds(found)
    _tornado(found, swings)
    _reach(found, swings)
    _limits(found)
    _promises(found)
    _strategies(found, question)
    _next(found)
    with st.expander("How to read this, and what is missing"):
        _sentences(notes(found))


def _of_kinds(found: Explanation) -> list[Swing]:
    """Swings of the kinds that are to be shown."""
    kinds = st.pills(
        "Show",
        list(_KINDS),
        selection_mode="multi",
        default=list(_KINDS),
        key="kinds",
        bind="query-params",
        persist_state="session",
        help="Which numbers the two pictures below are about.",
    )
    wanted = {_KINDS[kind] for kind in kinds}
    return [one for one in found.swings if one.kind in wanted]


def _tornado(found: Explanation, swings: list[Swing]) -> None:
    """What each number does to the objective, and what was left out."""
    unit = swing_words.objective_words(found)
    st.subheader("What matters most")
    sure = "on point estimates, no margin"
    if found.confidence is not None:
        sure = f"promises with {100 * found.confidence:g} % confidence"
    st.caption(
        f"Each number changes alone by {100 * found.swing:g} % and the plan is made anew: "
        f"{OBJECTIVES[found.objective]}, {sure}. The dashed line is the plan as it is: "
        f"{number(objective(found))} ({unit}). A latency moves to that limit of the profile which "
        "comes nearest."
    )
    mattering = [one for one in swings if one.matters]
    drawn = [one for one in mattering if one.size][:_BARS]
    if drawn:
        rows = list(tornado_rows(found, drawn))
        told = [f"{row['number']} {row['change']}: {row['effect']}" for row in rows[:6]]
        st.altair_chart(
            tornado_chart(rows, objective(found), unit, found.swing),
            key="tornado",
            alt=f"Tornado of {unit}, the number that matters most on top. {'; '.join(told)}.",
        )
    else:
        st.info("No number that was tried changes what the plan is worth.")
    left_out = [
        f"{len(mattering) - len(drawn)} more: see the table" if mattering[len(drawn) :] else "",
        f"{len(swings) - len(mattering)} change nothing" if len(swings) > len(mattering) else "",
        swing_words.unswung_words(found),
    ]
    if any(left_out):
        st.caption("; ".join(text for text in left_out if text))
    if mattering:
        with st.expander("The same as a table"):
            st.dataframe(swing_rows(found, mattering), hide_index=True, key="swing table")


def _reach(found: Explanation, swings: list[Swing]) -> None:
    """How far numbers may move, and the smallest change of each kind that flips the plan."""
    st.subheader("What would change the plan")
    st.caption(
        "Bars: as far as the number may move, alone, while the same strategies answer the same "
        "classes. A diamond marks where other strategies answer beyond it, a cross where no plan "
        "keeps the limits."
    )
    rows = reach_rows(found, swings)
    if rows:
        told = [f"{row['number']}: {row['low']:+.3g} to {row['high']:+.3g} %" for row in rows[:6]]
        st.altair_chart(
            reach_chart(rows[:_BARS], found.swing),
            key="reach",
            alt="How far each number may move before the plan changes, the nearest on top. "
            f"{'; '.join(told)}.",
        )
        if rows[_BARS:]:
            st.caption(f"{len(rows) - _BARS} more change the plan later.")
    else:
        st.info(f"None of these numbers changes who answers by moving {100 * found.swing:g} %.")
    st.markdown("**The smallest change of each kind**")
    told = [words.flip_words(flip, found.tolerance) for flip in found.flips]
    _sentences(text for text in (*told, words.quiet_words(found)) if text)


def _limits(found: Explanation) -> None:
    st.subheader("What limits cost")
    if not found.limits:
        st.info("The question has no limits. Set some in the sidebar, or in the spec.")
        return
    st.caption(
        "A limit binds where the plan would be better without the last bit of it. Its price is "
        "that of a plan with the limit one step looser, and one step tighter."
    )
    st.dataframe(limit_rows(found), hide_index=True, key="limit table")
    told = (limit_sentence(one, found.objective, found.traffic, code) for one in found.limits)
    st.markdown("\n".join(f"- {text}" for text in told))


def _promises(found: Explanation) -> None:
    if not found.without:
        return
    st.subheader("What promises cost")
    st.caption(
        "The same question without one of its promises. Certainty is what the margins cost: it "
        "falls with every measured query. Prices of several promises do not add up."
    )
    _sentences(promise_words(found))
    with st.expander("The plans without them"):
        st.dataframe(promise_rows(found), hide_index=True, key="promise table")


def _strategies(found: Explanation, question: Asked) -> None:
    st.subheader("Who nearly enters")
    rows = entering_rows(found)
    if rows:
        colours = strategy_colours(question.found.question.profile.strategies)
        told = [f"{row['number']} {row['cheaper']:.3g} % cheaper" for row in rows[:6]]
        st.altair_chart(
            entering_chart(rows[:_BARS], colours),
            key="entering",
            alt=f"By how much unused strategies must become cheaper: {'; '.join(told)}.",
        )
    else:
        st.info("No unused strategy was found that a lower price alone would bring in.")
    with st.expander("Every strategy, and why it answers or not"):
        st.dataframe(strategy_rows(found), hide_index=True, key="strategy table")


def _next(found: Explanation) -> None:
    if found.knee:
        st.subheader("Does more money still pay?")
        _sentences(words.knee_words(found))
    st.subheader("What to measure next")
    if found.advice is None:
        st.info("Nothing is advised here; the notes below say why.")
        return
    _sentences([found.advice.summary])
    if found.advice.rows:
        st.dataframe(advice_rows(found), hide_index=True, key="advice table")


def _sentences(texts: Iterable[str]) -> None:
    """A list; what others wrote in it is no markup."""
    st.markdown("\n".join(f"- {prose(text)}" for text in texts))
