"""`inferbudget profile`: fill, judge and read the profile store."""

from __future__ import annotations

import click

from app.cli.lazy import Lazy, LazyGroup

COMMANDS = {
    "import": Lazy("app.cli.profile.import_:import_command", "Read outcomes recorded elsewhere."),
    "measure": Lazy("app.cli.profile.measure:measure_command", "Run strategies on problems."),
    "show": Lazy("app.cli.profile.show:show_command", "Every cell with what it rests on."),
}


@click.group(cls=LazyGroup, commands_by_name=COMMANDS)
def profile() -> None:
    """Fill, judge and read the profile store."""
