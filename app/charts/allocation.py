"""Who answers what: the share of every class that each strategy gets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pyarrow as pa

from app.charts.names import labels_expression
from app.charts.palette import USD_PER_1000
from app.charts.sankey import GREY, sankey

MOST_STRATEGIES = 20
"""Rows of the heatmap; strategies with less traffic are drawn as one."""
MOST_ENDS = 12
"""Classes, and strategies, of the flow; those with less traffic are drawn as one."""
_MOST_NUMBERED = 12
"""Classes whose shares are written into their cells; more would overlap on a phone."""

Shares = Mapping[str, Mapping[str, float]]
"""Share of a class's requests, 0..1, by class and strategy."""


def traffic_of(shares: Shares, weights: Mapping[str, float]) -> dict[str, float]:
    """Share of all requests by strategy, the largest first.

    Args:
        shares: Of classes.
        weights: Share of all requests by class.
    """
    traffic: dict[str, float] = defaultdict(float)
    for name, by_strategy in shares.items():
        for text, share in by_strategy.items():
            traffic[text] += weights[name] * share
    return dict(sorted(traffic.items(), key=lambda item: (-item[1], item[0])))


def grouped(names: Sequence[str], most: int, what: str) -> dict[str, str]:
    """Under which name each of them is drawn: the first ones alone, all others as one.

    Args:
        names: Those with most traffic first.
        most: Names that are drawn.
        what: Plural, of what the others are.
    """
    alone = names if len(names) <= most else names[: most - 1]
    rest = f"{len(names) - len(alone)} other {what}"
    return {name: name if place < len(alone) else rest for place, name in enumerate(names)}


def allocation_heatmap(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> alt.LayerChart:
    """Who answers what: share of each class per strategy.

    Args:
        rows: `class`, `strategy`, `share` in 0..1, and measured `accuracy`, `cost`, `queries`;
            strategies in the order of the rows.
        classes: Order of the columns, easiest first.
    """
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    few = len(classes) <= _MOST_NUMBERED
    base = alt.Chart(pa.Table.from_pylist([dict(row) for row in rows])).encode(
        x=alt.X(
            "class:N",
            title="class, easiest first",
            sort=list(classes),
            axis=alt.Axis(labelAngle=0 if few else -90, labelLimit=120),
        ),
        y=alt.Y(
            "strategy:N",
            title=None,
            sort=strategies,
            axis=alt.Axis(
                labelLimit=300, labelOverlap=False, labelExpr=labels_expression(strategies)
            ),
        ),
    )
    cells = base.mark_rect(stroke=GREY, strokeOpacity=0.3).encode(
        color=alt.Color(
            "share:Q",
            title="share of the class",
            scale=alt.Scale(domain=[0, 1], scheme="blues"),
            legend=alt.Legend(format="%", orient="bottom"),
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
    layers = [cells]
    if few:
        layers.append(
            base.transform_filter("datum.share > 0")
            .mark_text(fontSize=11)
            .encode(
                text=alt.Text("share:Q", format=".0%"),
                color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("black")),
            )
        )
    return alt.layer(*layers).properties(height=150 + 28 * len(strategies))


def allocation_flow(
    shares: Shares, weights: Mapping[str, float], colours: Mapping[str, str], ink: str
) -> dict[str, Any]:
    """An ECharts option: classes on the left, strategies on the right, bands of traffic between.

    Args:
        shares: Of classes.
        weights: Share of all requests by class.
        colours: By strategy.
        ink: Colour of the words.
    """
    strategies = grouped(list(traffic_of(shares, weights)), MOST_ENDS, "strategies")
    by_weight = sorted(shares, key=lambda name: -weights[name])
    classes = grouped(by_weight, MOST_ENDS, "classes")
    bands: dict[tuple[str, str], float] = defaultdict(float)
    for name, by_strategy in shares.items():
        for text, share in by_strategy.items():
            if weights[name] * share > 0:
                bands[classes[name], strategies[text]] += weights[name] * share
    left = dict.fromkeys((classes[name] for name in shares), GREY)
    right = {name: colours.get(name, GREY) for name in strategies.values()}
    return sankey(bands, left, right, ink=ink)
