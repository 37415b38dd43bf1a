"""`inferbudget profile show`: every cell with what it rests on."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import FILE, emit_json, format_option, store_option, workload_option
from app.cli.reports import cell_table


@click.command("show")
@store_option
@workload_option
@click.option("--classes", type=FILE, help="Difficulty graph; labels of the queries without.")
@format_option
def show_command(store_path: Path, workload: str, classes: Path | None, output_format: str) -> None:
    """Every cell: accuracy with interval, cost and tail, and how many queries they rest on."""
    from app.planning import open_profile
    from profiles.report import profile_rows

    found = open_profile(store_path, workload, classes)
    rows = profile_rows(found)
    if output_format == "json":
        emit_json({"workload": workload, "digest": found.digest, "cells": rows})
        return
    click.echo(f"{workload}: {found.queries} queries, profile {found.digest[:19]}")
    click.echo(cell_table(rows))
