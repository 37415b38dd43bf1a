"""Scenarios that a session keeps: saved, opened from a file, or named by the page's address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

import streamlit as st

from app.comparing import MOST as MOST_COMPARED
from app.figures import prose
from app.scenarios import (
    LONGEST_NAME,
    MOST,
    Scenario,
    address_text,
    file_text,
    parse_scenarios,
)
from policies.report_layout import code
from profiles.errors import InferbudgetError, InputError
from profiles.yaml_characters import decoded

ADDRESS = "compare"
"""The query parameter that holds the scenarios that are compared."""
LONGEST_ADDRESS = 6000
"""Characters, escapes counted: some servers and messengers cut longer ones."""
_KEPT, _COLUMNS, _SAID = "scenarios", "scenarios compared", "scenarios said"
_NAME, _FILE = "scenario name", "scenarios file"


def kept() -> list[Scenario]:
    """All scenarios of this session; at its start those of the address, which may be wrong."""
    state = st.session_state
    if _KEPT not in state:
        state[_KEPT] = []
        if text := st.query_params.get(ADDRESS):
            _read(text, "the address of this page")
    found: list[Scenario] = state[_KEPT]
    return found


def columns(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Ask which scenarios to compare, in which order."""
    state, names = st.session_state, [one.name for one in scenarios]
    state[_COLUMNS] = [name for name in state.get(_COLUMNS, ()) if name in names]
    chosen = st.multiselect(
        "Scenarios to compare",
        names,
        key=_COLUMNS,
        persist_state="session",
        max_selections=MOST_COMPARED,
        help="Two to four. The first that has a plan is what the others are compared with.",
    )
    by_name = {one.name: one for one in scenarios}
    return [by_name[name] for name in chosen]


def share_by_address(compared: Sequence[Scenario]) -> bool:
    """Put the scenarios into the page's address; False where they are too long for it."""
    text = address_text(compared) if compared else ""
    short = len(quote(text)) <= LONGEST_ADDRESS
    wanted = text if short else ""
    if wanted != st.query_params.get(ADDRESS, ""):
        if wanted:
            st.query_params[ADDRESS] = wanted
        else:
            del st.query_params[ADDRESS]
    return short


def save_form(settings: tuple[str, ...]) -> None:
    """A form that keeps the sidebar's view under a name."""
    with st.form("save scenario", clear_on_submit=True):
        st.text_input(
            "Name for the limits in the sidebar",
            key=_NAME,
            max_chars=LONGEST_NAME,
            placeholder="cheaper",
            help="A scenario is a name and what it sets over the spec. The name of one that is "
            "kept already replaces it.",
        )
        st.form_submit_button(
            "Save this view as a scenario", on_click=_save, args=(settings,), icon=":material/save:"
        )
    if said := st.session_state.pop(_SAID, None):
        st.error(prose(said))


def shelf(scenarios: Sequence[Scenario]) -> None:
    """What is kept: settings and a button to remove each, the file to take away or to open."""
    with st.expander(f"Kept scenarios: {len(scenarios)}", expanded=not scenarios):
        for one in scenarios:
            about, button = st.columns([5, 1], vertical_alignment="center")
            about.markdown(code(one.name))
            about.caption(", ".join(map(code, one.settings)) or "as the spec is written")
            button.button(
                "Remove", key=f"remove {one.name}", on_click=_remove, args=(one.name,),
                help="It stays in files and addresses that have it.",
            )  # fmt: skip
        if not any(not one.values for one in scenarios):
            st.button(
                "Add the spec as it is written",
                on_click=keep,
                args=([Scenario.of("as written", ())],),
                help="A scenario that sets nothing: what others are compared with.",
            )
        if scenarios:
            st.download_button(
                "Download scenarios.yaml", file_text(scenarios), "scenarios.yaml",
                "application/yaml", on_click="ignore",
                help="For `inferbudget compare`, and to open here again.",
            )  # fmt: skip
        st.file_uploader(
            "Open scenarios.yaml", type=["yaml", "yml"], max_upload_size=1, key=_FILE,
            on_change=_open, help="Its scenarios are added; one of the same name is replaced.",
        )  # fmt: skip


def keep(scenarios: Iterable[Scenario]) -> None:
    """Keep scenarios, each in the place of the one that is called like it, else behind all.

    Raises:
        InputError: They would be more than a file holds.
    """
    state = st.session_state
    by_name = {one.name: one for one in (*state.get(_KEPT, ()), *scenarios)}
    if len(by_name) > MOST:
        raise InputError(
            "these would be too many scenarios",
            expected=f"at most {MOST}",
            got=str(len(by_name)),
            next_step="remove some first",
        )
    new = [name for name in by_name if name not in {one.name for one in state.get(_KEPT, ())}]
    state[_KEPT] = list(by_name.values())
    state[_COLUMNS] = [*state.get(_COLUMNS, ()), *new][:MOST_COMPARED]


def fix(name: str, settings: tuple[str, ...]) -> None:
    """Set more in one of them."""
    try:
        keep([one.moved(settings) for one in kept() if one.name == name])
    except InferbudgetError as error:
        st.session_state[_SAID] = str(error)


def _read(text: str, name: str) -> None:
    try:
        keep(parse_scenarios(text, name))
    except InferbudgetError as error:
        st.session_state[_SAID] = str(error)


def _save(settings: tuple[str, ...]) -> None:
    try:
        keep([Scenario.of(st.session_state[_NAME].strip(), settings)])
    except InferbudgetError as error:
        st.session_state[_SAID] = str(error)


def _open() -> None:
    file = st.session_state[_FILE]
    if file is None:
        return
    try:
        text = decoded(file.getvalue(), file.name)
    except InferbudgetError as error:
        st.session_state[_SAID] = str(error)
    else:
        _read(text, file.name)


def _remove(name: str) -> None:
    state = st.session_state
    state[_KEPT] = [one for one in state[_KEPT] if one.name != name]
