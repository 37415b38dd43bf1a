"""What more compute does: accuracy over compute of one family, with what pays and what harms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt
import numpy as np

from profiles.scaling.shape import Shape

_CURVE_POINTS = 40
_GREY = "#808080"
_LOSS = "#D55E00"
_LOG = alt.Scale(type="log", nice=False, padding=14)
NO_GAIN, LOSS = "no gain", "loses accuracy"


def regions(shape: Shape) -> Iterator[dict[str, Any]]:
    """Where more compute gains nothing, and where it does harm: `from`, `to` and `what`.

    Nothing is gained after the knee. A loss lies between a level that is worse beyond noise and the
    nearest level before it that is better; such stretches are joined where they overlap.
    """
    knee = shape.knee
    last = shape.levels[-1].compute if shape.levels else 0.0
    if knee and knee.compute is not None and knee.compute < last:
        yield {"from": knee.compute, "to": last, "what": NO_GAIN}
    for start, end in _joined(shape):
        yield {"from": start, "to": end, "what": LOSS}


def curve_chart(shape: Shape, colours: Mapping[str, str], unit: str) -> alt.LayerChart:
    """Measured levels with 95 % intervals, the fitted curve with its band, and the regions.

    Args:
        shape: With at least one level.
        colours: By strategy.
        unit: What compute is counted in, for people.
    """
    amounts = sorted({level.compute for level in shape.levels})
    axis = alt.Axis(values=amounts, format=".3~r", labelOverlap=True, grid=False)
    x = alt.X("compute:Q", title=unit, scale=_LOG, axis=axis)
    layers: list[alt.Chart] = [*_shaded(shape, unit), *_fitted(shape, x)]
    worse = {one.after for one in shape.downturns}
    levels = [
        {
            "compute": level.compute,
            "accuracy": 100 * level.accuracy,
            "low": 100 * level.accuracy_interval[0],
            "high": 100 * level.accuracy_interval[1],
            "strategy": level.strategy,
            "queries": "unknown" if level.queries is None else f"{level.queries:,}",
            "what": LOSS if level.strategy in worse else "measured",
        }
        for level in shape.levels
    ]
    used = [level.strategy for level in shape.levels]
    base = alt.Chart(alt.Data(values=levels))
    colour = alt.Color(
        "strategy:N",
        scale=alt.Scale(domain=used, range=[colours.get(text, _GREY) for text in used]),
        legend=None,
    )
    layers.append(
        base.mark_rule(strokeWidth=2).encode(x=x, y=_percent("low"), y2="high:Q", color=colour)
    )
    layers.append(
        base.mark_point(filled=True, size=90, opacity=1).encode(
            x=x,
            y=_percent("accuracy"),
            color=colour,
            shape=alt.Shape(
                "what:N",
                title=None,
                scale=alt.Scale(domain=["measured", LOSS], range=["circle", "triangle-down"]),
                legend=alt.Legend(orient="top", symbolFillColor=_GREY, symbolStrokeColor=_GREY)
                if worse
                else None,
            ),
            tooltip=[
                alt.Tooltip("strategy:N"),
                alt.Tooltip("compute:Q", title=unit, format=".4g"),
                alt.Tooltip("accuracy:Q", title="accuracy, %", format=".1f"),
                alt.Tooltip("low:Q", title="95 % interval from", format=".1f"),
                alt.Tooltip("high:Q", title="to", format=".1f"),
                alt.Tooltip("queries:N"),
            ],
        )
    )
    return alt.layer(*layers).resolve_scale(color="independent").properties(height=260)


def _percent(field: str) -> alt.Y:
    """The same title in all layers: they would be joined."""
    return alt.Y(f"{field}:Q", title="accuracy, %", scale=alt.Scale(zero=False))


def _joined(shape: Shape) -> Iterator[tuple[float, float]]:
    compute = {level.strategy: level.compute for level in shape.levels}
    nearest: dict[float, float] = {}
    for one in shape.downturns:
        before, after = compute[one.before], compute[one.after]
        nearest[after] = max(before, nearest.get(after, before))
    found: list[tuple[float, float]] = []
    for start, end in sorted((start, end) for end, start in nearest.items()):
        if found and start < found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    yield from found


def _shaded(shape: Shape, unit: str) -> Iterator[alt.Chart]:
    """Regions behind everything else, each with its name."""
    rows = list(regions(shape))
    if not rows:
        return
    base = alt.Chart(alt.Data(values=rows))
    stretch = {"x": alt.X("from:Q", title=unit, scale=_LOG), "x2": alt.X2("to:Q")}
    yield base.mark_rect(opacity=0.18, strokeDash=[4, 3], stroke=_GREY).encode(
        **stretch,
        color=alt.Color(
            "what:N",
            scale=alt.Scale(domain=[NO_GAIN, LOSS], range=[_GREY, _LOSS]),
            legend=None,
        ),
    )
    yield base.mark_text(align="left", dx=8, fontSize=11, color=_GREY).encode(
        x=stretch["x"], y=alt.value(10), text="what:N"
    )


def _fitted(shape: Shape, x: alt.X) -> Iterator[alt.Chart]:
    """The curve between the levels and its 95 % band; nothing where none was fitted."""
    if shape.curve is None:
        return
    first, last = shape.levels[0].compute, shape.levels[-1].compute
    amounts = np.geomspace(first, last, _CURVE_POINTS)
    amounts[0], amounts[-1] = first, last  # rounding would lie outside
    rows = []
    for amount in amounts.tolist():
        at = shape.at(amount)
        rows.append(
            {
                "compute": amount,
                "accuracy": 100 * at.accuracy,
                "low": 100 * at.low,
                "high": 100 * at.high,
            }
        )
    base = alt.Chart(alt.Data(values=rows))
    yield base.mark_area(opacity=0.2, color=_GREY).encode(x=x, y=_percent("low"), y2="high:Q")
    yield base.mark_line(color=_GREY, strokeWidth=2).encode(x=x, y=_percent("accuracy"))
