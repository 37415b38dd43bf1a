"""What a plan does for groups, as people read it, and words it shares with the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.options import share, usd

if TYPE_CHECKING:
    from app.cli.markdown import Written
    from planner.plan import Plan, Rung

_OF_GROUPS = ("accuracy.by_group.", "accuracy.max_gap.")
_PER_POINT = 0.01
_REQUESTS = 1000


def group_lines(solved: Plan, write: Written) -> list[str]:
    """Figures per rung and group, gaps and prices of the first rung; nothing without groups."""
    rows = [
        (
            f"{rung.budget_fraction:.2f}",
            shown(f"{column} {value}"),
            group.queries,
            share(group.share),
            share(group.accuracy),
            share(group.promised_accuracy),
        )
        for rung in solved.rungs
        for column, groups in rung.by_group.items()
        for value, group in groups.items()
    ]
    if not rows:
        return []
    header = ("rung", "group", "queries", "share of traffic", "accuracy", "promised")
    first = solved.rungs[0]
    return [write(rows, header), *_gaps(first), *_prices(first), ""]


def shown(text: str) -> str:
    """A name that a table can hold: one line, what cannot be printed is escaped."""
    from profiles.difficulty.showing.classed import visible

    return visible(text)


def gap_words(difference: float, best: str, worst: str) -> str:
    """A gap between two groups in points of accuracy, or that there is none to be seen."""
    size = points(difference)
    if size == points(0):
        return "gap: none, all groups are the same to 0.1 points"
    return f"gap: {size} points from {shown(best)} to {shown(worst)}"


def points(difference: float) -> str:
    """A difference of two shares in points of a hundred."""
    return f"{100 * difference:.1f}"


def _gaps(rung: Rung) -> list[str]:
    lines = []
    for column, gap in rung.gaps.items():
        words = gap_words(gap.expected, gap.best, gap.worst)
        promised = "" if gap.promised is None else f"; at most {points(gap.promised)} promised"
        lines.append(f"{shown(column)} {words}{promised}")
    return lines


def _prices(rung: Rung) -> list[str]:
    """Shadow prices of limits on groups, where they are dollars."""
    if rung.objective != "minimize cost":
        return []
    return [
        f"the last point of {shown(name)} costs {usd(abs(price) * _PER_POINT * _REQUESTS)} USD per "
        f"{_REQUESTS} requests"
        for name, price in rung.shadow_prices.items()
        if name.startswith(_OF_GROUPS)
    ]
