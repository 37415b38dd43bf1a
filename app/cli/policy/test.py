"""`inferbudget test`: a policy's own cases."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import FILE, FOLDER, emit_json, emit_text
from profiles.errors import ExitCode, InputError
from profiles.visible import escaped


@click.command("test")
@click.argument("policy", type=FILE)
@click.argument("cases", nargs=-1, type=FILE)
@click.option("--encoder", type=FOLDER, help="Folder of the encoder that the policy names.")
@click.option(
    "--require-coverage",
    is_flag=True,
    help="Exit 1 also when no case reaches one of the classes or rungs.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "junit"]),
    default="text",
    show_default=True,
    help="Result on stdout as text, JSON or JUnit XML.",
)
@click.pass_context
def test_command(
    ctx: click.Context,
    policy: Path,
    cases: tuple[Path, ...],
    encoder: Path | None,
    require_coverage: bool,
    output_format: str,
) -> None:
    """Ask POLICY its own test CASES; by default those of policy.test.yaml beside policy.yaml.

    Nothing is sent anywhere. Pace, decision, substitutes and bounds are those of the gateway.
    """
    from policies.case_file import default_cases, read_cases
    from policies.case_report import report_dict, report_junit, report_text
    from policies.cases import run_cases
    from runtime.rehearsal import open_rehearsal

    files = [read_cases(path) for path in cases or (_present(default_cases(policy)),)]
    rehearsal = open_rehearsal(policy, encoder)
    report = run_cases(rehearsal.policy, files, rehearsal)
    because = rehearsal.measured_because
    if output_format == "json":
        bounds = {"source": "measured" if because else "prices", "because": because}
        emit_json({"policy": str(policy), **report_dict(report), "bounds": bounds})
    elif output_format == "junit":
        click.echo(report_junit(report, require_coverage=require_coverage), nl=False)
    else:
        emit_text(report_text(report, str(policy), require_coverage=require_coverage))
    if because and output_format != "json":
        emit_text(
            f"note: bounds are the dearest measured requests, for no gateway would serve this "
            f"policy: {escaped(because)}",
            err=True,
        )
    if report.failed or (require_coverage and report.coverage.untested()):
        ctx.exit(ExitCode.FINDING)


def _present(path: Path) -> Path:
    if path.is_file():
        return path
    raise InputError(
        "this policy has no cases",
        where=str(path),
        next_step="write them there, or name their files",
    )
