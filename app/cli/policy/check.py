"""`inferbudget check`: what is wrong with a policy file."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import FILE, emit_json, emit_text, format_option
from profiles.errors import ExitCode


@click.command("check")
@click.argument("policy", type=FILE)
@format_option
@click.pass_context
def check_command(ctx: click.Context, policy: Path, output_format: str) -> None:
    """Check a policy file: digests, shares, prices, budgets, and that its graph agrees."""
    from policies.check import check
    from policies.findings import failed

    findings = check(policy)
    if output_format == "json":
        emit_json({"policy": str(policy), "findings": [f.as_dict() for f in findings]})
    else:
        for finding in findings:
            emit_text(finding.text())
        emit_text(f"{policy}: {len(findings)} findings" if findings else f"{policy}: ok")
    if failed(findings):
        ctx.exit(ExitCode.FINDING)
