"""What a plan depends on: tornado, how far numbers may move, and who nearly enters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app.charts.palette import CURRENT, EXPECTED, PROMISED

_BAND = 44
"""Pixels of a bar with its name above it, which leaves phones the whole width."""

_INK = "#7a7a7a"
"""For marks beside bars: legible on light and dark."""

ANOTHER, NONE = "another plan", "no plan"
"""What lies beyond a flip."""

_FLIPS = {ANOTHER: ("diamond", CURRENT), NONE: ("cross", _INK)}


def tornado_chart(
    rows: Sequence[Mapping[str, Any]], now: float, unit: str, swing: float
) -> alt.LayerChart:
    """What the objective becomes when one number changes, the number that matters most on top.

    Args:
        rows: One per number and side: `number`, `less` (whether the side is the smaller value),
            `now` and `value` of the objective (the latter None where no plan keeps the limits),
            `change`, `effect` and `edge` in words.
        now: The objective as it is.
        unit: Of it.
        swing: Relative change of each number.
    """
    less, more = f"{100 * swing:g} % less", f"{100 * swing:g} % more"
    drawn = [
        {**row, "side": less if row["less"] else more, "sign": "-" if row["less"] else "+"}
        for row in rows
        if row["value"] is not None
    ]
    base = alt.Chart(alt.Data(values=drawn)).encode(y=_names(rows))
    x = alt.X("value:Q", title=unit, scale=alt.Scale(zero=False, padding=14))
    bars = base.mark_bar(size=14, yOffset=8).encode(
        x=x,
        x2="now:Q",
        color=alt.Color(
            "side:N",
            title=None,
            scale=alt.Scale(domain=[less, more], range=[EXPECTED, PROMISED]),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            alt.Tooltip("number:N"),
            alt.Tooltip("change:N"),
            alt.Tooltip("effect:N"),
            alt.Tooltip("value:Q", title=unit, format=".4g"),
            alt.Tooltip("edge:N", title="flips the plan at"),
        ],
    )
    signs = [
        base.transform_filter(where)
        .mark_text(align=align, dx=dx, yOffset=8, fontSize=14, fontWeight="bold", color=_INK)
        .encode(x=x, text="sign:N")
        for where, align, dx in (
            ("datum.value > datum.now", "left", 3),
            ("datum.value < datum.now", "right", -3),
        )
    ]
    drawn_to = {row["number"]: row["value"] for row in drawn}
    absent = [
        {"number": row["number"], "now": now, "text": f"{NONE} at {row['change']}"}
        | {"opposite": "left" if drawn_to.get(row["number"], now) > now else "right"}
        for row in rows
        if row["value"] is None
    ]
    missing = [
        alt.Chart(alt.Data(values=absent))
        .transform_filter(f"datum.opposite == '{side}'")
        .mark_text(align=align, dx=dx, yOffset=8, fontSize=12, color=_INK)
        .encode(y=_names(rows), x="now:Q", text="text:N")
        for side, align, dx in (("left", "right", -4), ("right", "left", 4))
    ]
    line = alt.Chart(alt.Data(values=[{"now": now}])).mark_rule(color=_INK, strokeDash=[4, 3])
    return alt.layer(bars, *signs, *missing, line.encode(x="now:Q")).properties(
        height=_height(rows)
    )


def reach_chart(rows: Sequence[Mapping[str, Any]], swing: float) -> alt.LayerChart:
    """How far each number may move, alone, before other strategies answer.

    Args:
        rows: One per number: `number`, `low` and `high` ends in per cent within which the plan is
            the same, and `flips`, a list of rows `at` (per cent), `beyond` (`ANOTHER` or `NONE`)
            and `words`.
        swing: Relative change up to which was tried.
    """
    far = 100 * swing
    x = alt.Scale(domain=[-far, far], nice=False, padding=10)
    title = "change of the number alone, %"
    bars = (
        alt.Chart(alt.Data(values=[{k: v for k, v in row.items() if k != "flips"} for row in rows]))
        .mark_bar(size=14, yOffset=8, color=EXPECTED)
        .encode(
            y=_names(rows),
            x=alt.X("low:Q", title=title, scale=x),
            x2="high:Q",
            tooltip=[
                alt.Tooltip("number:N"),
                alt.Tooltip("low:Q", title="same plan from, %", format="+.3g"),
                alt.Tooltip("high:Q", title="to, %", format="+.3g"),
            ],
        )
    )
    flips = [{"number": row["number"], **flip} for row in rows for flip in row["flips"]]
    kinds = list(_FLIPS)
    scales = {
        "shape": alt.Scale(domain=kinds, range=[shape for shape, _ in _FLIPS.values()]),
        "color": alt.Scale(domain=kinds, range=[colour for _, colour in _FLIPS.values()]),
    }
    legend = alt.Legend(orient="top")
    marks = (
        alt.Chart(alt.Data(values=flips))
        .mark_point(filled=True, size=110, opacity=1, yOffset=8)
        .encode(
            y=_names(rows),
            x=alt.X("at:Q", title=title, scale=x),
            shape=alt.Shape("beyond:N", title="beyond it", scale=scales["shape"], legend=legend),
            color=alt.Color("beyond:N", title="beyond it", scale=scales["color"], legend=legend),
            tooltip=[alt.Tooltip("number:N"), alt.Tooltip("words:N", title="flip")],
        )
    )
    line = alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(color=_INK, strokeDash=[4, 3])
    return alt.layer(bars, line.encode(x=alt.X("at:Q", title=title)), marks).properties(
        height=_height(rows, legend=54)
    )


def entering_chart(rows: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> alt.Chart:
    """How much cheaper unused strategies must become to be used, the nearest on top.

    Args:
        rows: `number` (the strategy), `cheaper` in per cent.
        colours: Of every strategy (`app.charts.palette.strategy_colours`).
    """
    return (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_bar(size=14, yOffset=8)
        .encode(
            y=_names(rows),
            x=alt.X(
                "cheaper:Q", title="enters when cheaper by, %", scale=alt.Scale(domain=[0, 100])
            ),
            color=alt.Color(
                "number:N",
                legend=None,
                scale=alt.Scale(
                    domain=[row["number"] for row in rows],
                    range=[colours[row["number"]] for row in rows],
                ),
            ),
            tooltip=[
                alt.Tooltip("number:N", title="strategy"),
                alt.Tooltip("cheaper:Q", title="cheaper by, %", format=".3g"),
            ],
        )
        .properties(height=_height(rows))
    )


def _names(rows: Sequence[Mapping[str, Any]]) -> alt.Y:
    """Names stand above their bars, in the order of the rows."""
    return alt.Y(
        "number:N",
        title=None,
        sort=list(dict.fromkeys(row["number"] for row in rows)),
        axis=alt.Axis(
            labelAlign="left",
            labelPadding=-4,
            labelOffset=-10,
            labelLimit=600,
            labelOverlap=False,
            ticks=False,
            domain=False,
            zindex=1,
        ),
    )


def _height(rows: Sequence[Mapping[str, Any]], legend: int = 0) -> int:
    return 66 + legend + _BAND * len({row["number"] for row in rows})
