"""What accuracy costs: the frontier, the same in the app, in files and in documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt

from app.charts.names import short_names
from app.charts.palette import CURRENT, EXPECTED, NAIVE, PROMISED, SINGLE, USD_PER_1000
from profiles.visible import escaped

ADOPTED = "adopted"
"""The chart's selection: `point` is the index of the frontier's point that was clicked."""

_CURVES = {
    "expected": (EXPECTED, [1, 0]),
    "promised": (PROMISED, [6, 3]),
    "naive, without margins": (NAIVE, [2, 3]),
}
_KINDS = {
    "one strategy for all": "circle",
    "one strategy per class": "square",
    "a class is shared": "triangle-up",
}
_Axes = dict[str, Any]
"""`x` and `y` of every layer."""

_LEGEND = alt.Legend(orient="bottom", title=None, columns=1)
_WIDE = 30
"""Most over least cost from which an axis of ratios reads better."""
_NAMED = 36
"""Characters of a strategy beside its mark; hovering tells all."""


def kind_of(allocation: Mapping[str, Mapping[str, float]]) -> str:
    """How a plan mixes strategies, in the legend's words."""
    if any(len(shares) > 1 for shares in allocation.values()):
        return "a class is shared"
    used = {text for shares in allocation.values() for text in shares}
    return "one strategy for all" if len(used) == 1 else "one strategy per class"


def frontier_chart(
    points: Sequence[Mapping[str, Any]],
    singles: Sequence[Mapping[str, Any]] = (),
    current: Mapping[str, Any] | None = None,
    naive: Sequence[Mapping[str, Any]] = (),
    *,
    width: int | Literal["container"] = "container",
    height: int = 380,
) -> alt.LayerChart:
    """Accuracy against spend: the frontier's points and curves, single strategies, the plan.

    A click on a point of the frontier selects it, see `ADOPTED`.

    Args:
        points: Rows as `planner.frontiers.frontier.FrontierPoint` has them, by rising dollars.
        singles: Rows with `name`, `usd_per_request`, `accuracy`, and where something is promised
            `promised_usd_per_request` and `promised_accuracy`; `best` for those to be named.
        current: One such row, drawn on top.
        naive: Rows as `points`, of the frontier on point estimates.
        width: Pixels, or as wide as the page.
        height: Pixels.
    """
    lines = [
        *_line(points, "expected", "usd_per_request", "accuracy"),
        *_line(points, "promised", "promised_usd_per_request", "promised_accuracy"),
        *_line(naive, "naive, without margins", "usd_per_request", "accuracy"),
    ]
    axes = _axes([*lines, *map(_figures, singles)])
    layers = [_curves(lines, axes), _knots(points, axes)]
    if singles:
        layers += _alone(singles, axes)
    if current:
        layers += [_marks([current], axes, CURRENT, "diamond", 220)]
        layers += [_names([{**_figures(current), "name": current["name"]}], axes, CURRENT)]
    return (
        alt.layer(*layers).resolve_scale(shape="independent").properties(height=height, width=width)
    )


def _line(
    rows: Sequence[Mapping[str, Any]], curve: str, usd: str, accuracy: str
) -> list[dict[str, Any]]:
    return [
        {"cost": 1000 * row[usd], "accuracy": 100 * row[accuracy], "curve": curve} for row in rows
    ]


def _axes(rows: Sequence[Mapping[str, Any]]) -> _Axes:
    costs = [row["cost"] for row in rows]
    least, most = min(costs, default=0.0), max(costs, default=0.0)
    ratios = least > 0 and most > _WIDE * least
    scale = alt.Scale(type="log", nice=False) if ratios else alt.Scale(zero=False)
    x = alt.X("cost:Q", title=USD_PER_1000, scale=scale, axis=alt.Axis(tickCount=6, format="~g"))
    y = alt.Y("accuracy:Q", title="accuracy, %", scale=alt.Scale(zero=False))
    return {"x": x, "y": y}


_FIGURES = [
    alt.Tooltip("cost:Q", title=USD_PER_1000, format=".4g"),
    alt.Tooltip("accuracy:Q", title="accuracy, %", format=".1f"),
]
_PROMISES = [
    alt.Tooltip("promised_cost:Q", title="promised: at most, USD", format=".4g"),
    alt.Tooltip("promised:Q", title="promised: at least, %", format=".1f"),
]


