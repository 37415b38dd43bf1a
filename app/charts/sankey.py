"""Bands of traffic between two columns of ends, as an ECharts option."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from app.charts.names import short_names
from policies.figures_in_words import per_cent
from profiles.visible import quoted

GREY = "#8a8f98"
Pair = tuple[str, str]


def sankey(
    bands: Mapping[Pair, float],
    left: Mapping[str, str],
    right: Mapping[str, str],
    *,
    ink: str,
    quiet: Collection[Pair] = (),
) -> dict[str, Any]:
    """An ECharts option; every end stands with its share, so that nothing is said by colour alone.

    Args:
        bands: Share of requests, 0..1, by left and right end.
        left: Colour of every end on the left, in the order in which they stand.
        right: The same on the right; bands have the colour of the end that they lead to.
        ink: Colour of the words.
        quiet: Bands that are grey and faint.
    """
    sides = tuple(_labels(bands, side, ends) for side, ends in enumerate((left, right)))
    nodes = [
        {
            "name": label,
            "depth": depth,
            "itemStyle": {"color": (left, right)[depth][name]},
            "label": {"position": ("right", "left")[depth]},
        }
        for depth, labels in enumerate(sides)
        for name, label in labels.items()
    ]
    links = [
        {
            "source": sides[0][pair[0]],
            "target": sides[1][pair[1]],
            "value": share,
            "lineStyle": {"color": GREY, "opacity": 0.2}
            if pair in quiet
            else {"color": right[pair[1]], "opacity": 0.5},
        }
        for pair, share in bands.items()
    ]
    return {
        # Not as HTML: names were written by others.
        "tooltip": {
            "trigger": "item",
            "renderMode": "richText",
            "confine": True,
            "valueFormatter": "percent",
        },
        "series": [_series(nodes, links, ink)],
        "media": [{"query": {"maxWidth": 600}, "option": {"series": [{"label": {"width": 130}}]}}],
    }


def sankey_height(option: Mapping[str, Any]) -> int:
    """Pixels in which every end can be read."""
    depths = [node["depth"] for node in option["series"][0]["data"]]
    return 80 + 44 * max(depths.count(0), depths.count(1))


def _labels(bands: Mapping[Pair, float], side: int, ends: Mapping[str, str]) -> dict[str, str]:
    """What stands at a side's ends: different from all that stands at the other side's."""
    shares: dict[str, float] = defaultdict(float)
    for pair, share in bands.items():
        shares[pair[side]] += share
    arrow = ("", "→ ")[side]
    short = short_names(ends)
    return {
        name: f"{arrow}{per_cent(shares[name])} {quoted(short[name])}"
        for name in ends
        if name in shares
    }


def _series(nodes: list[dict[str, Any]], links: list[dict[str, Any]], ink: str) -> dict[str, Any]:
    return {
        "type": "sankey",
        "data": nodes,
        "links": links,
        "left": 8,
        "right": 8,
        "top": 8,
        "bottom": 8,
        "nodeGap": 16,
        "nodeWidth": 14,
        "layoutIterations": 0,
        "draggable": False,
        "emphasis": {"focus": "adjacency"},
        "label": {"width": 240, "overflow": "truncate", "color": ink, "fontSize": 13},
    }
