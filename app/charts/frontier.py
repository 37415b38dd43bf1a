"""What accuracy costs: the frontier, the same in the app, in files and in documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt

from app.charts.palette import CURRENT, EXPECTED, PROMISED, SINGLE, USD_PER_1000


def marks(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Named points of a frontier chart, in its units (USD per 1,000 requests, per cent)."""
    return [
        {
            "name": point["name"],
            "cost": 1000 * point["usd_per_request"],
            "accuracy": 100 * point["accuracy"],
        }
        for point in points
    ]


def frontier_chart(
    points: Sequence[Mapping[str, Any]],
    singles: Sequence[Mapping[str, Any]],
    current: Mapping[str, Any] | None = None,
    *,
    width: int | Literal["container"] = "container",
    height: int = 340,
) -> alt.LayerChart:
    """Accuracy against spend: expected and promised curves, single points, the current plan.

    Args:
        points: Rows with `usd_per_request`, `accuracy`, `promised_accuracy`.
        singles: Named points as `marks` makes them.
        current: One such point, drawn on top.
        width: Pixels, or as wide as the page.
        height: Pixels.
    """
    rows = [
        {"cost": 1000 * p["usd_per_request"], "accuracy": 100 * p[key], "curve": name}
        for p in points
        for name, key in (("expected", "accuracy"), ("promised", "promised_accuracy"))
        if p.get(key) is not None
    ]
    x = alt.X("cost:Q", title=USD_PER_1000, scale=alt.Scale(zero=False))
    y = alt.Y("accuracy:Q", title="accuracy, %", scale=alt.Scale(zero=False))
    colour = alt.Color(
        "curve:N",
        title=None,
        scale=alt.Scale(domain=["expected", "promised"], range=[EXPECTED, PROMISED]),
        legend=alt.Legend(orient="bottom-right"),
    )
    tooltip = [
        alt.Tooltip("cost:Q", title=USD_PER_1000, format=".4g"),
        alt.Tooltip("accuracy:Q", title="accuracy, %", format=".1f"),
    ]
    layers = [
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="linear")
        .encode(x=x, y=y, color=colour, tooltip=[*tooltip, alt.Tooltip("curve:N")])
    ]
    layers += _points(singles, x, y, tooltip, colour=SINGLE, shape="circle", size=60)
    if current:
        layers += _points([current], x, y, tooltip, colour=CURRENT, shape="diamond", size=200)
    return alt.layer(*layers).properties(height=height, width=width)


def _points(
    rows: Sequence[Mapping[str, Any]],
    x: alt.X,
    y: alt.Y,
    tooltip: list[alt.Tooltip],
    *,
    colour: str,
    shape: str,
    size: int,
) -> list[alt.Chart]:
    chart = alt.Chart(alt.Data(values=list(rows)))
    dots = chart.mark_point(filled=True, color=colour, shape=shape, size=size, opacity=1).encode(
        x=x, y=y, tooltip=[alt.Tooltip("name:N"), *tooltip]
    )
    names = chart.mark_text(align="left", dx=8, dy=-6, fontSize=10, color=colour).encode(
        x=x, y=y, text="name:N"
    )
    return [dots, names]
