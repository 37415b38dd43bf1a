"""`inferbudget profile advise`: what to measure next, and what it is worth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import (
    INPUT,
    emit_json,
    emit_text,
    format_option,
    settings_option,
    store_option,
    usd,
)
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.advice.advice import Advice, Row


@click.command("advise")
@click.argument("spec", type=INPUT)
@store_option
@settings_option
@click.option(
    "--budget", type=click.FloatRange(min=0, min_open=True), help="Dollars to measure with."
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Most rows.")
@format_option
def advise_command(
    spec: Path,
    store_path: Path,
    settings: tuple[str, ...],
    budget: float | None,
    limit: int,
    output_format: str,
) -> None:
    """Which cells to measure further for SPEC: how many queries, at what cost, worth how much.

    A row's worth is what the certified plan is expected to improve by, in dollars per window of
    the spec's traffic. Each row stands alone.
    """
    from app.planning import ask
    from planner.advice.advise import advise
    from planner.fees.fixed_costs import refuse

    question = ask(spec, store_path, settings)
    refuse(question.spec, "what to measure next")
    found = advise(question.profile, question.spec, budget_usd=budget, limit=limit)
    if output_format == "json":
        emit_json(asdict(found))
    else:
        emit_text(advice_text(found))


def advice_text(found: Advice) -> str:
    """Advice as people read it: what stands in the way, then each cell with its reason."""
    return "\n\n".join([found.summary, *(row_text(row, found) for row in found.rows)])


def row_text(row: Row, found: Advice) -> str:
    """A line on what measuring a cell costs and brings, one with the strategy, one why."""
    cost = "an unknown cost" if row.cost_usd is None else f"{usd(row.cost_usd)} USD"
    head = f"{escaped(row.class_name)}: {row.queries:,} more queries for {cost}{_worth(row, found)}"
    return f"{head}\n  {row.strategy}\n  {row.reason}"


def _worth(row: Row, found: Advice) -> str:
    if row.value is None:
        return ""
    if row.value_usd is not None:
        less = ", less than that" if row.worth_it is False else ""
        return f", worth {usd(row.value_usd)} USD{less}"
    if found.blocked is not None:
        return f", {row.value:.3g} nearer to {found.blocked}"
    return f", worth {row.value:.3g} {found.unit}"
