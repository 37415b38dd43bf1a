"""`inferbudget schema`."""

from __future__ import annotations

import click


@click.command("schema")
@click.argument("name", type=click.Choice(["spec", "plan", "policy", "cases", "fleet"]))
def schema_command(name: str) -> None:
    """JSON Schema of a file format."""
    from policies.schema import schema_text

    click.echo(schema_text(name), nl=False)
