"""`inferbudget diff`: what a change of policy means."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import INPUT, emit_json, emit_text, is_stdout, report_format_option
from profiles.errors import ExitCode


@click.command("diff")
@click.argument("old", type=INPUT)
@click.argument("new", type=INPUT)
@click.option("--exit-code", is_flag=True, help="Exit 1 when the policies differ.")
@report_format_option
@click.pass_context
def diff_command(
    ctx: click.Context, old: Path, new: Path, exit_code: bool, output_format: str
) -> None:
    """What dollars, accuracy, p95 and promises become when policy NEW takes OLD's place.

    Either may be - for standard input, or /dev/null for no policy. The graphs beside them are not
    read. Text and Markdown say nothing where nothing changed.
    """
    from policies.alone import read_alone
    from policies.diff_report import Difference, markdown, text

    if is_stdout(old) and is_stdout(new):
        raise click.UsageError("standard input holds one policy: name a file for OLD or NEW")
    before, after = read_alone(old), read_alone(new)
    if before is None and after is None:
        raise click.UsageError("neither OLD nor NEW is a policy")
    found = Difference.of(before, after)
    if output_format == "json":
        emit_json(found.as_dict())
    elif said := markdown(found) if output_format == "markdown" else text(found):
        emit_text(said)
    if exit_code and not found.is_empty:
        ctx.exit(ExitCode.FINDING)
