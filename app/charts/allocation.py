"""Who answers what: the share of every class that each strategy gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app.charts.palette import USD_PER_1000


def allocation_heatmap(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> alt.LayerChart:
    """Who answers what: share of each class per strategy.

    Args:
        rows: `class`, `strategy`, `share` in 0..1, and measured `accuracy`, `cost`, `queries`.
        classes: Order of the columns, easiest first.
    """
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        x=alt.X("class:N", title="class", sort=list(classes), axis=alt.Axis(labelAngle=0)),
        y=alt.Y(
            "strategy:N",
            title=None,
            sort=strategies,
            axis=alt.Axis(labelLimit=520, labelOverlap=False),
        ),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "share:Q",
            title="share",
            scale=alt.Scale(domain=[0, 1], scheme="blues"),
            legend=alt.Legend(format="%"),
        ),
        tooltip=[
            alt.Tooltip("strategy:N"),
            alt.Tooltip("class:N"),
            alt.Tooltip("share:Q", format=".1%"),
            alt.Tooltip("accuracy:Q", title="measured accuracy", format=".1%"),
            alt.Tooltip("cost:Q", title=USD_PER_1000, format=".4g"),
            alt.Tooltip("queries:Q", title="queries measured"),
        ],
    )
    labels = (
        base.transform_filter("datum.share > 0")
        .mark_text(fontSize=11)
        .encode(
            text=alt.Text("share:Q", format=".0%"),
            color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("black")),
        )
    )
    return alt.layer(cells, labels).properties(height=90 + 34 * len(strategies))
