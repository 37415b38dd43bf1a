"""What a profile rests on: a state and a sample size for every class and strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pyarrow as pa

from app.charts.names import labels_expression

CELL = "cell"
"""The selection of a chart: class and strategy of the cell that was clicked."""

_NUMBERS_FIT = 8
"""Classes beside which a sample size can be read; with more there is the sign alone."""
_NAMES_FIT = 6
"""Classes whose names can be read from left to right."""
_LABEL = 210
_DARK, _LIGHT = "#1a1a1a", "#ffffff"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a state looks: never by colour alone."""

    sign: str
    fill: str
    ink: str


KINDS = {
    "measured": Kind("●", "#0072B2", _LIGHT),
    "derived": Kind("◆", "#56B4E9", _DARK),
    "published": Kind("■", "#009E73", _DARK),
    "published, no sample size": Kind("□", "#F0E442", _DARK),
    "simulated": Kind("▲", "#CC79A7", _DARK),
    "stale": Kind("!", "#D55E00", _DARK),
    "missing": Kind("✕", "#B0B0B0", _DARK),
}
"""By what is said of a cell; fills are Okabe and Ito's, which show on light and on dark."""


def kind_of(row: Mapping[str, Any]) -> str:
    """What is said of a row of `profiles.cells.coverage`: its state, and whether a size is known.

    Only what was published can lack its size.
    """
    state = str(row["state"])
    return "published, no sample size" if row["queries"] is None and state != "stale" else state


def coverage_heatmap(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str], strategies: Sequence[str]
) -> alt.LayerChart:
    """Classes across, strategies down; a click selects a cell.

    The signs are explained beside the picture, where a narrow screen can break the line.

    Args:
        rows: Of `profiles.cells.coverage.coverage_rows`.
        classes: Order of the columns, easiest first.
        strategies: Order of the rows.
    """
    with_numbers = len(classes) <= _NUMBERS_FIT
    drawn = [_drawn(row, with_numbers=with_numbers) for row in rows]
    present = [name for name in KINDS if any(row["kind"] == _legend(name) for row in drawn)]
    base = alt.Chart(pa.Table.from_pylist(drawn)).encode(
        x=_classes_axis(classes),
        y=alt.Y(
            "strategy:N",
            title=None,
            sort=list(strategies),
            axis=alt.Axis(
                labelLimit=_LABEL, labelOverlap=False, labelExpr=labels_expression(strategies)
            ),
        ),
        tooltip=[
            alt.Tooltip("strategy:N"),
            alt.Tooltip("class:N"),
            alt.Tooltip("kind:N", title="state"),
            alt.Tooltip("size:N", title="queries"),
            alt.Tooltip("evidence:N"),
            alt.Tooltip("until:N", title="newest row"),
        ],
    )
    cells = (
        base.mark_rect(stroke="#808080", strokeWidth=0.5, cursor="pointer")
        .encode(
            color=alt.Color(
                "kind:N",
                title=None,
                scale=alt.Scale(
                    domain=[_legend(name) for name in present],
                    range=[KINDS[name].fill for name in present],
                ),
                legend=None,
            )
        )
        .add_params(alt.selection_point(name=CELL, fields=["class", "strategy"], toggle=False))
    )
    signs = base.mark_text(fontSize=11).encode(
        text="sign:N", color=alt.Color("ink:N", scale=None, legend=None)
    )
    return alt.layer(cells, signs).properties(height=_height(len(strategies)))


def models_heatmap(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> alt.LayerChart:
    """Classes across, models down: how many of their strategies are known.

    Args:
        rows: Of `profiles.cells.coverage.coverage_by_model`.
        classes: Order of the columns, easiest first.
    """
    models = list(dict.fromkeys(row["models"] for row in rows))
    drawn = [
        {
            **row,
            "share": row["known"] / row["strategies"],
            "of": f"{row['known']}/{row['strategies']}",
        }
        for row in rows
    ]
    base = alt.Chart(pa.Table.from_pylist(drawn)).encode(
        x=_classes_axis(classes),
        y=alt.Y(
            "models:N",
            title=None,
            sort=models,
            axis=alt.Axis(labelLimit=_LABEL, labelOverlap=False),
        ),
        tooltip=[
            alt.Tooltip("models:N"),
            alt.Tooltip("class:N"),
            alt.Tooltip("known:Q", title="strategies known"),
            alt.Tooltip("strategies:Q", title="of"),
        ],
    )
    cells = base.mark_rect(stroke="#808080", strokeWidth=0.5).encode(
        color=alt.Color(
            "share:Q",
            title="known",
            scale=alt.Scale(domain=[0, 1], scheme="blues"),
            legend=alt.Legend(format="%", orient="bottom"),
        )
    )
    layers = [cells]
    if len(classes) <= _NUMBERS_FIT:
        counts = base.mark_text(fontSize=11).encode(
            text="of:N",
            color=alt.condition("datum.share > 0.5", alt.value(_LIGHT), alt.value(_DARK)),
        )
        layers.append(counts)
    return alt.layer(*layers).properties(height=_height(len(models)))


def _drawn(row: Mapping[str, Any], *, with_numbers: bool) -> dict[str, Any]:
    name = kind_of(row)
    kind = KINDS[name]
    has_size = with_numbers and row["queries"]
    return {
        "class": row["class"],
        "strategy": row["strategy"],
        "kind": _legend(name),
        "sign": f"{kind.sign} {row['queries']:,}" if has_size else kind.sign,
        "ink": kind.ink,
        "size": "unknown" if row["queries"] is None else f"{row['queries']:,}",
        "evidence": ", ".join(row["evidence"]) or "none",
        "until": (row["observed_until"] or "no row says when")[:16],
    }


def _legend(name: str) -> str:
    return f"{KINDS[name].sign} {name}"


def _classes_axis(classes: Sequence[str]) -> alt.X:
    angle = 0 if len(classes) <= _NAMES_FIT else -60
    axis = alt.Axis(labelAngle=angle, labelLimit=120, orient="top", labelOverlap=False)
    return alt.X("class:N", title="class, easiest first", sort=list(classes), axis=axis)


def _height(rows: int) -> int:
    return 80 + 26 * rows
