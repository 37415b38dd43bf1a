"""`inferbudget profile import`: outcomes that others measured."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import FILE, Name, emit_json, pairs, store_option, workload_option
from profiles.errors import FindingError, InputError
from profiles.importing.formats import FORMATS
from profiles.observation import Evidence
from profiles.visible import escaped

if TYPE_CHECKING:
    from profiles.importing.import_report import ImportReport

_TABLES = ("csv", "tsv", "jsonl", "json", "parquet")
_TOOLS = ("tot", *(name.replace("_", "-") for name in FORMATS))


def _list_mappings(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from profiles.importing.mapping import load_mapping, mapping_names

    for name in mapping_names():
        click.echo(f"{name}: {load_mapping(name).about}")
    context.exit()


@click.command("import")
@click.argument("file", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@store_option
@workload_option
@click.option("--mapping", help="How the table is read: a YAML file, or the name of one of ours.")
@click.option(
    "--list-mappings",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_mappings,
    help="Names of the mappings that come with the package.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*_TABLES, *_TOOLS]),
    help="Input: what FILE is. Told from its name where absent.",
)
@click.option("--option", multiple=True, help="Name=value for a tool's format, e.g. model=m.")
@click.option(
    "--columns", multiple=True, help="Our name=theirs, e.g. query=id,score=resolved,cost_usd=cost."
)
@click.option("--prompts", type=FILE, help="Table with a prompt (and class) for every query.")
@click.option(
    "--group",
    "groups",
    type=Name(),
    multiple=True,
    help="Column, here or in --prompts, whose values are groups of queries: tenant, language.",
)
@click.option("--constant", multiple=True, help="Column=value for every row, e.g. method=single.")
@click.option(
    "--evidence",
    type=click.Choice([kind.value for kind in Evidence]),
    help="Where these numbers come from; the mapping's word, or else published.",
)
@click.option(
    "--report",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output: the form of the import report on stdout.",
)
def import_command(
    file: Path,
    store_path: Path,
    workload: str,
    mapping: str | None,
    file_format: str | None,
    option: tuple[str, ...],
    columns: tuple[str, ...],
    prompts: Path | None,
    groups: tuple[str, ...],
    constant: tuple[str, ...],
    evidence: str | None,
    output_format: str,
) -> None:
    """Read outcomes that were recorded elsewhere.

    FILE is a table, a tool's own output (--format), or - for standard input. --format says what
    is read, --report what is printed. Exit code 1 where a check value of the mapping does not
    match; the rows are kept all the same.
    """
    from profiles.importing.importers import import_file
    from profiles.importing.mapping import load_mapping, mapping_names
    from profiles.store.store import Store

    rules = load_mapping(mapping) if mapping else None
    with _on_disk(file, file_format) as path, Store.open(store_path) as store:
        report = import_file(
            store,
            path,
            workload=workload,
            format=file_format,
            columns=pairs(columns, "--columns"),
            prompts=prompts,
            constants=pairs(constant, "--constant"),
            evidence=Evidence(evidence) if evidence else None,
            mapping=rules,
            options=pairs(option, "--option"),
            groups=groups,
        )
        report = _without_place(report, path) if path != file else report
    if output_format == "json":
        emit_json(report.to_json())
    else:
        click.echo(report_text(report, "published" if mapping in mapping_names() else "expected"))
    wrong = sum(not check.ok for check in report.checks)
    if wrong:
        values = "check value does" if wrong == 1 else "check values do"
        raise FindingError(f"{wrong} {values} not match what was read")


@contextmanager
def _on_disk(file: Path, file_format: str | None) -> Iterator[Path]:
    """The file, or standard input as one."""
    if str(file) != "-":
        yield file
        return
    if file_format is None:
        raise InputError(
            "standard input has no name to tell its format",
            where="-",
            next_step="name it with --format",
        )
    with tempfile.TemporaryDirectory(prefix="inferbudget-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        try:
            yield path
        except InputError as error:
            parts = (error.what, error.where, error.expected, error.got, error.next_step)
            what, where, expected, got, next_step = (_named(part, path) for part in parts)
            raise type(error)(
                what or "", where=where, expected=expected, got=got, next_step=next_step
            ) from error


def _named(text: str | None, path: Path) -> str | None:
    """A text that names standard input as its caller does, not by where it lies on disk."""
    return text and text.replace(str(path), "-").replace(f"{path.parent}/", "")


def _without_place(report: ImportReport, path: Path) -> ImportReport:
    notes = tuple(
        replace(note, examples=tuple(_named(example, path) or "" for example in note.examples))
        for note in report.notes
    )
    return replace(report, file="-", notes=notes)


def report_text(report: ImportReport, whose: str) -> str:
    """What an import read, kept, repaired, set aside and why, and what is suspicious.

    Args:
        report: The report.
        whose: Whose the check values are: published, or expected by the user's own mapping.
    """
    lines = [f"{report.file} -> {report.workload} ({report.kind})"]
    if report.already_imported:
        lines.append("the same content was imported before; nothing changed")
    lines.append(
        f"read {report.rows} rows, kept {report.kept}: {report.added} added, "
        f"{report.duplicates} known already, {report.conflicts} in conflict; "
        f"{report.queries} new queries"
    )
    partly = {name: n for name, n in report.known.items() if n < report.kept}
    if partly:
        lines.append(f"known of {report.kept}: " + ", ".join(f"{n} {k}" for k, n in partly.items()))
    lines += [f"group {name}: known of {n} queries" for name, n in report.groups.items()]
    said = [note.text for note in report.notes]
    lines += [
        f"set aside: {count} x {reason}"
        for reason, count in report.set_aside.items()
        if not any(text.startswith(reason) for text in said)
    ]
    lines += [f"check {check.told(whose)}" for check in report.checks]
    for note in sorted(report.notes, key=lambda note: note.kind != "suspicious"):
        if note.kind == "suspicious":
            lines.append(f"suspicious: {note.count} x {note.text}")
            lines += [f"  {example}" for example in note.examples]
        else:
            word = "note" if note.kind == "remark" else note.kind
            lines.append(f"{word}: {note}")
    return "\n".join(map(escaped, lines))
