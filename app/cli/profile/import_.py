"""`inferbudget profile import`: outcomes that others measured."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import FILE, emit_json, pairs, store_option, workload_option
from app.cli.reports import import_text
from profiles.observation import Evidence


@click.command("import")
@click.argument("file", type=FILE)
@store_option
@workload_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "tsv", "jsonl", "json", "parquet"]),
    help="Of FILE; from its name where absent.",
)
@click.option(
    "--columns", multiple=True, help="Our name=theirs, e.g. query=id,score=resolved,cost_usd=cost."
)
@click.option("--prompts", type=FILE, help="Table with a prompt (and class) for every query.")
@click.option("--constant", multiple=True, help="Column=value for every row, e.g. method=single.")
@click.option(
    "--evidence",
    type=click.Choice([kind.value for kind in Evidence]),
    default=Evidence.PUBLISHED.value,
    show_default=True,
    help="Where these numbers come from.",
)
@click.option(
    "--report",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="The import report on stdout.",
)
def import_command(
    file: Path,
    store_path: Path,
    workload: str,
    file_format: str | None,
    columns: tuple[str, ...],
    prompts: Path | None,
    constant: tuple[str, ...],
    evidence: str,
    output_format: str,
) -> None:
    """Read outcomes that were recorded elsewhere."""
    from profiles.importers import import_file
    from profiles.store import Store

    with Store.open(store_path) as store:
        report = import_file(
            store,
            file,
            workload=workload,
            format=file_format,
            columns=pairs(columns, "--columns"),
            prompts=prompts,
            constants=pairs(constant, "--constant"),
            evidence=Evidence(evidence),
        )
    if output_format == "json":
        emit_json(report.to_json())
    else:
        click.echo(import_text(report))
