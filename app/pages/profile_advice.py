"""Measure next: which cells are worth more queries to the spec's plan, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app.chosen import spec_question
from app.cli.profile.advise import row_text
from app.figures import prose
from planner.advice.advise import advise
from planner.fees.fixed_costs import refuse
from profiles.errors import InferbudgetError

if TYPE_CHECKING:
    from app.chosen import Changed, Chosen
    from app.views import View
    from planner.advice.advice import Advice, Row


def section(chosen: Chosen) -> None:
    """Draw what `inferbudget profile advise` says, with the limits of the sidebar."""
    question = spec_question(chosen)
    if question is None:
        return
    budget = st.number_input(
        "Dollars to measure with",
        min_value=0.01,
        value=None,
        key="measuring_usd",
        bind="query-params",
        persist_state="session",
        placeholder="no limit",
        help="Rows are taken, best value per dollar first, while they fit. Without a number all "
        "are listed, at most 20.",
    )
    view = question.view
    found = _advice(view, budget, question.written_at)
    if isinstance(found, str):
        st.error(prose(found))
        return
    st.markdown(prose(found.summary))
    if found.rows:
        st.markdown("\n".join(f"- {prose(row_text(row, found))}" for row in found.rows))
        st.caption("Each stands alone: what two of one class are worth overlaps.")
        with st.expander("As a table"):
            st.dataframe([_row(row, found.unit) for row in found.rows], hide_index=True)
    more = [] if budget is None else ["--budget", f"{budget:.15g}"]
    st.code(" ".join([view.command("profile", "advise"), *more]), language=None, wrap_lines=True)


def _row(row: Row, unit: str) -> dict[str, Any]:
    return {
        "class": row.class_name,
        "strategy": row.strategy,
        "more queries": row.queries,
        "measured so far": row.measured,
        "USD to measure": row.cost_usd,
        "worth, USD per window": row.value_usd,
        f"worth, {unit}": row.value,
        "pays within a window": {True: "yes", False: "no", None: "not known"}[row.worth_it],
        "why": row.reason,
    }


@st.cache_resource(show_spinner="Weighing what to measure next", max_entries=32)
def _advice(
    view: View,
    budget_usd: float | None,
    changed: Changed,  # noqa: ARG001 - what the cache goes by
) -> Advice | str:
    """As `inferbudget profile advise` asks; a refusal is remembered too, for it can take long."""
    try:
        question = view.ask()
        refuse(question.spec, "what to measure next")
        return advise(question.profile, question.spec, budget_usd=budget_usd)
    except InferbudgetError as error:
        return str(error)
