"""`inferbudget compile`: a plan made enforceable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import (
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
    from planner.plan import Plan


@click.command("compile")
@click.argument("plan", type=INPUT)
@click.option(
    "-o",
    "--output",
    type=OUTPUT_OR_STDOUT,
    default=Path("policy.yaml"),
    show_default=True,
    help="The policy, its graph and its schema beside it; '-' is the YAML alone, on stdout.",
)
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; exit 1 when a file is stale."
)
@click.option(
    "--tenant", metavar="NAME", help="The tenant that the policy is for, of a plan with tenants."
)
@format_option
@click.pass_context
def compile_command(
    ctx: click.Context,
    plan: Path,
    output: Path,
    only_check: bool,
    tenant: str | None,
    output_format: str,
) -> None:
    """Turn PLAN into policy.yaml for people and policy.onnx for machines.

    PLAN is a file, or - for standard input; the difficulty graph that it names is then looked for
    from the working directory.
    """
    from planner.plan import read_plan
    from policies.compile import compile_plan
    from policies.file import graph_file_name, write_policy
    from policies.staleness import stale
    from policies.text import SCHEMA_FILE, policy_text

    to_stdout = is_stdout(output)
    if to_stdout and (only_check or output_format == "json"):
        raise click.UsageError("-o - writes the YAML to stdout: leave --check and --format out")
    solved = read_plan(plan)
    compiled = compile_plan(
        solved if tenant is None else solved.of_tenant(tenant),
        estimator=_estimator(solved, plan),
        graph_file=graph_file_name(Path("policy.yaml") if to_stdout else output),
    )
    policy = compiled.policy
    if to_stdout:
        click.echo(policy_text(policy), nl=False)
        return
    files = {
        "policy": str(output),
        "graph": str(policy.graph_path(output)),
        "schema": str(output.parent / SCHEMA_FILE),
    }
    findings = stale(compiled, output) if only_check else []
    if not only_check:
        with writing(output):
            write_policy(compiled, output)
        emit_text(f"wrote {files['policy']} and {files['graph']}", err=True)
    if output_format == "json":
        said = {"findings": [finding.as_dict() for finding in findings]} if only_check else {}
        emit_json({**files, "digest": policy.digest, **said})
    elif only_check:
        texts = [finding.text() for finding in findings]
        emit_text("\n".join(texts) or f"{output} is what {plan} compiles to")
    if findings:
        ctx.exit(ExitCode.FINDING)


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
