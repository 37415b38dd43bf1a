"""`inferbudget plan SPEC`: the best allocation that keeps the limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import (
    INPUT,
    OUTPUT_OR_STDOUT,
    emit_text,
    is_stdout,
    report_format_option,
    settings_option,
    store_option,
    writing,
)
from app.cli.plan.in_time import time_limit_option
from app.cli.plan.report import plan_markdown, plan_text

if TYPE_CHECKING:
    from planner.plan import Plan


@click.command("plan")
@click.argument("spec", type=INPUT)
@store_option
@settings_option
@click.option(
    "-o",
    "--output",
    type=OUTPUT_OR_STDOUT,
    default=Path("plan.json"),
    show_default=True,
    help="The plan; '-' is stdout, and what people read then goes to stderr.",
)
@time_limit_option
@report_format_option
def solve_command(
    spec: Path,
    store_path: Path,
    settings: tuple[str, ...],
    output: Path,
    time_limit_s: float,
    output_format: str,
) -> None:
    """Solve SPEC over the measured profile for the best allocation that keeps its limits.

    SPEC is a file, or - for standard input; its paths are then relative to the working directory.
    A file that has the name of a command is written ./NAME.
    """
    from app.planning import ask
    from planner.solve import solve
    from profiles.difficulty.sorting.combined import reads_labels

    question = ask(spec, store_path, settings)
    graph = question.estimator
    solved = solve(
        question.profile,
        question.spec,
        prices=question.prices,
        estimator=_beside(graph, output) if graph else None,
        reads_labels=bool(graph and reads_labels(graph.read_bytes())),
        time_limit_s=time_limit_s,
    )
    to_stdout = is_stdout(output)
    if not to_stdout:
        with writing(output):
            solved.write(output)
    if to_stdout or output_format == "json":
        click.echo(solved.to_json(), nl=False)
    if output_format == "json":
        return
    emit_text(_in(output_format, solved), err=to_stdout)
    if not to_stdout:
        emit_text(f"wrote {output}", err=True)


def _in(output_format: str, solved: Plan) -> str:
    return plan_markdown(solved) if output_format == "markdown" else plan_text(solved)


def _beside(estimator: Path, output: Path) -> str:
    """The difficulty graph as the plan names it: relative to the plan's own folder."""
    return Path(os.path.relpath(estimator, output.parent)).as_posix()
