"""`inferbudget sign`: a detached signature beside a policy, and the keys to make it."""

from __future__ import annotations

import click

from app.cli.lazy import DefaultGroup, Lazy

COMMANDS = {
    "keygen": Lazy("app.cli.policy.keygen:keygen_command", "Make a pair of Ed25519 keys."),
}


@click.group(
    cls=DefaultGroup, commands_by_name=COMMANDS, default="app.cli.policy.sign_file:sign_command"
)
def sign() -> None:
    """Sign a reviewed policy, or make a key pair."""
