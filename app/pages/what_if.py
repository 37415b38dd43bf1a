"""What-if: limits as sliders, the plan re-solved live, the frontier, and who answers what."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.charts import allocation_heatmap, frontier_chart, marks
from app.downloads import plan_bytes, policy_bytes
from app.solving import Solving
from app.source import opened
from app.views import View
from planner.explain import LimitsClashError
from planner.limit_names import LATENCY, OVERALL, SPEND, in_words
from planner.spec import Objective
from profiles.errors import InfeasibleError, InferbudgetError

if TYPE_CHECKING:
    from planner.plan import Rung

_SETTINGS = "set"
Moves = dict[str, float | None]


@st.cache_resource(show_spinner="Reading the profile and solving its frontier", max_entries=16)
def _open(view: View, _changed: tuple[float, float]) -> Solving:
    return Solving.of(view)


def page() -> None:
    """Draw the page."""
    st.title("What if?")
    try:
        spec, store = opened()
        view = View(spec, store, _settings())
        found = _open(view, (spec.stat().st_mtime, store.stat().st_mtime))
    except InferbudgetError as error:
        st.error(str(error))
        return
    profile = found.question.profile
    st.caption(
        f"{profile.workload}: {profile.queries} queries, {len(profile.strategies)} strategies, "
        f"{len(profile.classes)} classes, profile {profile.digest[:19]}"
    )
    moves = _limits(found)
    asked = view.moved(found.planner.spec, moves)
    rung = _solved(found, moves)
    if rung is not None:
        _figures(found, rung)
    _frontier(found, rung)
    if rung is not None:
        _allocation(found, rung)
        _take_away(asked)


def _settings() -> tuple[str, ...]:
    """What is set over the spec beside the sliders, a line each; it lives in the URL too."""
    with st.sidebar:
        lines = st.text_area(
            "More settings",
            key=_SETTINGS,
            bind="query-params",
            placeholder="limits.accuracy.by_class.hard=0.8",
            help="Values over the spec's own, one PATH=VALUE a line, as `inferbudget plan --set` "
            "takes them.",
        )
    return tuple(line.strip() for line in (lines or "").splitlines() if line.strip())


def _solved(found: Solving, moves: Moves) -> Rung | None:
    """The plan; None where there is none, which is then explained."""
    try:
        return found.rung(moves)
    except LimitsClashError as error:
        st.error(f"No plan keeps these limits.\n\n{error}", icon=":material/block:")
        _fixes(found, error)
    except InfeasibleError as error:
        st.error(f"No plan keeps these limits.\n\n{error}", icon=":material/block:")
    except InferbudgetError as error:
        st.error(str(error))
    return None


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


def _take_away(asked: View) -> None:
    """The view as a command, and as the files that it writes."""
    st.subheader("Take it away")
    st.code(asked.command("plan"), language="shell")
    plan, policy = st.columns(2)
    plan.download_button(
        "Download the plan", lambda: plan_bytes(asked), "plan.json", "application/json",
        on_click="ignore",
    )  # fmt: skip
    policy.download_button(
        "Download the policy", lambda: policy_bytes(asked), "policy.zip", "application/zip",
        on_click="ignore",
    )  # fmt: skip


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
        disabled=not limited,
        help="At most 5 % of all requests may take longer. The profile counts answers beyond these "
        "limits.",
    )
    return p95_s if limited else None


def _figures(found: Solving, rung: Rung) -> None:
    level = found.question.spec.level
    word = f"promised with {level:.0%}" if level else "point estimate"
    expected, promised = rung.expected, rung.promised
    spend, accuracy, tail, dollar = st.columns(4)
    spend.metric(
        "USD per 1,000 requests",
        _number(expected.cost_usd_per_request, 1000),
        help=f"At most {_number(promised.cost_usd_per_request, 1000)} is {word}.",
    )
    accuracy.metric(
        "Accuracy",
        f"{expected.accuracy:.1%}",
        help=f"At least {promised.accuracy:.1%} is {word}. "
        f"{found.question.profile.queries} queries were measured.",
    )
    tail.metric("p95 latency, s", _number(expected.latency_p95_s, 1))
    dollar.metric("The next dollar buys", _next_dollar(found, rung))
    st.caption(
        f"{word.capitalize()}: accuracy at least {promised.accuracy:.1%}, at most "
        f"{_number(promised.cost_usd_per_request, 1000)} USD per 1,000 requests."
    )


def _next_dollar(found: Solving, rung: Rung) -> str:
    """The shadow price of the budget in words, where the budget binds."""
    price = rung.shadow_prices.get("spend.usd_per_request", 0.0)
    if found.question.spec.objective is not Objective.MAXIMIZE_ACCURACY or price <= 0:
        return "nothing more"
    return f"{price:,.0f} correct"


def _frontier(found: Solving, rung: Rung | None) -> None:
    current = None
    if rung and rung.expected.cost_usd_per_request is not None:
        current = marks(
            [
                {
                    "name": "this plan",
                    "usd_per_request": rung.expected.cost_usd_per_request,
                    "accuracy": rung.expected.accuracy,
                }
            ]
        )[0]
    st.subheader("What accuracy costs")
    st.altair_chart(
        frontier_chart([asdict(p) for p in found.points], [], current),
        key="frontier",
        alt="Accuracy against spend: expected and promised frontier, and the current plan.",
    )


def _allocation(found: Solving, rung: Rung) -> None:
    profile = found.question.profile
    used = {text for shares in rung.allocation.values() for text in shares}
    rows: list[dict[str, Any]] = []
    for text in sorted(used):
        for name in profile.classes:
            cell = profile.cells.get((name, text))
            rows.append(
                {
                    "class": name,
                    "strategy": text,
                    "share": rung.allocation.get(name, {}).get(text, 0.0),
                    "accuracy": cell.accuracy if cell else None,
                    "cost": 1000 * cell.cost_usd if cell and cell.cost_usd is not None else None,
                    "queries": cell.queries if cell else 0,
                }
            )
    st.subheader("Who answers what")
    st.altair_chart(
        allocation_heatmap(rows, profile.classes),
        key="allocation",
        alt="Heatmap of the share of each class that each strategy answers.",
    )


def _number(value: float | None, scale: float) -> str:
    return "not measured" if value is None else f"{scale * value:.4g}"


def _step(span: float) -> float:
    """A power of ten that divides a span into 100 to 1,000 parts."""
    return float(10.0 ** math.floor(math.log10(span / 100)))


def _decimals(span: float) -> int:
    """Decimals that tell two steps of a slider apart."""
    return max(0, -math.floor(math.log10(_step(span))))
