"""Traffic that moves from old strategies to new ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from policies.figures_in_words import per_cent
from profiles.visible import quoted

MOST = 12
"""Strategies that are drawn one by one; all others are drawn as one."""
_GREY = "#8a8f98"


def flow_diagram(
    rows: Sequence[Mapping[str, Any]],
    colours: Mapping[str, str],
    *,
    ink: str,
    most: int = MOST,
) -> dict[str, Any]:
    """An ECharts option: old strategies on the left, new ones on the right, bands between them.

    Bands of moved traffic have the colour of the strategy they go to; what stays is grey. Every
    strategy stands with its share, so that nothing is said by colour alone.

    Args:
        rows: `before` and `after`, strategies, and the `share` of requests, 0..1, that goes from
            one to the other; those of a pair are added up.
        colours: By strategy; grey where absent.
        ink: Colour of the words.
        most: Strategies that are drawn one by one, those with most traffic.
    """
    names = _drawn(rows, most)
    bands: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        bands[names[row["before"]], names[row["after"]]] += row["share"]
    alone = sorted(text for text, name in names.items() if text == name)
    order = list(dict.fromkeys([*alone, *names.values()]))
    paint = {text: colours.get(text, _GREY) for text in alone}
    left, right = _labels(bands, 0, order), _labels(bands, 1, order)
    nodes = [
        {
            "name": label,
            "depth": depth,
            "itemStyle": {"color": paint.get(name, _GREY)},
            "label": {"position": position},
        }
        for depth, (labels, position) in enumerate(((left, "right"), (right, "left")))
        for name, label in labels.items()
    ]
    links = [
        {
            "source": left[before],
            "target": right[after],
            "value": share,
            "lineStyle": {"color": _GREY, "opacity": 0.2}
            if before == after
            else {"color": paint.get(after, _GREY), "opacity": 0.5},
        }
        for (before, after), share in bands.items()
    ]
    return {
        # Not as HTML: names of strategies were written by others.
        "tooltip": {
            "trigger": "item",
            "renderMode": "richText",
            "confine": True,
            "valueFormatter": "percent",
        },
        "series": [_series(nodes, links, ink)],
        "media": [{"query": {"maxWidth": 600}, "option": {"series": [{"label": {"width": 130}}]}}],
    }


def flow_height(option: Mapping[str, Any]) -> int:
    """Pixels in which every strategy of a diagram can be read."""
    depths = [node["depth"] for node in option["series"][0]["data"]]
    return 80 + 44 * max(depths.count(0), depths.count(1))


def _labels(
    bands: Mapping[tuple[str, str], float], side: int, order: Sequence[str]
) -> dict[str, str]:
    """What stands at a side's strategies: different from all that stands at the other side's."""
    shares: dict[str, float] = defaultdict(float)
    for pair, share in bands.items():
        shares[pair[side]] += share
    arrow = ("", "→ ")[side]
    return {
        name: f"{arrow}{per_cent(shares[name])} {quoted(name)}" for name in order if name in shares
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


def _drawn(rows: Sequence[Mapping[str, Any]], most: int) -> dict[str, str]:
    """Under which name every strategy is drawn."""
    traffic: dict[str, float] = defaultdict(float)
    for row in rows:
        for side in ("before", "after"):
            traffic[row[side]] += row["share"]
    ranked = sorted(traffic, key=lambda text: (-traffic[text], text))
    alone = ranked if len(ranked) <= most else ranked[: most - 1]
    rest = f"{len(ranked) - len(alone)} other strategies"
    return {text: text if text in alone else rest for text in ranked}
