"""What a page asks: limits in a sidebar, the same on every page, and the plan that keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.figures import prose
from app.opened import opened
from app.sliders import SETTINGS, SLIDERS, Moves, limits, move
from app.solving import TIME_LIMIT_S, Solving
from app.views import View
from planner.explain import LimitsClashError
from planner.limit_names import in_words
from profiles.errors import InfeasibleError, InferbudgetError, InputError, UnprovenError

if TYPE_CHECKING:
    from planner.plan import Rung


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the sidebar asks it.

    Attributes:
        found: The planner of the view without the sliders' moves.
        view: With them: its command and its files are about what the page shows.
        moves: Values of the limits that have a slider; None for one taken away.
    """

    found: Solving
    view: View
    moves: Moves

    @property
    def written_at(self) -> tuple[int, ...]:
        """When the files were written that answers rest on: what caches of answers go by."""
        own = _written_at(self.view.spec), _written_at(self.view.store)
        return (*own, *self.found.named_at)


def asked() -> Asked | None:
    """Draw the sidebar and open what it asks of; None where that cannot be read, which is said."""
    try:
        spec, store = opened()
        view = View(spec, store, _settings())
        found = solving(view)
        moves = limits(found)
        return Asked(found, view.moved(found.planner.spec, moves), moves)
    except InferbudgetError as error:
        st.error(prose(str(error)), icon=":material/error:")
        return None


def solved(question: Asked) -> Rung | None:
    """The plan; None where there is none, which is then explained, with a button for every fix."""
    try:
        return question.found.rung(question.moves)
    except LimitsClashError as error:
        _refused(error)
        _fixes(question.found, error)
    except InfeasibleError as error:
        _refused(error)
    except UnprovenError as error:
        st.error(
            f"The solver had no proof after {TIME_LIMIT_S:g} seconds, so there is no plan to "
            f"show.\n\n{prose(str(error))}\n\nGive it longer: the command below with "
            "`--time-limit 600`.",
            icon=":material/timer_off:",
        )
    except InferbudgetError as error:
        st.error(prose(str(error)), icon=":material/error:")
    return None


def solving(view: View) -> Solving:
    """The planner of a view, with its frontier; built anew where a file has changed.

    Raises:
        InferbudgetError: As `inferbudget plan` says it.
    """
    changed = (_written_at(view.spec), _written_at(view.store))
    found = _open(view, changed)
    if found.stale:
        _open.clear(view, changed)
        found = _open(view, changed)
    return found


def _written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise InputError(
            "this file cannot be opened",
            where=str(path),
            got=error.strerror,
            next_step="put it back, or start the app with another: inferbudget app SPEC "
            "--profiles STORE",
        ) from error


@st.cache_resource(show_spinner="Reading the profile and solving its frontier", max_entries=16)
def _open(view: View, changed: tuple[int, int]) -> Solving:  # noqa: ARG001 -- the cache's key
    found = Solving.of(view)
    found.curve({})
    return found


def _settings() -> tuple[str, ...]:
    """What is set over the spec beside the sliders, a line each; it lives in the URL too."""
    with st.sidebar:
        text = st.text_area(
            "More settings",
            key=SETTINGS,
            bind="query-params",
            persist_state="session",
            placeholder="limits.accuracy.by_class.hard=0.8",
            help="Values over the spec's own, one PATH=VALUE a line, as `inferbudget plan --set` "
            "takes them: `objective=minimize cost`, `confidence=0.9`, "
            "`limits.accuracy.by_class.hard=0.8`. A limit that has a slider is moved by it.",
        )
        lines = tuple(line.strip() for line in (text or "").splitlines() if line.strip())
        for path in SLIDERS.intersection(line.partition("=")[0].strip() for line in lines):
            st.caption(f"`{path}` has a slider below, which has the last word.")
    return lines


def _refused(error: InfeasibleError) -> None:
    st.error(f"No plan keeps these limits.\n\n{prose(str(error))}", icon=":material/block:")


def _fixes(found: Solving, clash: LimitsClashError) -> None:
    """A button for each limit that, moved alone, lets all others hold."""
    if not clash.menu:
        st.info(
            "No single move helps. Loosen two of these limits, or measure more.",
            icon=":material/lightbulb:",
        )
    for name, value in clash.menu.items():
        st.button(
            f"Move {prose(name)} to {in_words(name, value)}",
            key=f"fix {name}",
            help="Moves this limit alone; then all limits hold.",
            on_click=move,
            args=(found, name, value),
        )
