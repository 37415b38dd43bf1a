"""`inferbudget export`: a policy for another gateway, and what of it is lost there."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import (
    FILE,
    INPUT,
    OUTPUT_OR_STDOUT,
    emit_json,
    emit_text,
    format_option,
    is_stdout,
    writing,
)
from profiles.errors import ExitCode, InputError

if TYPE_CHECKING:
    from policies.findings import Finding
    from policies.neighbours.export import Export, Neighbour

NEIGHBOURS = {
    "litellm": "policies.neighbours.litellm:LITELLM",
    "vllm-semantic-router": "policies.neighbours.vllm_semantic_router:VLLM_SEMANTIC_ROUTER",
}


@click.command("export")
@click.argument("policy", type=FILE)
@click.option(
    "--to", type=click.Choice(list(NEIGHBOURS)), required=True, help="The gateway to write for."
)
@click.option(
    "-o",
    "--output",
    type=OUTPUT_OR_STDOUT,
    help="Its configuration; on stdout, and the report on stderr, for '-' and where absent.",
)
@click.option(
    "--check",
    "deployed",
    type=INPUT,
    help="Write nothing; exit 1 where this configuration says another thing than the policy.",
)
@click.option(
    "--approximate", is_flag=True, help="Let a single pass take the place of what cannot be run."
)
@click.option(
    "--upstream",
    default="http://127.0.0.1:8000/v1",
    show_default=True,
    help="OpenAI-compatible base URL that the gateway calls.",
)
@format_option
@click.pass_context
def export_command(
    ctx: click.Context,
    policy: Path,
    to: str,
    output: Path | None,
    deployed: Path | None,
    approximate: bool,
    upstream: str,
    output_format: str,
) -> None:
    """Write what another gateway can run of POLICY, and say what is lost.

    A class that the gateway cannot run as planned is refused, unless --approximate lets a single
    pass answer it; the report then says what that does to accuracy and dollars.
    """
    from policies.file import read_policy
    from policies.findings import Severity
    from policies.neighbours.export import export
    from policies.neighbours.expressed import differences
    from policies.semantics import semantic_findings
    from policies.source import Source
    from profiles.yaml_input import read_text

    if deployed and output:
        raise click.UsageError("--check writes nothing: leave -o out")
    to_stdout = not deployed and (output is None or is_stdout(output))
    if to_stdout and output_format == "json":
        raise click.UsageError("the configuration goes to stdout: give -o FILE with --format json")
    source = Source.of(str(policy), read_text(policy))
    neighbour = _neighbour(to)
    whole = read_policy(policy)
    for wrong in semantic_findings(whole, source):
        if wrong.severity is Severity.ERROR:
            step = "run 'inferbudget check'"
            raise InputError(wrong.message, where=wrong.where, next_step=step)
    found = export(whole, neighbour, source.where, approximate=approximate)
    written = found.text(upstream)
    if deployed:
        drift = differences(
            found.expressed, neighbour.read(read_text(deployed), str(deployed)), str(deployed)
        )
        _say_drift(ctx, deployed, drift, output_format)
        return
    if output is None or to_stdout:
        click.echo(written, nl=False)
        emit_text("\n".join(_report(found, source.where)), err=True)
        return
    with writing(output):
        output.write_text(written, encoding="utf-8")
    if output_format == "json":
        emit_json(_as_json(found, to, output))
    else:
        emit_text("\n".join([*_report(found, source.where), f"wrote {output}"]))


def _neighbour(name: str) -> Neighbour:
    module, _, attribute = NEIGHBOURS[name].partition(":")
    found: Neighbour = getattr(import_module(module), attribute)
    return found


def _say_drift(
    ctx: click.Context, deployed: Path, drift: list[Finding], output_format: str
) -> None:
    if output_format == "json":
        emit_json({"file": str(deployed), "findings": [finding.as_dict() for finding in drift]})
    else:
        for finding in drift:
            emit_text(finding.text())
        said = f"{len(drift)} findings" if drift else "says what the policy says, as far as it can"
        emit_text(f"{deployed}: {said}")
    if drift:
        ctx.exit(ExitCode.FINDING)


def _report(found: Export, where: Callable[..., str]) -> list[str]:
    exact = "unknown" if found.exact_share is None else f"{100 * found.exact_share:.1f} %"
    return [
        f"{found.neighbour.name}: {found.neighbour.format}",
        *(line for loss in found.losses for line in loss.lines(where(*loss.where))),
        f"exactly as planned  {exact} of requests",
        f"planned             {found.before.text()}",
        f"exported            {found.after.text()}",
    ]


def _as_json(found: Export, to: str, output: Path) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "to": to,
        "format": found.neighbour.format,
        "file": str(output),
        "policy": found.digest,
        "exact_share": found.exact_share,
        "planned": asdict(found.before),
        "exported": asdict(found.after),
        "losses": [loss.as_dict() for loss in found.losses],
    }
