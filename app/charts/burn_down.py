"""What is left of a budget against time: as it was read, at an even pace, and as it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

from app.charts.palette import CURRENT, EXPECTED, PROMISED, SINGLE
from app.cli.ledger.standings import moment

LEFT, HELD = "left", "held"
EVEN, SO_FAR = "even pace", "pace so far"
_COLOURS = {LEFT: EXPECTED, HELD: PROMISED, EVEN: SINGLE, SO_FAR: CURRENT}
_DASHES = {EVEN: [8, 4], SO_FAR: [2, 3]}
Row = dict[str, float | str]


def burn_down_chart(
    points: Sequence[Mapping[str, float]],
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    unit: str,
    window: tuple[float, float] | None,
    runs_out: tuple[float, str] | None = None,
) -> alt.LayerChart:
    """What is left falls from the limit to nothing.

    Args:
        points: What was read, in time: `at_s` in Unix seconds, `free` and `left`; the latter has
            what is held, too.
        lines: `EVEN` and `SO_FAR`, where they are known: the ends of a straight line as Unix
            seconds and amount.
        unit: Of the amounts.
        window: Its beginning and end, Unix seconds; None for one without.
        runs_out: When, Unix seconds, and in words; None where it does not.
    """
    rows = [_row(point["at_s"], point["left"], free=point["free"]) for point in points]
    shown = [name for name in _COLOURS if name in lines or (rows and name in {LEFT, HELD})]
    colours = alt.Scale(domain=shown, range=[_COLOURS[name] for name in shown])
    legend = alt.Legend(
        orient="bottom", columns=2, symbolType="stroke", symbolStrokeWidth=4, symbolOpacity=1
    )
    axes = {
        "x": _time([point["at_s"] for point in points], window),
        "y": alt.Y("amount:Q", title=f"left, {unit}", axis=alt.Axis(format=",.9~f")),
        "color": alt.Color("line:N", title=None, scale=colours, legend=legend),
    }
    layers = [_line(name, ends, axes) for name, ends in lines.items()]
    layers += _read(rows, axes) if rows else []
    if runs_out is not None:
        layers += _end(runs_out, axes, window)
    return alt.layer(*layers).properties(height=360, width="container")


def _time(read_s: Sequence[float], window: tuple[float, float] | None) -> alt.X:
    read = (read_s[0], read_s[-1]) if read_s else (0.0, 0.0)
    begin_s, end_s = window or read
    form = next((form for most_s, form in _CLOCKS if end_s - begin_s <= most_s), "%d %b")
    scale = alt.Scale(type="utc")
    if window is not None:
        scale = alt.Scale(type="utc", domain=[moment(begin_s), moment(end_s)])
    axis = alt.Axis(format=form, labelOverlap=True)
    return alt.X("at:T", title="time (UTC)", scale=scale, axis=axis)


_CLOCKS = ((600, "%H:%M:%S"), (2 * 86_400, "%H:%M"))
"""How the axis names times, by the longest span in seconds."""


def _row(at_s: float, amount: float, **more: float | str) -> Row:
    return {"at": 1000 * at_s, "when": moment(at_s), "amount": amount, **more}


def _line(
    name: str, ends: Sequence[tuple[float, float]], axes: Mapping[str, alt.SchemaBase]
) -> alt.Chart:
    rows = [_row(at_s, amount, line=name) for at_s, amount in ends]
    mark = alt.Chart(alt.Data(values=rows)).mark_line(strokeDash=_DASHES[name], strokeWidth=2)
    return mark.encode(**axes, tooltip=[alt.Tooltip("line:N"), _WHEN, _AMOUNT])


def _read(rows: list[Row], axes: Mapping[str, alt.SchemaBase]) -> list[alt.Chart]:
    """What is held as an area, and as a bar where it stands now; what is left as points."""
    held = alt.Data(values=[{**row, "line": HELD} for row in rows])
    now = alt.Data(values=[{**rows[-1], "line": HELD}])
    left = alt.Data(values=[{**row, "line": LEFT} for row in rows])
    tooltip = [
        _WHEN,
        alt.Tooltip("amount:Q", title="left, with what is held", format=",.9~f"),
        alt.Tooltip("free:Q", title="left and free", format=",.9~f"),
    ]
    drawn = [
        alt.Chart(held).mark_area(opacity=0.35).encode(**axes, y2="free:Q", tooltip=tooltip),
        alt.Chart(now).mark_rule(strokeWidth=7).encode(**axes, y2="free:Q", tooltip=tooltip),
        alt.Chart(left)
        .mark_line(point={"size": 40, "filled": True})
        .encode(**axes, tooltip=tooltip),
    ]
    if rows[-1]["amount"] != rows[-1]["free"]:
        below = alt.Data(values=[{**rows[-1], "line": HELD, "amount": rows[-1]["free"]}])
        word = alt.Chart(below).mark_text(align="right", dx=-8, text=HELD, fontWeight="bold")
        drawn.append(word.encode(**axes))
    return drawn


def _end(
    runs_out: tuple[float, str],
    axes: Mapping[str, alt.SchemaBase],
    window: tuple[float, float] | None,
) -> list[alt.Chart]:
    """A diamond where nothing is left, and above it in words when that is."""
    at_s, words = runs_out
    chart = alt.Chart(alt.Data(values=[_row(at_s, 0, words=words)]))
    is_late = window is not None and at_s > sum(window) / 2
    side = {"align": "right", "dx": -6} if is_late else {"align": "left", "dx": 6}
    mark = chart.mark_point(shape="diamond", filled=True, size=160, color=CURRENT, opacity=1)
    rule = chart.mark_rule(color=CURRENT, strokeDash=[1, 3])
    text = chart.mark_text(**side, color=CURRENT, fontWeight="bold")
    return [
        rule.encode(x=axes["x"]),
        mark.encode(x=axes["x"], y=axes["y"], tooltip=[_WHEN]),
        text.encode(x=axes["x"], y=alt.value(8), text="words:N"),
    ]


_WHEN = alt.Tooltip("when:N", title="at (UTC)")
_AMOUNT = alt.Tooltip("amount:Q", title="left", format=",.9~f")
