"""Draws the course of the never-over experiment from its results: `docs/images/never_over.png`.

python -m benchmarks.never_over.picture [RESULTS.json] [PICTURE.png]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.never_over.__main__ import RESULT

PICTURE = Path("docs/images/never_over.png")
MOST_ARMS = 6


def points(arms: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Spent and held by second, and the faults, of the arms with the most of these."""
    chosen = sorted(arms, key=lambda name: -sum(arms[name]["harm"].values()))[:MOST_ARMS]
    shares = [
        {"arm": name, "s": at_s, "share": 100 * share, "part": part}
        for name in arms
        if name in chosen
        for at_s, *both in arms[name]["course"]
        for part, share in zip(("spent", "held"), both, strict=True)
    ]
    faults = [
        {"arm": name, "s": float(event.split()[0]), "fault": event.split()[1]}
        for name in arms
        if name in chosen
        for event in arms[name]["events"]
        if event[0].isdigit() and "lost" not in event
    ]
    return shares, faults


def picture(arms: Mapping[str, Any], path: Path) -> None:
    """A panel an arm."""
    import altair as alt  # noqa: PLC0415 - the experiment needs no pictures

    shares, faults = points(arms)
    areas = (
        alt.Chart()
        .mark_area()
        .encode(
            x=alt.X("s:Q", title="seconds"),
            y=alt.Y("share:Q", title="% of the global budget", stack="zero"),
            color=alt.Color("part:N", title=None, sort=["spent", "held"]),
            order=alt.Order("part:N", sort="descending"),
        )
    )
    panels = []
    for name in dict.fromkeys(point["arm"] for point in shares):
        mine = [point for point in shares if point["arm"] == name]
        harm = [fault for fault in faults if fault["arm"] == name]
        limit = alt.Chart().mark_rule(strokeDash=[4, 4]).encode(y=alt.datum(100))
        ticks = (
            alt.Chart(alt.Data(values=harm))
            .mark_tick(thickness=2, size=10)
            .encode(x="s:Q", y=alt.value(4), color=alt.Color("fault:N", title="fault"))
        )
        drawn = alt.layer(areas, limit, data=alt.Data(values=mine)) + ticks
        panels.append(
            drawn.resolve_scale(color="independent").properties(width=300, height=130, title=name)
        )
    alt.concat(*panels, columns=2).resolve_scale(color="shared").save(str(path), scale_factor=2)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", default=RESULT)
    parser.add_argument("picture", type=Path, nargs="?", default=PICTURE)
    asked = parser.parse_args()
    picture(json.loads(asked.results.read_text())["arms"], asked.picture)


if __name__ == "__main__":
    main()
