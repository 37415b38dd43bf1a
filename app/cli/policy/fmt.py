"""`inferbudget fmt`: policy files in the one form that `compile` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.lazy import short_lived
from app.cli.options import INPUT, emit_text, is_stdout
from profiles.errors import ExitCode
from profiles.visible import escaped

if TYPE_CHECKING:
    from policies.formatting import Formatted


@click.command("fmt")
@click.argument("policies", metavar="POLICY...", type=INPUT, nargs=-1, required=True)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 with a diff.")
@click.option(
    "--migrate", is_flag=True, help="Move an older format to today's, which gives a new digest."
)
@click.pass_context
def fmt_command(
    ctx: click.Context, policies: tuple[Path, ...], only_check: bool, migrate: bool
) -> None:
    """Write policy files as compile writes them: same meaning, same digest.

    POLICY is a file, or - for standard input, which is written to standard output. A policy that
    was changed since it was compiled is refused.
    """
    from policies.formatting import formatted, write_formatted
    from profiles.yaml_input import read_text

    with short_lived():
        # all are read before any is written: a refused file leaves the others as they were
        found = {
            path: formatted(read_text(path), str(path), migrate=migrate)
            for path in dict.fromkeys(policies)
        }
        for path, one in found.items():
            if only_check:
                emit_text(_diff(path, one) if one.changed else f"{escaped(str(path))}: ok")
                continue
            if is_stdout(path):
                click.echo(one.after, nl=False)
            elif one.changed:
                write_formatted(one, path)
            emit_text(_done(path, one), err=True)
    if only_check and any(one.changed for one in found.values()):
        ctx.exit(ExitCode.FINDING)


def _done(path: Path, found: Formatted) -> str:
    name = escaped(str(path))
    if found.migrated_from:
        from policies.policy import FORMAT_VERSION

        moved = f"moved from format {found.migrated_from} to {FORMAT_VERSION}"
        return f"{name}: {moved}; its digest is now {found.digest}"
    return f"{name}: {'formatted' if found.changed else 'ok'}"


def _diff(path: Path, found: Formatted) -> str:
    import difflib

    name = escaped(str(path))
    lines = difflib.unified_diff(
        found.before.splitlines(),
        found.after.splitlines(),
        name,
        f"{name} as inferbudget writes it",
        lineterm="",
    )
    shown = "\n".join(escaped(line) for line in lines)
    return shown or f"{name}: only line endings differ from what inferbudget writes"
