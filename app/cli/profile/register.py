"""`inferbudget profile register`: Parquet folders that are part of a store and stay in place."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import emit_json, emit_text, format_option, store_option
from profiles.observation import Evidence

if TYPE_CHECKING:
    from profiles.store.folders import FolderReport


@click.command("register")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@store_option
@click.option("--workload", help="Of all rows, where the files have no such column.")
@click.option(
    "--evidence",
    type=click.Choice([kind.value for kind in Evidence]),
    help="Of all rows, where the files have no such column.",
)
@click.option("--remove", is_flag=True, help="Take FOLDER out of the store; its files stay.")
@format_option
def register_command(
    folder: Path,
    store_path: Path,
    workload: str | None,
    evidence: str | None,
    remove: bool,
    output_format: str,
) -> None:
    """Make a folder of Parquet files part of a store without copying a row.

    The files have the columns of an observation; what they lack is unknown. Nothing is registered
    where a row breaks a rule or is in the store already. When files come or change later, they are
    checked before anything is read.
    """
    from profiles.store.store import Store

    with Store.open(store_path) as store:
        if remove:
            store.unregister_folder(folder)
            return
        kind = Evidence(evidence) if evidence else None
        report = store.register_folder(folder, workload=workload, evidence=kind)
    if output_format == "json":
        emit_json({**asdict(report), "folder": str(report.folder)})
    else:
        emit_text(_text(report))


def _text(report: FolderReport) -> str:
    lines = [f"{report.folder}: {report.rows} observations in {report.files} files, read in place"]
    if report.missing:
        lines.append(f"  not in the files, unknown: {', '.join(report.missing)}")
    if report.ignored:
        lines.append(f"  columns ignored: {', '.join(report.ignored)}")
    return "\n".join(lines)
