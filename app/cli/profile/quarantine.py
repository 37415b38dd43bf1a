"""`inferbudget profile quarantine`: rows that imports set aside."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import emit_json, emit_text, format_option, store_option
from profiles.visible import escaped

if TYPE_CHECKING:
    from profiles.store.records import Quarantined

_WIDTH = 160


@click.command("quarantine")
@store_option
@click.option("--file", help="Only rows of this file, by its name without folders.")
@format_option
def quarantine_command(store_path: Path, file: str | None, output_format: str) -> None:
    """List rows that imports set aside: file, line, reason and content."""
    from profiles.store.store import Store

    with Store.open(store_path, read_only=True) as store:
        rows = store.quarantined(file)
    if output_format == "json":
        emit_json({"rows": [asdict(row) for row in rows]})
    else:
        emit_text(quarantine_text(rows, file))


def quarantine_text(rows: list[Quarantined], file: str | None) -> str:
    """One line of place and reason and one of content for every row; long content is cut."""
    if not rows:
        return f"no row {'of ' + file if file else 'of any import'} was set aside"
    lines = [f"{len(rows)} {'row was' if len(rows) == 1 else 'rows were'} set aside"]
    for row in rows:
        content = row.content if len(row.content) <= _WIDTH else f"{row.content[:_WIDTH]}..."
        lines += [f"{row.file}:{row.line}: {row.reason}", f"  {escaped(content)}"]
    return "\n".join(lines)
