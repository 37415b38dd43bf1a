"""What a page asks: limits in a sidebar, the same on every page, and the plan that keeps them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from app.opened import opened
from app.solving import Solving
from app.views import View
from planner.explain import LimitsClashError
from planner.limit_names import LATENCY, OVERALL, SPEND, in_words
from profiles.errors import InfeasibleError, InferbudgetError

if TYPE_CHECKING:
    from planner.plan import Rung

_SETTINGS = "set"
Moves = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the sidebar asks it.

    Attributes:
        found: The planner and the frontier of the view without the sliders' moves.
        view: With them: its command and its files are about what the page shows.
        moves: Values of the limits that have a slider; None for one taken away.
    """

    found: Solving
    view: View
    moves: Moves


def asked() -> Asked | None:
    """Draw the sidebar and open what it asks of; None where that cannot be read, which is said."""
    try:
        spec, store = opened()
        view = View(spec, store, _settings())
        found = _open(view, (spec.stat().st_mtime, store.stat().st_mtime))
    except InferbudgetError as error:
        st.error(str(error))
        return None
    moves = _limits(found)
    return Asked(found, view.moved(found.planner.spec, moves), moves)


def solved(question: Asked) -> Rung | None:
    """The plan; None where there is none, which is then explained, with a button for every fix."""
    try:
        return question.found.rung(question.moves)
    except LimitsClashError as error:
        st.error(f"No plan keeps these limits.\n\n{error}", icon=":material/block:")
        _fixes(question.found, error)
    except InfeasibleError as error:
        st.error(f"No plan keeps these limits.\n\n{error}", icon=":material/block:")
    except InferbudgetError as error:
        st.error(str(error))
    return None


@st.cache_resource(show_spinner="Reading the profile and solving its frontier", max_entries=16)
def _open(view: View, _changed: tuple[float, float]) -> Solving:
    return Solving.of(view)


def _settings() -> tuple[str, ...]:
    """What is set over the spec beside the sliders, a line each; it lives in the URL too."""
    with st.sidebar:
        lines = st.text_area(
            "More settings",
            key=_SETTINGS,
            bind="query-params",
            persist_state="session",
            placeholder="limits.accuracy.by_class.hard=0.8",
            help="Values over the spec's own, one PATH=VALUE a line, as `inferbudget plan --set` "
            "takes them.",
        )
    return tuple(line.strip() for line in (lines or "").splitlines() if line.strip())


def _fixes(found: Solving, clash: LimitsClashError) -> None:
    """A button for each limit that, moved alone, lets all others hold."""
    for name, value in clash.menu.items():
        st.button(
            f"Move {name} to {in_words(name, value)}",
            key=f"fix {name}",
            on_click=_move,
            args=(found, name, value),
        )


def _move(found: Solving, name: str, value: float) -> None:
    """Move one limit: its slider, else the settings."""
    state = st.session_state
    if name == OVERALL:
        state["accuracy"] = math.floor(round(1000 * value, 6)) / 10
    elif name == SPEND:
        low, high = _ends(found, value)
        step = _step(high - low)
        state["limit_budget"] = True
        state["budget"] = min(low + math.ceil((1000 * value - low) / step - 1e-9) * step, high)
    elif name == LATENCY:
        state["limit_p95"] = True
        state["p95"] = value
    else:
        from planner.moving import moved

        lines = [state.get(_SETTINGS) or "", *moved(found.question.spec, name, value)]
        state[_SETTINGS] = "\n".join(line for line in lines if line)


def _limits(found: Solving) -> Moves:
    """The limits as asked. Their values live in the URL, so a view can be shared."""
    spec = found.planner.spec  # with the fixed costs that it pays
    with st.sidebar:
        st.header("Limits")
        usd = _budget(found, spec.usd_per_request())
        floor = st.slider(
            "Accuracy floor, %",
            min_value=0.0,
            max_value=100.0,
            value=100 * (spec.limits.accuracy.overall or 0.0),
            step=0.1,
            format="%.1f",
            key="accuracy",
            bind="query-params",
            persist_state="session",
            help="Promised over all traffic with the spec's confidence; 0 asks for nothing.",
        )
        p95_s = _latency(found)
    return {OVERALL: round(floor / 100, 6) or None, SPEND: usd, LATENCY: p95_s}


def _budget(found: Solving, asked: float | None) -> float | None:
    """Dollars per request, None without a limit. The ends are what plans may promise to spend."""
    low, high = _ends(found, asked)
    limited = st.toggle(
        "Limit the budget", value=asked is not None, key="limit_budget", bind="query-params"
    )
    if low >= high:
        st.caption("Every plan costs the same.")
        return asked if limited else None
    budget = st.slider(
        "Budget, USD per 1,000 requests",
        min_value=low,
        max_value=high,
        value=min(max(1000 * asked, low), high) if asked is not None else high,
        step=_step(high - low),
        format=f"%.{_decimals(high - low)}f",
        key="budget",
        bind="query-params",
        persist_state="session",
        disabled=not limited,
        help="The mean spend that the plan may promise. Expected spend lies a margin below.",
    )
    return round(budget / 1000, 15) if limited else None


def _ends(found: Solving, asked: float | None) -> tuple[float, float]:
    """Least and most dollars per 1,000 requests that are worth asking for."""
    promised = [point.promised_usd_per_request for point in found.points] or [asked or 0.0]
    return 1000 * min(promised), 1000 * max([*promised, asked or 0.0])


def _latency(found: Solving) -> float | None:
    """Seconds, None without a limit."""
    grid = found.question.profile.latency_grid_s
    asked = found.limits.p95_s
    if not grid:
        st.caption("No latency was recorded, so none can be limited.")
        return None
    limited = st.toggle(
        "Limit the latency", value=asked is not None, key="limit_p95", bind="query-params"
    )
    p95_s = st.select_slider(
        "p95 latency limit, seconds",
        options=grid,
        value=asked if asked in grid else grid[-1],
        format_func=lambda limit_s: f"{limit_s:g}",
        key="p95",
        bind="query-params",
        persist_state="session",
        disabled=not limited,
        help="At most 5 % of all requests may take longer. The profile counts answers beyond these "
        "limits.",
    )
    return p95_s if limited else None


def _step(span: float) -> float:
    """A power of ten that divides a span into 100 to 1,000 parts."""
    return float(10.0 ** math.floor(math.log10(span / 100)))


def _decimals(span: float) -> int:
    """Decimals that tell two steps of a slider apart."""
    return max(0, -math.floor(math.log10(_step(span))))
