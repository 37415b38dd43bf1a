"""`inferbudget profile advise`: what to measure next, and what it is worth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import FILE, emit_json, format_option, store_option, table, usd

if TYPE_CHECKING:
    from planner.advise import Advice


@click.command("advise")
@click.argument("spec", type=FILE)
@store_option
@click.option(
    "--budget", type=click.FloatRange(min=0, min_open=True), help="Dollars to measure with."
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows.")
@format_option
def advise_command(
    spec: Path, store_path: Path, budget: float | None, limit: int, output_format: str
) -> None:
    """Which cells to measure further for SPEC: how many queries, at what cost, worth how much.

    A row's worth is what the certified plan is expected to improve by, in dollars per window of
    the spec's traffic. Each row stands alone.
    """
    from app.planning import ask
    from planner.advise import advise

    question = ask(spec, store_path)
    found = advise(question.profile, question.spec, budget_usd=budget, limit=limit)
    if output_format == "json":
        emit_json(asdict(found))
    else:
        click.echo(advice_text(found))


def advice_text(found: Advice) -> str:
    """Advice as people read it: what stands in the way, then the list."""
    rows = [
        (
            row.class_name,
            row.strategy,
            row.queries,
            usd(row.cost_usd),
            usd(row.value_usd),
            f"{row.value:.3g}",
            row.reason,
        )
        for row in found.rows
    ]
    header = ("class", "strategy", "more", "cost USD", "worth USD", found.unit, "why")
    return found.summary + ("\n\n" + table(rows, header) if rows else "")
