"""The limits that have a slider, and what moves them: a hand, a fix, a point of the frontier."""

from __future__ import annotations

import math

import streamlit as st

from app.figures import number, window_words
from app.solving import Solving
from planner.limit_names import LATENCY, OVERALL, SPEND
from planner.spec import Objective

SETTINGS = "set"
"""Key of the settings beside the sliders, a line each."""

SLIDERS = frozenset({"limits.accuracy.overall", "limits.spend", "limits.latency.p95_s"})
"""Settings on which a slider has the last word."""

Moves = dict[str, float | None]

_STEPS = 10
"""Tenths of a point that a floor may give way by."""

_LOCAL_DECIMALS = 3
_FEWEST_LIMITS = 2
"""That a slider can choose from."""


def limits(found: Solving) -> Moves:
    """The limits as asked. Their values live in the URL, so a view can be shared."""
    with st.sidebar:
        st.header("Limits")
        return {SPEND: _budget(found), OVERALL: _accuracy(found), LATENCY: _latency(found)}


def move(found: Solving, name: str, value: float) -> None:
    """Move one limit: its slider, else the settings."""
    state = st.session_state
    if name == OVERALL:
        state["accuracy"] = math.floor(round(1000 * value, 6)) / 10
    elif name == SPEND:
        _set_budget(found, value)
    elif name == LATENCY:
        state["limit_p95"] = True
        state["p95"] = value
    else:
        _add_setting(found, name, value)


def _set_budget(found: Solving, usd: float) -> None:
    """Move the budget to the next step that is no less; where the slider ends, as a setting."""
    state = st.session_state
    state["limit_budget"] = True
    ends = _ends(found)
    if ends is None or ends[0] >= ends[1]:
        _add_setting(found, SPEND, usd)
        return
    low, high = ends
    budget = 1000 * usd
    if budget > high * (1 + 1e-9):
        _add_setting(found, SPEND, usd)
        state["budget"] = budget
        return
    step = _step(high - low)
    state["budget"] = min(low + math.ceil((budget - low) / step - 1e-9) * step, high)


def _add_setting(found: Solving, name: str, value: float) -> None:
    from planner.moving import moved

    state = st.session_state
    lines = [state.get(SETTINGS) or "", *moved(found.question.spec, name, value)]
    state[SETTINGS] = "\n".join(line for line in lines if line)


def adopt(found: Solving, moves: Moves, promised_usd: float, promised_accuracy: float) -> None:
    """Move the sliders so that the plan becomes a point of the frontier. Call it from a callback.

    The budget is what the point promises to spend. The accuracy floor is what it promises where
    the plan is asked to be cheap; where it is asked to be accurate, only a floor that is higher
    than that gives way.

    Args:
        found: What the page asks of.
        moves: Limits as they stand.
        promised_usd: Dollars per request.
        promised_accuracy: Mean score, 0..1.
    """
    state = st.session_state
    _set_budget(found, promised_usd)
    usd = state.get("budget", 1000 * promised_usd) / 1000
    floor = math.floor(round(1000 * promised_accuracy, 6))
    accurate = found.question.spec.objective is Objective.MAXIMIZE_ACCURACY
    if accurate and (moves[OVERALL] or 0.0) <= floor / 1000:
        return
    # Of fewer correct answers is less certain how many they are, so a floor may ask for one more.
    steps = (max(floor - step, 0) for step in range(_STEPS))
    kept = (s for s in steps if found.feasible({**moves, SPEND: usd, OVERALL: s / 1000 or None}))
    state["accuracy"] = next(kept, 0) / 10


def _accuracy(found: Solving) -> float | None:
    """Mean score over all traffic, None without a floor."""
    asked = found.limits.values.get(OVERALL)
    given = 100 * (asked or 0.0)
    floor = st.slider(
        "Accuracy floor, %",
        min_value=0.0,
        max_value=100.0,
        value=given,
        step=0.1,
        format="%.1f",
        key="accuracy",
        bind="query-params",
        persist_state="session",
        help="Least mean score over all traffic that the plan may promise, with the spec's "
        "confidence. Expected accuracy lies a margin above. 0 asks for nothing.",
    )
    return asked if floor == given else round(floor / 100, 6) or None


def _budget(found: Solving) -> float | None:
    """Dollars per request, None without a limit."""
    asked = found.limits.usd_per_request
    limited = st.toggle(
        "Limit the budget",
        value=asked is not None,
        key="limit_budget",
        bind="query-params",
        persist_state="session",
        help="Without it the plan may spend whatever the other limits need.",
    )
    ends = _ends(found)
    if ends is None:
        st.caption(
            "There is no frontier to take the ends of a budget from. A budget can still be set: "
            "`limits.spend={usd_per_request: 0.004}`"
        )
        return asked if limited else None
    low, high = ends
    if low >= high:
        st.caption("Every plan costs the same, so a budget changes nothing.")
        return asked if limited else None
    given = 1000 * asked if asked is not None else high
    _keep_within(low, high)
    budget = st.slider(
        "Budget, USD per 1,000 requests",
        min_value=low,
        max_value=high,
        value=given,
        step=_step(high - low),
        format=_format(high - low),
        key="budget",
        bind="query-params",
        persist_state="session",
        disabled=not limited,
        help="Most that the plan may promise to spend per request, on average and with the spec's "
        "confidence. Expected spend lies a margin below. The ends are those of the frontier.",
    )
    if not limited:
        return None
    usd = asked if budget == given and asked is not None else round(budget / 1000, 15)
    traffic = found.question.spec.traffic
    if traffic is not None:
        total = found.planner.spec.usd_per_window(usd)
        st.caption(f"That is {number(total)} USD {window_words(traffic)}.")
    return usd


def _keep_within(low: float, high: float) -> None:
    """A budget of another question moves to the nearest that this one's slider has."""
    state = st.session_state
    if state.get("budget") is not None:
        nearest = min(max(state["budget"], low), high)
        if nearest != state["budget"]:
            state["budget"] = nearest


def _ends(found: Solving) -> tuple[float, float] | None:
    """Least and most dollars per 1,000 requests that are worth asking for; None if unknown."""
    promised = [point.promised_usd_per_request for point in found.points]
    asked = found.limits.usd_per_request
    if asked is not None:
        promised.append(asked)
    if not found.points:
        return None
    return 1000 * min(promised), 1000 * max(promised)


def _latency(found: Solving) -> float | None:
    """Seconds, None without a limit."""
    profile = found.question.profile
    grid, asked = profile.latency_grid_s, found.limits.p95_s
    recorded = any(cell.exceeded for cell in profile.cells.values())
    if not recorded:
        st.caption("No latency was recorded, so none can be promised.")
    if not recorded and asked is None:
        return None
    limited = st.toggle(
        "Limit the latency",
        value=asked is not None,
        key="limit_p95",
        bind="query-params",
        persist_state="session",
        help="Without it answers may take as long as they do.",
    )
    if not recorded or len(grid) < _FEWEST_LIMITS:
        return asked if limited else None
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


def _format(span: float) -> str:
    """As the reader's own country writes numbers; with more decimals than that has, plainly."""
    decimals = max(0, -math.floor(math.log10(_step(span))))
    return "localized" if decimals <= _LOCAL_DECIMALS else f"%.{decimals}f"
