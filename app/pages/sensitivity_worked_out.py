"""An explanation on a page: slow, so worked out when it is asked for, and then remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app.cli.options import json_text
from app.explained import as_json
from app.figures import prose
from planner.explaining.explanation import MOST_SOLVES, explanation
from planner.explaining.swings import SWING
from profiles.errors import InferbudgetError

if TYPE_CHECKING:
    from app.asking import Asked
    from app.solving import Solving
    from planner.explaining.report import Explanation

_SWINGS = (0.05, 0.1, SWING, 0.5)
_SOLVES = (25, 100, MOST_SOLVES, 1600)
_FEW_CELLS = 500
"""That many are worked out in seconds."""
_KEPT = 8
"""Explanations that a session remembers."""


def explained(question: Asked) -> Explanation | None:
    """What `inferbudget plan explain` says of a view; None until it is worked out."""
    swing, solves = _effort(question.found)
    command = ("plan", "explain", "--solves", str(solves), "--swing", f"{swing:g}")
    st.code(question.view.command(*command), language=None, wrap_lines=True)
    known: dict[Any, Explanation] = st.session_state.setdefault("explained", {})
    key = _key(question, swing, solves)
    if key not in known:
        asked_for = st.button(
            "Work it out",
            help="Answers the question again and again, each time with one number changed.",
        )
        if asked_for:
            try:
                known[key] = _worked_out(question, swing, solves)
            except InferbudgetError as error:
                st.error(prose(str(error)), icon=":material/error:")
                return None
            for old in list(known)[:-_KEPT]:
                del known[old]
            st.rerun()
        st.info(
            "Nothing is worked out yet for these limits. It takes at most "
            f"{3 * solves:,} re-solves: seconds with a few strategies, minutes with hundreds."
        )
        return None
    found = known[key]
    st.download_button(
        "Download all figures",
        lambda: explanation_bytes(found),
        "explanation.json",
        "application/json",
        on_click="ignore",
        help="What the command prints with --format json.",
    )
    return found


def _key(question: Asked, swing: float, solves: int) -> tuple[Any, ...]:
    """What an explanation is about: when a file changes it is about something else."""
    asked_of = question.found.question
    spec = asked_of.spec.model_dump_json()
    return (question.view, spec, asked_of.profile.digest, question.found.named_at, swing, solves)


def _effort(asked_of: Solving) -> tuple[float, int]:
    """By how much numbers change, and how often the question may be solved again."""
    swing = st.select_slider(
        "Change each number by",
        options=_SWINGS,
        value=SWING,
        format_func=lambda part: f"{100 * part:g} %",
        key="swing",
        bind="query-params",
        persist_state="session",
        help="Prices, accuracies, class shares and limits: one at a time, down and up.",
    )
    few = len(asked_of.question.profile.cells) <= _FEW_CELLS
    solves = st.select_slider(
        "Most re-solves of each kind",
        options=_SOLVES,
        value=MOST_SOLVES if few else _SOLVES[0],
        key="solves",
        bind="query-params",
        persist_state="session",
        help="For what matters most, for what flips the plan, and for who nearly enters. More "
        "takes longer; what was not tried is said.",
    )
    return swing, solves


def _worked_out(question: Asked, swing: float, solves: int) -> Explanation:
    """By a planner of its own: the sliders' one stays free.

    Raises:
        InferbudgetError: As the command says it.
    """
    bar = st.progress(0.0, text="Building the question")

    def advance(done: int, most: int) -> None:
        bar.progress(min(done / most, 1.0), text=f"{done:,} of at most {most:,} re-solves")

    try:
        planner = question.view.ask().planner()
        return explanation(planner, most_solves=solves, swing=swing, advance=advance)
    finally:
        bar.empty()


def explanation_bytes(found: Explanation) -> bytes:
    """What `inferbudget plan explain --format json` writes."""
    return f"{json_text({'format_version': '1.0', **as_json(found)})}\n".encode()
