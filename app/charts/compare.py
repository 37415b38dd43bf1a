"""Scenarios side by side: what each costs and gets right, and who answers in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app.charts.names import short_names
from app.charts.palette import CURRENT, EXPECTED, PROMISED, SINGLE, USD_PER_1000

_SHAPES = ("circle", "square", "diamond", "triangle-up")
_COLOURS = (EXPECTED, PROMISED, SINGLE, CURRENT)
_WIDE_ENOUGH = 0.06
"""Share of a bar that has room for a number."""

_READABLE: tuple[dict[str, Any], ...] = (
    {"color": "black", "stroke": "black", "strokeWidth": 3},
    {"color": "white"},
)
"""White with a black rim, so that a number shows on every colour."""


def outcomes_chart(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Accuracy against spend, a point a scenario, with lines to what is promised.

    Args:
        rows: Up to four: `name`, `cost` and `promised_cost` in USD per 1,000 requests, `accuracy`
            and `promised_accuracy` in per cent.
    """
    names = [row["name"] for row in rows]
    base = alt.Chart(alt.Data(values=list(rows)))
    x = alt.X("cost:Q", title=USD_PER_1000, scale=alt.Scale(zero=False, padding=24))
    y = alt.Y("accuracy:Q", title="accuracy, %", scale=alt.Scale(zero=False, padding=24))
    colour = alt.Color(
        "name:N", scale=alt.Scale(domain=names, range=list(_COLOURS[: len(names)])), legend=None
    )
    shape = alt.Shape(
        "name:N", scale=alt.Scale(domain=names, range=list(_SHAPES[: len(names)])), legend=None
    )
    tooltip = [
        alt.Tooltip("name:N", title="scenario"),
        alt.Tooltip("accuracy:Q", title="accuracy expected, %", format=".1f"),
        alt.Tooltip("promised_accuracy:Q", title="promised at least, %", format=".1f"),
        alt.Tooltip("cost:Q", title=f"{USD_PER_1000} expected", format=".4g"),
        alt.Tooltip("promised_cost:Q", title="promised at most", format=".4g"),
    ]
    lines = base.mark_rule(strokeWidth=2, opacity=0.6)
    return alt.layer(
        lines.encode(x=x, y=y, y2="promised_accuracy:Q", color=colour),
        lines.encode(x=x, y=y, x2="promised_cost:Q", color=colour),
        base.mark_point(filled=True, size=160, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=tooltip
        ),
        base.mark_text(align="left", dx=10, dy=-10, fontSize=12).encode(
            x=x, y=y, text="name:N", color=colour
        ),
    ).properties(height=300)


def shares_chart(rows: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> alt.LayerChart:
    """Who answers each class in each scenario: bars of shares, each part with its number.

    Args:
        rows: `class`, `scenario`, `strategy` and `share` in 0..1, in the order of the bars.
        colours: Of every strategy in the rows.
    """
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    short = short_names(strategies)
    keys = {text: f"{number} {short[text]}" for number, text in enumerate(strategies, 1)}
    values = [
        {
            **row,
            "bar": f"{row['class']}: {row['scenario']}",
            "key": keys[row["strategy"]],
            "number": strategies.index(row["strategy"]) + 1,
        }
        for row in rows
    ]
    bars = list(dict.fromkeys(value["bar"] for value in values))
    base = alt.Chart(alt.Data(values=values)).encode(
        y=alt.Y("bar:N", title=None, sort=bars, axis=alt.Axis(labelLimit=200, labelOverlap=False)),
        order=alt.Order("number:Q"),
        tooltip=[
            alt.Tooltip("scenario:N"),
            alt.Tooltip("class:N"),
            alt.Tooltip("strategy:N"),
            alt.Tooltip("share:Q", format=".1%"),
        ],
    )
    parts = base.mark_bar(stroke="white", strokeWidth=1).encode(
        x=alt.X("share:Q", stack="zero", title="share of the class", axis=alt.Axis(format="%")),
        color=alt.Color(
            "key:N",
            title=None,
            scale=alt.Scale(
                domain=[keys[text] for text in strategies],
                range=[colours[text] for text in strategies],
            ),
            legend=alt.Legend(orient="bottom", columns=1, labelLimit=600, symbolLimit=0),
        ),
    )
    numbers = [
        base.mark_text(fontSize=11, fontWeight="bold", **look).encode(
            x=alt.X("share:Q", stack="zero", bandPosition=0.5),
            text=alt.condition(
                f"datum.share >= {_WIDE_ENOUGH}", alt.Text("number:Q"), alt.value("")
            ),
        )
        for look in _READABLE
    ]
    height = 130 + 30 * len(bars) + 26 * len(strategies)
    return alt.layer(parts, *numbers).properties(height=height)
