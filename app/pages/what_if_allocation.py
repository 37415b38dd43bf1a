"""Who answers what, on the What-if page: shares of every class, and how traffic flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app.charts.allocation import (
    MOST_STRATEGIES,
    Shares,
    allocation_flow,
    allocation_heatmap,
    grouped,
    traffic_of,
)
from app.charts.palette import strategy_colours
from app.charts.sankey import sankey_height

if TYPE_CHECKING:
    from app.solving import Solving
    from planner.plan import Rung
    from profiles.profile import Profile

_INK, _INK_ON_DARK = "#31333F", "#FAFAFA"
_TOLD = 3
"""Strategies that the words for a picture name."""


def draw_allocation(found: Solving, rung: Rung) -> None:
    """The heatmap, the flow, and both as a table."""
    profile, e = found.question.profile, found.planner.estimates
    weights = dict(zip(e.classes, e.weights.tolist(), strict=True))
    traffic = traffic_of(rung.allocation, weights)
    st.subheader("Who answers what")
    if rung.by_tenant:
        st.caption("Over all tenants together; `inferbudget plan` prints each of them.")
    st.altair_chart(
        allocation_heatmap(_cells(profile, rung.allocation, list(traffic)), e.classes),
        key="allocation",
        alt=f"Heatmap of the share of each class that each strategy answers. {_told(traffic)}",
    )
    ink = _INK_ON_DARK if st.context.theme.type == "dark" else _INK
    colours = strategy_colours(profile.strategies)
    flow = allocation_flow(rung.allocation, weights, colours, ink)
    st.echarts_chart(
        flow,
        height=sankey_height(flow),
        key="flow",
        alt=f"Flow of traffic from classes to the strategies that answer them. {_told(traffic)}",
    )
    with st.expander("The same as a table"):
        st.dataframe(
            _table(profile, rung.allocation, weights),
            hide_index=True,
            key="shares",
            column_config={
                "of the class": st.column_config.NumberColumn(format="percent"),
                "of all requests": st.column_config.NumberColumn(format="percent"),
                "measured accuracy": st.column_config.NumberColumn(format="percent"),
                "queries": st.column_config.NumberColumn(help="Distinct queries measured."),
            },
        )


def _told(traffic: dict[str, float]) -> str:
    parts = [f"{text} answers {share:.0%}" for text, share in list(traffic.items())[:_TOLD]]
    more = len(traffic) - len(parts)
    rest = f", and {more} more the rest" if more else ""
    return f"Of all requests, {', '.join(parts)}{rest}."


def _cells(profile: Profile, allocation: Shares, by_traffic: list[str]) -> list[dict[str, Any]]:
    """A row per class and drawn strategy; those with least traffic are one."""
    drawn = grouped(by_traffic, MOST_STRATEGIES, "strategies")
    rows: list[dict[str, Any]] = []
    for shown in dict.fromkeys(drawn.values()):
        for name, shares in allocation.items():
            cell = profile.cells.get((name, shown))
            share = sum(part for text, part in shares.items() if drawn[text] == shown)
            if not share and cell is None:
                continue
            rows.append(
                {
                    "class": name,
                    "strategy": shown,
                    "share": share,
                    "accuracy": cell and cell.accuracy,
                    "cost": None if cell is None or cell.cost_usd is None else 1000 * cell.cost_usd,
                    "queries": cell and cell.queries,
                }
            )
    return rows


def _table(profile: Profile, allocation: Shares, weights: dict[str, float]) -> list[dict[str, Any]]:
    """A row per class and strategy in use."""
    rows = []
    for name, shares in allocation.items():
        for text, share in sorted(shares.items(), key=lambda item: -item[1]):
            cell = profile.cells[name, text]
            rows.append(
                {
                    "class": name,
                    "strategy": text,
                    "of the class": share,
                    "of all requests": weights[name] * share,
                    "measured accuracy": cell.accuracy,
                    "USD per 1,000 requests": None
                    if cell.cost_usd is None
                    else 1000 * cell.cost_usd,
                    "queries": cell.queries,
                }
            )
    return rows
