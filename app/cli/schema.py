"""`inferbudget schema`."""

from __future__ import annotations

import click

from app.schemas import SCHEMAS, schema_of


@click.command("schema")
@click.argument("name", type=click.Choice(SCHEMAS))
def schema_command(name: str) -> None:
    """JSON Schema of a file format, or the OpenAPI document of the gateway."""
    click.echo(schema_of(name), nl=False)
