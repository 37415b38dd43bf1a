"""Draws spend against plan, rungs and memory of the arms: `docs/images/replayed_traffic.png`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.replayed_traffic.traffic import Arm

PICTURE = Path("docs/images/replayed_traffic.png")
WIDTH, HEIGHT = 250, 130
PLAN, CAME = "plan by the clock", "requests that came"
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def _gateways(arm: Arm) -> str:
    return f"spent by {arm.replicas} gateway{'s' * (arm.replicas > 1)}"


def moments(arms: Mapping[str, Any], span_s: int) -> Iterator[dict[str, Any]]:
    """A row per arm of this length and moment."""
    for name, found in arms.items():
        arm = Arm.named(name)
        if arm.replay.span_s != span_s:
            continue
        budget = f"money for {arm.budget:.0%} of the requests"
        panel = {"arm": name, "trace": arm.trace, "budget": budget, "line": _gateways(arm)}
        yield from (panel | at for at in found["course"] if at["s"] >= 0)


def picture(arms: Mapping[str, Any], path: Path) -> None:
    """Money and rungs by trace and budget, of the length run most; memory of the longest below."""
    import altair as alt  # noqa: PLC0415 - the runs need no pictures

    spans = Counter(Arm.named(name).replay.span_s for name in arms)
    most_run = max(spans, key=lambda span_s: (spans[span_s], span_s))
    most, long = list(moments(arms, most_run)), list(moments(arms, max(spans)))
    gateways = sorted({row["line"] for row in most + long})
    scale = alt.Scale(
        domain=[*gateways, PLAN, CAME],
        range=[*COLOURS[: len(gateways)], "#555555", "#bbbbbb"],
    )
    money = [row | {"share": 100 * row["spent"]} for row in most]
    money += [row | {"line": PLAN, "share": 100 * row["plan"]} for row in most]
    money += [row | {"line": CAME, "share": 100 * row["arrivals"]} for row in most]

    def lines(mine: list[dict[str, Any]], y: Any, width: int = WIDTH) -> Any:
        found = alt.Chart(alt.Data(values=mine)).mark_line(clip=True, strokeWidth=1.5)
        colour = alt.Color("line:N", title=None, scale=scale)
        x = alt.X("s:Q", title="seconds")
        drawn = found.encode(x=x, y=y, color=colour, detail="arm:N")
        return drawn.properties(width=width, height=HEIGHT)

    def panels(mine: list[dict[str, Any]], y: Any) -> Any:
        column = alt.Column("budget:N", title=None)
        return lines(mine, y).facet(column=column, row=alt.Row("trace:N", title=None))

    alt.vconcat(
        panels(money, alt.Y("share:Q", title="% of all")),
        panels(most, alt.Y("rung:Q", title="mean rung (0: best plan)")),
        lines(long, alt.Y("rss_mb:Q", title="largest gateway, MB"), 3 * WIDTH + 40),
    ).resolve_scale(color="shared").save(str(path), scale_factor=1.5)
