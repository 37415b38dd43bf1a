"""Profiles: what the store holds, what it rests on, and where compute and money stop paying."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.chosen import chosen
from app.figures import evidence_words, prose
from app.pages import profile_advice, profile_cells, profile_curves, profile_knees

if TYPE_CHECKING:
    from profiles.profile import Profile

_SECTIONS = {
    "Coverage": profile_cells.section,
    "Scaling curves": profile_curves.section,
    "Knee per class": profile_knees.section,
    "Measure next": profile_advice.section,
}


def page() -> None:
    """Draw the page."""
    st.title("Profiles")
    found = chosen()
    if found is None:
        return
    st.caption(_basis(found.stored.profile))
    name = st.segmented_control(
        "Show",
        list(_SECTIONS),
        default="Coverage",
        required=True,
        key="profiles_section",
        bind="query-params",
        persist_state="session",
        help="What the cells rest on; what more samples or longer thinking bring; what more money "
        "brings in each class; what to measure next for the spec.",
    )
    _SECTIONS[name or "Coverage"](found)  # an address can name none


def _basis(profile: Profile) -> str:
    """What every figure of the page rests on."""
    return (
        f"{prose(profile.workload)}: {profile.queries:,} queries "
        f"({evidence_words(profile.cells.values())}), {len(profile.strategies):,} strategies, "
        f"{len(profile.classes):,} classes; profile {profile.digest[:19]}"
    )
