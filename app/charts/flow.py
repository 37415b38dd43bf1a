"""Traffic that moves from old strategies to new ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from app.charts.sankey import GREY, sankey

MOST = 12
"""Strategies that are drawn one by one; all others are drawn as one."""


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
    paint = dict.fromkeys([*alone, *names.values()], GREY)
    paint |= {text: colours.get(text, GREY) for text in alone}
    stays = [pair for pair in bands if pair[0] == pair[1]]
    return sankey(bands, paint, paint, ink=ink, quiet=stays)


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
