"""What a plan's limits ask and what it promises, and its tenants, as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.markdown import Written
from app.cli.options import figures, share
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.plan import LimitFigures, Plan


def limit_lines(solved: Plan, write: Written) -> list[str]:
    """Every limit of the spec on the first rung; nothing for a plan without limits."""
    limits = solved.rungs[0].limits
    if not limits:
        return []
    rows = [(escaped(name), *_words(name, found)) for name, found in limits.items()]
    return [write(rows, ("limit", "asked", "promised")), ""]


def tenant_lines(solved: Plan, write: Written) -> list[str]:
    """Figures of every tenant on every rung, and who answers it on the first."""
    if not solved.tenants:
        return []
    rows = [
        (f"{rung.budget_fraction:.2f}", escaped(name), *figures(found.expected),
         *figures(found.promised))
        for rung in solved.rungs
        for name, found in rung.by_tenant.items()
    ]  # fmt: skip
    answered = [
        (escaped(name), one, share(part), text)
        for name, found in solved.rungs[0].by_tenant.items()
        for one in solved.classes.names
        for text, part in sorted(found.allocation[one].items(), key=lambda item: -item[1])
    ]
    columns = ("accuracy", "USD/request", "p95 s", "promised", "USD/request", "p95 s")
    return [
        write(rows, ("rung", "tenant", *columns)),
        "",
        write(answered, ("tenant", "class", "share", "strategy")),
        "",
    ]


def _words(name: str, found: LimitFigures) -> tuple[str, str]:
    """Asked and promised, with their units."""
    from planner.limit_names import in_words, is_floor, is_latency

    asked = f"{'at least' if is_floor(name) else 'at most'} {in_words(name, found.asked)}"
    if is_latency(name):
        promised = f"{share(found.promised)} of requests slower, of {share(found.allowed)}"
    else:
        promised = in_words(name, found.promised)
    return asked, promised if found.kept else f"{promised} (given up)"
