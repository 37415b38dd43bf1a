"""`inferbudget frontier`: what accuracy costs, and where more of it stops paying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.markdown import Written, piped
from app.cli.options import (
    INPUT,
    emit_json,
    emit_text,
    report_format_option,
    settings_option,
    share,
    store_option,
    table,
    usd,
)
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.frontiers.frontier import FrontierPoint
    from planner.frontiers.hindsight import Hindsight
    from planner.frontiers.knee import Knee


@click.command("frontier")
@click.argument("spec", type=INPUT)
@store_option
@settings_option
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
@report_format_option
def frontier_command(
    spec: Path,
    store_path: Path,
    settings: tuple[str, ...],
    points: int,
    per_query: bool,
    output_format: str,
) -> None:
    """What accuracy costs: the best allocation at rising spend."""
    from app.planning import ask, ask_in_hindsight
    from planner.frontiers.frontier import frontier
    from planner.frontiers.knee import knee
    from planner.frontiers.singles import singles

    write = piped if output_format == "markdown" else table
    if per_query:
        bound = ask_in_hindsight(spec, store_path, points, settings)
        if output_format == "json":
            emit_json({"bound": "hindsight", "missing": bound.missing, **asdict(bound)})
        else:
            emit_text("\n".join(hindsight_lines(bound, write)))
        return
    planner = ask(spec, store_path, settings).planner()
    found = frontier(planner, points=points)
    bend = knee(found)
    if output_format == "json":
        knee_found = asdict(bend) if bend else None
        alone = [
            {
                "strategy": one.strategy,
                "expected": one.expected.model_dump(),
                "promised": one.promised.model_dump(),
                "kept": one.kept,
            }
            for one in singles(planner)
        ]
        emit_json(
            {"points": [asdict(point) for point in found], "knee": knee_found, "singles": alone}
        )
    else:
        emit_text("\n".join(frontier_lines(found, bend, write)))


def frontier_lines(
    points: Sequence[FrontierPoint], bend: Knee | None, write: Written
) -> Iterator[str]:
    """The points as people read them, and the knee."""
    from planner.explaining.words import bend_words

    rows = [
        (
            usd(point.usd_per_request),
            share(point.accuracy),
            share(point.promised_accuracy),
            "knee" if bend and number == bend.index else "",
        )
        for number, point in enumerate(points)
    ]
    yield write(rows, ("USD per request", "accuracy", "promised", ""))
    if bend:
        yield ""
        yield bend_words(bend)


def hindsight_lines(bound: Hindsight, write: Written) -> Iterator[str]:
    """The bound as people read it: what it is, what it rests on, some of its points."""
    yield (
        f"{escaped(bound.workload)} in hindsight: {bound.queries} queries, {bound.strategies} "
        f"strategies, {bound.outcomes} outcomes"
    )
    yield (
        "an upper bound that no runtime can reach: each query's strategy is chosen with its "
        "outcomes known; limits of the spec are left out"
    )
    if bound.missing:
        yield (
            f"note: {bound.missing} more were not measured and could not be chosen; with them the "
            "bound may be higher"
        )
    if bound.left_out:
        yield (
            f"note: left out, since no strategy of the spec answered them or its mix has no place "
            f"for their class: {bound.left_out} of {bound.left_out + bound.queries} queries"
        )
    prices = [point.usd_per_further_correct_answer for point in bound.points]
    rows = [
        (usd(point.usd_per_request), share(point.accuracy), "none" if price is None else usd(price))
        for point, price in zip(bound.points, prices, strict=True)
    ]
    yield ""
    yield write(rows, ("USD per request", "accuracy", "USD per further correct answer"))
    yield ""
    yield f"{len(bound.points)} of {bound.breakpoints} breakpoints"
