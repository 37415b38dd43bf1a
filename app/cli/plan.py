"""`inferbudget plan` and `inferbudget frontier`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.fee_lines import fee_lines
from app.cli.group_lines import group_lines
from app.cli.options import (
    INPUT,
    OUTPUT_OR_STDOUT,
    emit_json,
    emit_text,
    format_option,
    is_stdout,
    share,
    store_option,
    table,
    usd,
    writing,
)
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.frontiers.hindsight import Hindsight
    from planner.plan import Figures, Plan


@click.command()
@click.argument("spec", type=INPUT)
@store_option
@click.option(
    "-o",
    "--output",
    type=OUTPUT_OR_STDOUT,
    default=Path("plan.json"),
    show_default=True,
    help="The plan; '-' is stdout, and the text for people then goes to stderr.",
)
@format_option
def plan(spec: Path, store_path: Path, output: Path, output_format: str) -> None:
    """Solve SPEC over the measured profile for the best allocation that keeps its limits.

    SPEC is a file, or - for standard input; its paths are then relative to the working directory.
    """
    from app.planning import ask
    from planner.solve import solve
    from profiles.difficulty.sorting.combined import reads_labels

    question = ask(spec, store_path)
    graph = question.estimator
    solved = solve(
        question.profile,
        question.spec,
        prices=question.prices,
        estimator=_beside(graph, output) if graph else None,
        reads_labels=bool(graph and reads_labels(graph.read_bytes())),
    )
    to_stdout = is_stdout(output)
    if not to_stdout:
        with writing(output):
            solved.write(output)
    if to_stdout or output_format == "json":
        click.echo(solved.to_json(), nl=False)
    if output_format == "text":
        click.echo(plan_text(solved), err=to_stdout)
    if output_format == "text" and not to_stdout:
        emit_text(f"wrote {output}", err=True)


def _beside(estimator: Path, output: Path) -> str:
    """The difficulty graph as the plan names it: relative to the plan's own folder."""
    return Path(os.path.relpath(estimator, output.parent)).as_posix()


@click.command("frontier")
@click.argument("spec", type=INPUT)
@store_option
@click.option(
    "--points",
    type=click.IntRange(2, 1000),
    default=20,
    show_default=True,
    help="Points of the frontier.",
)
@click.option(
    "--per-query",
    is_flag=True,
    help="Choose query by query with every outcome known: what no runtime can exceed.",
)
@format_option
def frontier_command(
    spec: Path, store_path: Path, points: int, per_query: bool, output_format: str
) -> None:
    """What accuracy costs: the best allocation at rising spend."""
    from app.planning import ask, ask_in_hindsight
    from planner.frontiers.frontier import frontier

    if per_query:
        bound = ask_in_hindsight(spec, store_path, points)
        if output_format == "json":
            emit_json({"bound": "hindsight", "missing": bound.missing, **asdict(bound)})
        else:
            click.echo(hindsight_text(bound))
        return
    found = frontier(ask(spec, store_path).planner(), points=points)
    if output_format == "json":
        emit_json({"points": [asdict(point) for point in found]})
        return
    rows = [
        (usd(point.usd_per_request), share(point.accuracy), share(point.promised_accuracy))
        for point in found
    ]
    click.echo(table(rows, ("USD per request", "accuracy", "promised")))


def hindsight_text(bound: Hindsight) -> str:
    """The bound as people read it: what it is, what it rests on, some of its points."""
    lines = [
        f"{escaped(bound.workload)} in hindsight: {bound.queries} queries, {bound.strategies} "
        f"strategies, {bound.outcomes} outcomes",
        "an upper bound that no runtime can reach: each query's strategy is chosen with its "
        "outcomes known; limits of the spec are left out",
    ]
    if bound.missing:
        lines.append(
            f"note: {bound.missing} more were not measured and could not be chosen; with them the "
            "bound may be higher"
        )
    if bound.left_out:
        lines.append(
            f"note: left out, since no strategy of the spec answered them or its mix has no place "
            f"for their class: {bound.left_out} of {bound.left_out + bound.queries} queries"
        )
    prices = [point.usd_per_further_correct_answer for point in bound.points]
    rows = [
        (usd(point.usd_per_request), share(point.accuracy), "none" if price is None else usd(price))
        for point, price in zip(bound.points, prices, strict=True)
    ]
    header = ("USD per request", "accuracy", "USD per further correct answer")
    lines += ["", table(rows, header)]
    lines += ["", f"{len(bound.points)} of {bound.breakpoints} breakpoints"]
    return "\n".join(lines)


def plan_text(solved: Plan) -> str:
    """A plan as people read it: promises per rung, then who answers what."""
    lines = [f"{solved.workload}: {solved.status}, digest {solved.digest[:19]}"]
    lines += [f"warning: {escaped(text)}" for text in solved.warnings]
    rows = [
        (f"{rung.budget_fraction:.2f}", *_figures(rung.expected), *_figures(rung.promised))
        for rung in solved.rungs
    ]
    header = ("rung", "accuracy", "USD/request", "p95 s", "promised", "USD/request", "p95 s")
    lines += ["", table(rows, header), ""]
    allocation = [
        (f"{rung.budget_fraction:.2f}", name, share(part), text)
        for rung in solved.rungs
        for name in solved.classes.names
        for text, part in sorted(rung.allocation[name].items(), key=lambda item: -item[1])
    ]
    lines += [table(allocation, ("rung", "class", "share", "strategy")), ""]
    lines += group_lines(solved)
    lines += fee_lines(solved)
    single = solved.best_single_strategy
    if single:
        accuracy, cost, p95 = _figures(single.expected)
        lines.append(
            f"best single strategy within the limits: {single.strategy} "
            f"({accuracy}, {cost} USD/request, p95 {p95} s)"
        )
    else:
        lines.append("no single strategy keeps the limits")
    return "\n".join(lines)


def _figures(figures: Figures) -> tuple[str, str, str]:
    p95 = "n/a" if figures.latency_p95_s is None else f"{figures.latency_p95_s:.3g}"
    return share(figures.accuracy), usd(figures.cost_usd_per_request), p95
