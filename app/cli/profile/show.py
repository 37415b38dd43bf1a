"""`inferbudget profile show`: every cell with what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.options import (
    FILE,
    FiniteRange,
    emit_json,
    emit_text,
    format_option,
    share,
    store_option,
    table,
    usd,
    workload_option,
)
from profiles.visible import escaped

if TYPE_CHECKING:
    from profiles.aggregate import Aggregate

MOST_DAYS = 36_500.0
"""Older than which no row has to be to count as stale."""


@click.command("show")
@store_option
@workload_option
@click.option("--classes", type=FILE, help="Difficulty graph; labels of the queries without.")
@click.option("--coverage", is_flag=True, help="What each class and strategy rests on, as a grid.")
@click.option(
    "--stale-after",
    type=FiniteRange(0, MOST_DAYS),
    metavar="DAYS",
    help="Cells whose newest row is older count as stale; without it none does.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    help="Times, GPU-seconds and energy only of rows measured at this level.",
)
@click.option(
    "--prices",
    type=FILE,
    help="Price card for rows without recorded dollars; the store's cards where absent.",
)
@click.option(
    "--latency-limit",
    "latency_limits",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    metavar="SECONDS",
    help="How often is it slower, by a smoothed tail also beyond what was seen; may be repeated.",
)
@format_option
def show_command(
    store_path: Path,
    workload: str,
    classes: Path | None,
    coverage: bool,
    stale_after: float | None,
    concurrency: int | None,
    prices: Path | None,
    latency_limits: tuple[float, ...],
    output_format: str,
) -> None:
    """Every cell: accuracy and cost with intervals, tail, and how many queries they rest on."""
    from app.stored import read_stored
    from profiles.cells.coverage import coverage_rows
    from profiles.cells.report import profile_rows
    from profiles.pricing.prices import read_dated_card

    card = read_dated_card(prices) if prices else None
    stored = read_stored(store_path, workload, classes, prices=card, concurrency=concurrency)
    found = stored.profile
    rows = profile_rows(found, latency_limits_s=latency_limits)
    states = coverage_rows(found, stale_after_days=stale_after)
    if output_format == "json":
        emit_json(
            {
                "workload": workload,
                "digest": found.digest,
                "cells": rows,
                "coverage": states,
                "set_aside": [_aggregate_row(a) for a in stored.set_aside],
            }
        )
        return
    emit_text(f"{workload}: {found.queries} queries, profile {found.digest[:19]}")
    emit_text(_grid(states) if coverage else _table(rows, latency_limits))
    for source in stored.publications:
        emit_text(f"published: {source}")
    for aggregate in stored.set_aside:
        emit_text(f"note: {set_aside_text(aggregate)}")


def _aggregate_row(aggregate: Aggregate) -> dict[str, Any]:
    return {
        "class": aggregate.class_name,
        "strategy": aggregate.strategy,
        "queries": aggregate.queries,
        "accuracy": aggregate.accuracy,
        "cost_usd": aggregate.cost_usd,
        "source": aggregate.source,
        "reason": _REASON,
    }


_REASON = "its class is none of this profile's"


def set_aside_text(aggregate: Aggregate) -> str:
    """Which published means are no cell, and why."""
    return (
        f"published {aggregate.strategy} in class {aggregate.class_name}, "
        f"{share(aggregate.accuracy)}, is no cell: {_REASON}"
    )


def _interval(row: dict[str, Any]) -> str:
    if row["accuracy_low"] is None:
        return "n/a"
    return f"{share(row['accuracy_low'])} .. {share(row['accuracy_high'])}"


def _compute(row: dict[str, Any]) -> str:
    return "n/a" if row["compute"] is None else f"{row['compute']:.4g}"


def _table(rows: list[dict[str, Any]], latency_limits: Sequence[float]) -> str:
    unit = next((row["compute_unit"] for row in rows if row["compute_unit"]), None)
    shown = [
        (
            row["class"],
            "n/a" if row["queries"] is None else row["queries"],
            share(row["accuracy"]),
            _interval(row),
            _cost(row),
            _cost_interval(row),
            *([_compute(row)] if unit else []),
            "n/a" if row["latency_p95_s"] is None else f"{row['latency_p95_s']:.3g}",
            *(share(at["share"]) for at in row.get("exceedance", ())),
            ", ".join(row["evidence"]),
            row["strategy"],
        )
        for row in rows
    ]
    interval = "95 % interval"
    header = ("class", "queries", "accuracy", interval, "USD/request", interval)
    slower = (f"over {limit_s:g} s" for limit_s in latency_limits)
    units = [escaped(unit)] if unit else []
    return table(shown, (*header, *units, "p95 s", *slower, "evidence", "strategy"))


def _cost(row: dict[str, Any]) -> str:
    """A star marks dollars that were computed from prices, of all rows or some."""
    return usd(row["cost_usd"]) + ("*" if row["cost_priced"] else "")


def _cost_interval(row: dict[str, Any]) -> str:
    if row["cost_low_usd"] is None:
        return "n/a"
    return f"{usd(row['cost_low_usd'])} .. {usd(row['cost_high_usd'])}"


def _grid(states: list[dict[str, Any]]) -> str:
    """Strategies down, classes across: a state and the queries behind it."""
    by_key = {(row["class"], row["strategy"]): row for row in states}
    classes = list(dict.fromkeys(row["class"] for row in states))
    strategies = list(dict.fromkeys(row["strategy"] for row in states))
    lines = [
        [strategy, *(_state(by_key[name, strategy]) for name in classes)] for strategy in strategies
    ]
    return table(lines, ["strategy", *classes])


def _state(row: dict[str, Any]) -> str:
    if row["state"] == "missing":
        return "missing"
    return f"{row['state']} {'n/a' if row['queries'] is None else row['queries']}"
