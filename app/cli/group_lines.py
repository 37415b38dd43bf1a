"""What a plan does for groups, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.options import share, table, usd

if TYPE_CHECKING:
    from planner.plan import Plan, Rung

_OF_GROUPS = ("accuracy.by_group.", "accuracy.max_gap.")
_PER_POINT = 0.01
_REQUESTS = 1000


def group_lines(solved: Plan) -> list[str]:
    """Figures per rung and group, gaps and prices of the first rung; nothing without groups."""
    rows = [
        (
            f"{rung.budget_fraction:.2f}",
            f"{column} {value}",
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
    header = ("rung", "group", "queries", "share", "accuracy", "promised")
    first = solved.rungs[0]
    return [table(rows, header), *_gaps(first), *_prices(first), ""]


def _gaps(rung: Rung) -> list[str]:
    lines = []
    for column, gap in rung.gaps.items():
        promised = "" if gap.promised is None else f", at most {share(gap.promised)} is promised"
        lines.append(f"{column}: {share(gap.expected)} from {gap.best} to {gap.worst}{promised}")
    return lines


def _prices(rung: Rung) -> list[str]:
    """Shadow prices of limits on groups, where they are dollars."""
    if rung.objective != "minimize cost":
        return []
    return [
        f"the last point of {name} costs {usd(abs(price) * _PER_POINT * _REQUESTS)} USD per "
        f"{_REQUESTS} requests"
        for name, price in rung.shadow_prices.items()
        if name.startswith(_OF_GROUPS)
    ]
