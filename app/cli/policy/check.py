"""`inferbudget check`: what is wrong with policy files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.lazy import short_lived
from app.cli.options import FILE, INPUT, emit_json, emit_text, findings_format_option, json_text
from profiles.errors import ExitCode
from profiles.visible import escaped

if TYPE_CHECKING:
    from policies.findings import Finding


@click.command("check")
@click.argument("policies", metavar="POLICY...", type=INPUT, nargs=-1, required=True)
@click.option("--plan", type=FILE, help="The plan that they must have been compiled from.")
@click.option("--spec", type=FILE, help="The spec that they must have been made for.")
@findings_format_option
@click.pass_context
def check_command(
    ctx: click.Context,
    policies: tuple[Path, ...],
    plan: Path | None,
    spec: Path | None,
    output_format: str,
) -> None:
    """Check policy files: digests, shares, prices, budgets, sums and promises.

    POLICY is a file, or - for standard input; its graph is then in the working directory. 'verify'
    also runs the graph.
    """
    with short_lived():
        from policies.check import check
        from policies.findings import failed

        solved = spec_digest = None
        if plan is not None:
            from planner.plan import read_plan

            solved = read_plan(plan)
        if spec is not None:
            from planner.spec import read_spec

            spec_digest = read_spec(spec).content_digest(spec.parent)
        found = {
            str(policy): check(policy, plan=solved, spec_digest=spec_digest)
            for policy in dict.fromkeys(policies)
        }
        emit_findings(found, output_format)
    if any(failed(findings) for findings in found.values()):
        ctx.exit(ExitCode.FINDING)


def emit_findings(found: Mapping[str, list[Finding]], output_format: str) -> None:
    """Findings by file on stdout."""
    if output_format == "json":
        emit_json(
            {
                "policies": [
                    {"policy": file, "findings": [finding.as_dict() for finding in findings]}
                    for file, findings in found.items()
                ]
            }
        )
    elif output_format == "sarif":
        from importlib.metadata import version

        from policies.annotations import sarif

        click.echo(json_text(sarif(found, version("inferbudget"))))
    elif output_format == "github":
        from policies.annotations import github

        click.echo(github(found))  # commands on purpose, safe by themselves
    else:
        for file, findings in found.items():
            for finding in findings:
                emit_text(finding.text())
            emit_text(f"{escaped(file)}: {_counted(len(findings)) if findings else 'ok'}")


def _counted(findings: int) -> str:
    return f"{findings} finding{'s' if findings > 1 else ''}"
