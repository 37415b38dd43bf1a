"""`inferbudget plan`: solve a spec; explain the answer, or judge it."""

from __future__ import annotations

import click

from app.cli.lazy import DefaultGroup, Lazy

COMMANDS = {
    "explain": Lazy(
        "app.cli.plan.explain:explain_command", "What limits cost, what would flip it."
    ),
    "simulate": Lazy("app.cli.plan.simulate:simulate_command", "How far a plan can be trusted."),
}


@click.group(
    cls=DefaultGroup, commands_by_name=COMMANDS, default="app.cli.plan.solve:solve_command"
)
def plan() -> None:
    """Solve a spec, and say what stands behind the answer."""
