"""`inferbudget profile export`: what a store holds, for other tools and other stores."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from app.cli.options import FILE, store_option


@click.command("export")
@store_option
@click.option("--workload", help="Name of the traffic; not for serving and quarantine.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    required=True,
    help="FILE.parquet, .csv, .json or .jsonl; '-' is JSON lines on stdout.",
)
@click.option(
    "--what",
    type=click.Choice(
        ["observations", "cells", "queries", "aggregates", "serving", "arrivals", "quarantine"]
    ),
    default="observations",
    show_default=True,
    help="What to write.",
)
@click.option("--classes", type=FILE, help="Difficulty graph that sorts the cells; else labels.")
def export_command(
    store_path: Path, workload: str | None, output: Path, what: str, classes: Path | None
) -> None:
    """Write one part of a store to one file.

    Observations, cells, queries, aggregates (published cells) and arrivals are those of a
    workload; serving measurements and rows in quarantine belong to none. The format follows the
    suffix. Exported observations can be imported into another store, or their folder registered
    there, and give the same cells; queries are what --prompts reads there, with a column per column
    of groups.
    """
    if classes and what != "cells":
        raise click.UsageError("--classes sorts cells: give --what cells")
    if what in {"serving", "quarantine"}:
        if workload is not None:
            raise click.UsageError(f"--what {what} belongs to no workload: leave --workload out")
    elif workload is None:
        raise click.UsageError(f"--what {what} is of a workload: give --workload")
    to_stdout = str(output) == "-"
    if what == "cells" and workload is not None:
        _export_cells(store_path, workload, classes, None if to_stdout else output)
        return
    from profiles.store.export import export_table, stream_table
    from profiles.store.store import Store

    with Store.open(store_path, read_only=True) as store:
        if to_stdout:
            stream_table(store, what, workload, sys.stdout)
        else:
            export_table(store, what, workload, output)


def _export_cells(
    store_path: Path, workload: str, classes: Path | None, output: Path | None
) -> None:
    from app.planning import open_profile
    from profiles.cells.report import profile_rows
    from profiles.store.export import export_rows, stream_rows

    rows = profile_rows(open_profile(store_path, workload, classes))
    if output is None:
        stream_rows(iter(rows), sys.stdout)
    else:
        export_rows(rows, output)
