"""A plan as people read it: promises per rung, then who answers what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.fee_lines import fee_lines
from app.cli.group_lines import group_lines
from app.cli.limit_lines import limit_lines, tenant_lines
from app.cli.markdown import Written, piped
from app.cli.options import figures, share, table
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.plan import Plan


def plan_text(solved: Plan) -> str:
    """A plan for a terminal."""
    lines = [f"{solved.workload}: {solved.status}, digest {solved.digest[:19]}"]
    lines += [f"warning: {escaped(text)}" for text in solved.warnings]
    lines += ["", _promises(solved, table), "", _allocation(solved, table), ""]
    lines += limit_lines(solved, table)
    lines += tenant_lines(solved, table)
    lines += group_lines(solved, table)
    lines += fee_lines(solved, table)
    return "\n".join([*lines, _single(solved)])


def plan_markdown(solved: Plan) -> str:
    """The same for a pull request."""
    sure = "on point estimates, no margin"
    if solved.confidence is not None:
        sure = f"promises with {100 * solved.confidence:g} % confidence"
    parts = [
        f"**{escaped(solved.workload)}**: {solved.status}, {sure}, digest `{solved.digest[:19]}`",
        _promises(solved, piped),
        _allocation(solved, piped),
        *limit_lines(solved, piped),
        *tenant_lines(solved, piped),
        *group_lines(solved, piped),
        *fee_lines(solved, piped),
        _single(solved),
        "\n".join(f"- warning: {escaped(text)}" for text in solved.warnings),
    ]
    return "\n\n".join(part for part in parts if part)


def _promises(solved: Plan, write: Written) -> str:
    """Expected and promised figures of every rung."""
    rows = [
        (f"{rung.budget_fraction:.2f}", *figures(rung.expected), *figures(rung.promised))
        for rung in solved.rungs
    ]
    header = ("rung", "accuracy", "USD/request", "p95 s", "promised", "USD/request", "p95 s")
    return write(rows, header)


def _allocation(solved: Plan, write: Written) -> str:
    """Who answers what, on every rung."""
    rows = [
        (f"{rung.budget_fraction:.2f}", name, share(part), text)
        for rung in solved.rungs
        for name in solved.classes.names
        for text, part in sorted(rung.allocation[name].items(), key=lambda item: -item[1])
    ]
    return write(rows, ("rung", "class", "share", "strategy"))


def _single(solved: Plan) -> str:
    single = solved.best_single_strategy
    if single is None:
        return "no single strategy keeps the limits"
    accuracy, cost, p95 = figures(single.expected)
    return (
        f"best single strategy within the limits: {single.strategy} "
        f"({accuracy}, {cost} USD/request, p95 {p95} s)"
    )
