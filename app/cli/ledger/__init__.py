"""`inferbudget ledger`: what is spent, whether the books balance, and corrections."""

from __future__ import annotations

import click

from app.cli.lazy import Lazy, LazyGroup

COMMANDS = {
    "show": Lazy("app.cli.ledger.show:show_command", "Every budget: spent, held and left."),
    "audit": Lazy("app.cli.ledger.audit:audit_command", "Hold the store against the audit log."),
    "adjust": Lazy("app.cli.ledger.adjust:adjust_command", "Correct what a budget has spent."),
}


@click.group(cls=LazyGroup, commands_by_name=COMMANDS)
def ledger() -> None:
    """Look at the money of a gateway, prove it, and correct it."""
