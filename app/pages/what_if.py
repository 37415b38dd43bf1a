"""What-if: limits as sliders, the plan re-solved live, the frontier, and who answers what."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.asking import asked, solved
from app.charts.allocation import allocation_heatmap
from app.charts.frontier import frontier_chart, marks
from app.downloads import plan_bytes, policy_bytes
from app.figures import basis, number
from planner.spec import Objective

if TYPE_CHECKING:
    from app.solving import Solving
    from app.views import View
    from planner.plan import Rung


def page() -> None:
    """Draw the page."""
    st.title("What if?")
    question = asked()
    if question is None:
        return
    found = question.found
    st.caption(basis(found))
    rung = solved(question)
    if rung is not None:
        _figures(found, rung)
    _frontier(found, rung)
    if rung is not None:
        _allocation(found, rung)
        _take_away(question.view)


def _take_away(view: View) -> None:
    """The view as a command, and as the files that it writes."""
    st.subheader("Take it away")
    st.code(view.command("plan"), language="shell")
    plan, policy = st.columns(2)
    plan.download_button(
        "Download the plan", lambda: plan_bytes(view), "plan.json", "application/json",
        on_click="ignore",
    )  # fmt: skip
    policy.download_button(
        "Download the policy", lambda: policy_bytes(view), "policy.zip", "application/zip",
        on_click="ignore",
    )  # fmt: skip


def _figures(found: Solving, rung: Rung) -> None:
    level = found.question.spec.level
    word = f"promised with {level:.0%}" if level else "point estimate"
    expected, promised = rung.expected, rung.promised
    spend, accuracy, tail, dollar = st.columns(4)
    spend.metric(
        "USD per 1,000 requests",
        number(expected.cost_usd_per_request, 1000),
        help=f"At most {number(promised.cost_usd_per_request, 1000)} is {word}.",
    )
    accuracy.metric(
        "Accuracy",
        f"{expected.accuracy:.1%}",
        help=f"At least {promised.accuracy:.1%} is {word}. "
        f"{found.question.profile.queries} queries were measured.",
    )
    tail.metric("p95 latency, s", number(expected.latency_p95_s, 1))
    dollar.metric("The next dollar buys", _next_dollar(found, rung))
    st.caption(
        f"{word.capitalize()}: accuracy at least {promised.accuracy:.1%}, at most "
        f"{number(promised.cost_usd_per_request, 1000)} USD per 1,000 requests."
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
