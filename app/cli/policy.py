"""`inferbudget compile`, `check` and `schema`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import FILE, OUTPUT, emit_json, format_option, writing
from profiles.errors import ExitCode, InputError

if TYPE_CHECKING:
    from planner.plan import Plan


@click.command("compile")
@click.argument("plan", type=FILE)
@click.option("-o", "--output", type=OUTPUT, default=Path("policy.yaml"), show_default=True)
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; exit 1 when the file is stale."
)
@click.pass_context
def compile_command(ctx: click.Context, plan: Path, output: Path, only_check: bool) -> None:
    """Turn PLAN into policy.yaml for people and policy.onnx for machines."""
    from planner.plan import read_plan
    from policies.check import stale
    from policies.compile import compile_plan
    from policies.file import graph_file_name, write_policy

    solved = read_plan(plan)
    compiled = compile_plan(
        solved,
        estimator=_estimator(solved, plan),
        graph_file=graph_file_name(output),
    )
    if not only_check:
        with writing(output):
            write_policy(compiled, output)
        click.echo(f"wrote {output} and {compiled.policy.graph_path(output)}", err=True)
        return
    findings = stale(compiled, output)
    for finding in findings:
        click.echo(finding.text())
    if findings:
        ctx.exit(ExitCode.FINDING)
    click.echo(f"{output} is what {plan} compiles to")


def _estimator(solved: Plan, path: Path) -> bytes | None:
    """The difficulty graph that the plan names, relative to the plan's folder."""
    if not solved.classes.estimator:
        return None
    estimator = path.parent / solved.classes.estimator
    try:
        return estimator.read_bytes()
    except OSError as error:
        raise InputError(
            "cannot read the difficulty graph of this plan",
            where=f"{path}: classes.estimator",
            expected=str(estimator),
            got=error.strerror,
            next_step="keep the graph beside the plan, where 'inferbudget plan' found it",
        ) from error


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
            click.echo(finding.text())
        click.echo(f"{policy}: {len(findings)} findings" if findings else f"{policy}: ok")
    if failed(findings):
        ctx.exit(ExitCode.FINDING)


@click.command("schema")
@click.argument("name", type=click.Choice(["spec", "plan", "policy"]))
def schema_command(name: str) -> None:
    """JSON Schema of a file format."""
    from policies.schema import schema_text

    click.echo(schema_text(name), nl=False)