def _curves(rows: list[dict[str, Any]], axes: _Axes) -> alt.Chart:
    shown = [name for name in _CURVES if any(row["curve"] == name for row in rows)]
    colours, dashes = ([_CURVES[name][part] for name in shown] for part in (0, 1))
    legend = _LEGEND
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="linear", strokeWidth=2)
        .encode(
            **axes,
            color=alt.Color("curve:N", scale=alt.Scale(domain=shown, range=colours), legend=legend),
            strokeDash=alt.StrokeDash(
                "curve:N", scale=alt.Scale(domain=shown, range=dashes), legend=legend
            ),
            tooltip=[alt.Tooltip("curve:N"), *_FIGURES],
        )
    )


def _knots(points: Sequence[Mapping[str, Any]], axes: _Axes) -> alt.Chart:
    """Points of the frontier, shaped by how they mix strategies; a click adopts one."""
    rows = [
        {
            **_figures(point),
            "point": number,
            "kind": kind_of(point["allocation"]),
            "further": point["accuracy_per_usd"],
        }
        for number, point in enumerate(points)
    ]
    shown = [kind for kind in _KINDS if any(row["kind"] == kind for row in rows)]
    shape = alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=shown, range=[_KINDS[kind] for kind in shown]),
        legend=_LEGEND,
    )
    clicked = alt.selection_point(name=ADOPTED, fields=["point"], on="click", empty=True)
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=90, color=EXPECTED, opacity=1, cursor="pointer")
        .encode(
            **axes,
            shape=shape,
            tooltip=[
                alt.Tooltip("kind:N", title="click to adopt"),
                *_FIGURES,
                *_PROMISES,
                alt.Tooltip("further:Q", title="correct answers per further USD", format=",.3~g"),
            ],
        )
        .add_params(clicked)
    )


def _alone(singles: Sequence[Mapping[str, Any]], axes: _Axes) -> list[alt.Chart]:
    """One strategy for everything: expected filled, promised hollow and joined to it."""
    short = short_names(row["name"] for row in singles)
    rows = [
        {**_figures(row), "name": _cut(short[row["name"]]), "all": row["name"]} for row in singles
    ]
    certain = [row for row in rows if "promised" in row]
    joined = (
        alt.Chart(alt.Data(values=certain))
        .mark_rule(color=SINGLE, opacity=0.5)
        .encode(**axes, x2="promised_cost:Q", y2="promised:Q")
    )
    promised = (
        alt.Chart(alt.Data(values=certain))
        .mark_point(filled=False, color=SINGLE, size=40, shape="circle")
        .encode(
            x=alt.X("promised_cost:Q", title=USD_PER_1000),
            y=alt.Y("promised:Q", title="accuracy, %"),
            tooltip=[alt.Tooltip("all:N", title="one strategy, promised"), *_PROMISES],
        )
    )
    named = [row for row, single in zip(rows, singles, strict=True) if single.get("best")]
    return [
        joined,
        promised,
        _marks(singles, axes, SINGLE, "circle", 50),
        _names(named, axes, SINGLE),
    ]


def _marks(
    singles: Sequence[Mapping[str, Any]], axes: _Axes, colour: str, shape: str, size: int
) -> alt.Chart:
    rows = [{**_figures(row), "name": escaped(row["name"])} for row in singles]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, color=colour, shape=shape, size=size, opacity=1)
        .encode(**axes, tooltip=[alt.Tooltip("name:N"), *_FIGURES, *_PROMISES])
    )


def _names(rows: Sequence[Mapping[str, Any]], axes: _Axes, colour: str) -> alt.Chart:
    chart = alt.Chart(alt.Data(values=list(rows)))
    return chart.mark_text(align="left", dx=8, dy=10, fontSize=11, color=colour).encode(
        **axes, text="name:N"
    )


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {"cost": 1000 * row["usd_per_request"], "accuracy": 100 * row["accuracy"]}
    if "promised_accuracy" in row:
        found["promised_cost"] = 1000 * row["promised_usd_per_request"]
        found["promised"] = 100 * row["promised_accuracy"]
    return found


def _cut(text: str) -> str:
    text = escaped(text)
    return text if len(text) <= _NAMED else f"{text[: _NAMED - 1]}…"
