"""Where more money stops paying: the frontier of one class and its knee."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from app.charts.palette import CURRENT, EXPECTED, USD_PER_1000
from planner.frontiers.frontier import FrontierPoint
from planner.frontiers.knee import Knee


def knee_chart(points: Sequence[FrontierPoint], knee: Knee | None) -> alt.LayerChart:
    """Expected accuracy against spend, with the knee where there is one.

    Args:
        points: By rising dollars.
        knee: Of these points.
    """
    rows = [
        {"cost": 1000 * point.usd_per_request, "accuracy": 100 * point.accuracy, "name": ""}
        for point in points
    ]
    x = alt.X("cost:Q", title=USD_PER_1000, scale=alt.Scale(zero=False))
    y = alt.Y("accuracy:Q", title="accuracy, %", scale=alt.Scale(zero=False))
    tooltip = [
        alt.Tooltip("cost:Q", title=USD_PER_1000, format=".4g"),
        alt.Tooltip("accuracy:Q", title="accuracy, %", format=".1f"),
    ]
    line = alt.Chart(alt.Data(values=rows)).mark_line(point=True, color=EXPECTED)
    layers = [line.encode(x=x, y=y, tooltip=tooltip)]
    if knee:
        base = alt.Chart(alt.Data(values=[{**rows[knee.index], "name": "knee"}])).encode(x=x, y=y)
        layers += [
            base.mark_point(
                filled=True, color=CURRENT, shape="diamond", size=200, opacity=1
            ).encode(tooltip=tooltip),
            base.mark_text(align="left", dx=10, dy=12, color=CURRENT).encode(text="name:N"),
        ]
    return alt.layer(*layers).properties(height=300)
