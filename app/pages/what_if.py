"""What-if: limits as sliders, the plan re-solved live, the frontier, and who answers what."""

from __future__ import annotations

import math
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.charts import allocation_heatmap, frontier_chart, marks
from app.planning import Question, ask
from app.source import opened
from planner.frontiers.frontier import FrontierPoint, frontier
from planner.plan import Rung
from planner.spec import Objective
from profiles.errors import InfeasibleError, InferbudgetError

if TYPE_CHECKING:
    from planner.planner import Planner


@dataclass
class Open:
    """A question with its planner. One solve at a time: the solver's state is shared."""

    question: Question
    planner: Planner
    points: list[FrontierPoint]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def solve(self, accuracy: float | None, usd: float | None, p95_s: float | None) -> Rung:
        """The best allocation under these limits."""
        with self.lock:
            return self.planner.solve(accuracy=accuracy, usd_per_request=usd, p95_s=p95_s)


@st.cache_resource(show_spinner="Reading the profile and solving its frontier")
def _open(spec: Path, store: Path, _changed: tuple[float, float]) -> Open:
    question = ask(spec, store)
    planner = question.planner()
    return Open(question, planner, frontier(planner, points=30))


def page() -> None:
    """Draw the page."""
    st.title("What if?")
    try:
        spec, store = opened()
        found = _open(spec, store, (spec.stat().st_mtime, store.stat().st_mtime))
    except InferbudgetError as error:
        st.error(str(error))
        return
    profile = found.question.profile
    st.caption(
        f"{profile.workload}: {profile.queries} queries, {len(profile.strategies)} strategies, "
        f"{len(profile.classes)} classes, profile {profile.digest[:19]}"
    )
    accuracy, usd, p95_s = _limits(found)
    try:
        rung = found.solve(accuracy, usd, p95_s)
    except InfeasibleError as error:
        st.error(f"No plan keeps these limits.\n\n{error}", icon=":material/block:")
        _frontier(found, None)
        return
    except InferbudgetError as error:
        st.error(str(error))
        return
    _figures(found, rung)
    _frontier(found, rung)
    _allocation(found, rung)


def _limits(found: Open) -> tuple[float | None, float | None, float | None]:
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
            step=0.5,
            key="accuracy",
            bind="query-params",
            help="Promised over all traffic with the spec's confidence; 0 asks for nothing.",
        )
        p95_s = _latency(found)
    return floor / 100 or None, usd, p95_s


def _budget(found: Open, asked: float | None) -> float | None:
    """Dollars per request, None without a limit. The ends are what plans may promise to spend."""
    promised = [point.promised_usd_per_request for point in found.points]
    low, high = 1000 * min(promised), 1000 * max([*promised, asked or 0.0])
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
    return budget / 1000 if limited else None


def _latency(found: Open) -> float | None:
    """Seconds, None without a limit."""
    grid = found.question.profile.latency_grid_s
    latency = found.question.spec.limits.latency
    asked = latency.p95_s if latency else None
    if not grid:
        st.caption("No latency was recorded, so none can be limited.")
        return None
    limited = st.toggle(
        "Limit the latency", value=asked is not None, key="limit_p95", bind="query-params"
    )
    low, high = grid[0], grid[-1]
    if low >= high:
        st.caption(f"Every answer took {low:g} s.")
        return low if limited else None
    p95_s = st.slider(
        "p95 latency limit, seconds",
        min_value=low,
        max_value=high,
        value=min(max(asked, low), high) if asked is not None else high,
        step=_step(high - low),
        format=f"%.{_decimals(high - low)}f",
        key="p95",
        bind="query-params",
        disabled=not limited,
        help="At most 5 % of all requests may take longer.",
    )
    return p95_s if limited else None


def _figures(found: Open, rung: Rung) -> None:
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


def _next_dollar(found: Open, rung: Rung) -> str:
    """The shadow price of the budget in words, where the budget binds."""
    price = rung.shadow_prices.get("spend.usd_per_request", 0.0)
    if found.question.spec.objective is not Objective.MAXIMIZE_ACCURACY or price <= 0:
        return "nothing more"
    return f"{price:,.0f} correct"


def _frontier(found: Open, rung: Rung | None) -> None:
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


def _allocation(found: Open, rung: Rung) -> None:
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
