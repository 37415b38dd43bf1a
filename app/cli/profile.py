"""`inferbudget profile`: import, measure and show."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import (
    FILE,
    emit_json,
    format_option,
    load_callable,
    load_named,
    pairs,
    progress_bar,
    store_option,
    workload_option,
)
from app.cli.reports import cell_table, import_text, measure_text
from profiles.errors import InputError
from profiles.observation import Evidence

if TYPE_CHECKING:
    from profiles.measure import MeasureReport
    from profiles.query import Query


@click.group()
def profile() -> None:
    """Fill and read the profile store."""


@profile.command("import")
@click.argument("file", type=FILE)
@store_option
@workload_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "tsv", "jsonl", "json", "parquet"]),
    help="Of FILE; from its name where absent.",
)
@click.option(
    "--columns", multiple=True, help="Our name=theirs, e.g. query=id,score=resolved,cost_usd=cost."
)
@click.option("--prompts", type=FILE, help="Table with a prompt (and class) for every query.")
@click.option("--constant", multiple=True, help="Column=value for every row, e.g. method=single.")
@click.option(
    "--evidence",
    type=click.Choice([kind.value for kind in Evidence]),
    default=Evidence.PUBLISHED.value,
    show_default=True,
    help="Where these numbers come from.",
)
@click.option(
    "--report",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="The import report on stdout.",
)
def import_command(
    file: Path,
    store_path: Path,
    workload: str,
    file_format: str | None,
    columns: tuple[str, ...],
    prompts: Path | None,
    constant: tuple[str, ...],
    evidence: str,
    output_format: str,
) -> None:
    """Read outcomes that were recorded elsewhere."""
    from profiles.importers import import_file
    from profiles.store import Store

    with Store.open(store_path) as store:
        report = import_file(
            store,
            file,
            workload=workload,
            format=file_format,
            columns=pairs(columns, "--columns"),
            prompts=prompts,
            constants=pairs(constant, "--constant"),
            evidence=Evidence(evidence),
        )
    if output_format == "json":
        emit_json(report.to_json())
    else:
        click.echo(import_text(report))


@profile.command("measure")
@click.argument("problems", type=FILE)
@store_option
@workload_option
@click.option("--upstream", required=True, help="OpenAI-compatible base URL, e.g. http://host/v1.")
@click.option("--strategy", "strategies", multiple=True, help="Strategy text; repeat for more.")
@click.option("--strategies", "strategy_file", type=FILE, help="File with one strategy a line.")
@click.option("--prices", "prices_path", type=FILE, help="Price card; costs stay unknown without.")
@click.option("--scorer", required=True, help="module:function(prompt, answer) -> 0..1.")
@click.option("--verifier", "verifiers", multiple=True, help="name=module:function; repeat.")
@click.option("--extractor", help="module:function(text) -> final answer, for votes.")
@click.option("--samples", type=click.IntRange(1), default=1, show_default=True)
@click.option("--concurrency", type=click.IntRange(1), default=16, show_default=True)
@format_option
def measure_command(
    problems: Path,
    store_path: Path,
    workload: str,
    upstream: str,
    strategies: tuple[str, ...],
    strategy_file: Path | None,
    prices_path: Path | None,
    scorer: str,
    verifiers: tuple[str, ...],
    extractor: str | None,
    samples: int,
    concurrency: int,
    output_format: str,
) -> None:
    """Run strategies on problems and keep what they achieved and cost.

    PROBLEMS is JSON lines with query, prompt and optionally class. What the store already holds is
    not paid for again, so a run that was interrupted resumes.
    """
    from profiles.measure import measure
    from profiles.money import PriceCard
    from profiles.store import Store
    from profiles.yaml_input import read_yaml
    from runtime.answering import answerer

    texts = [*strategies, *(_lines(strategy_file) if strategy_file else [])]
    if not texts:
        raise click.UsageError("give --strategy or --strategies")
    prices = read_yaml(prices_path, PriceCard) if prices_path else PriceCard()

    async def run() -> MeasureReport:
        async with answerer(
            upstream,
            prices=prices,
            verifiers=load_named(verifiers, "--verifier"),
            extract=load_callable(extractor) if extractor else None,
        ) as answer:
            with Store.open(store_path) as store, progress_bar("measured") as progress:
                return await measure(
                    store,
                    workload=workload,
                    problems=read_problems(problems),
                    strategies=texts,
                    answer=answer,
                    score=load_callable(scorer),
                    concurrency=concurrency,
                    samples=samples,
                    progress=progress,
                    source=upstream,
                )

    report = asyncio.run(run())
    if output_format == "json":
        emit_json(asdict(report))
    else:
        click.echo(measure_text(report))


@profile.command("show")
@store_option
@workload_option
@click.option("--classes", type=FILE, help="Difficulty graph; labels of the queries without.")
@format_option
def show_command(store_path: Path, workload: str, classes: Path | None, output_format: str) -> None:
    """Every cell: accuracy with interval, cost and tail, and how many queries they rest on."""
    from app.planning import open_profile
    from profiles.report import profile_rows

    found = open_profile(store_path, workload, classes)
    rows = profile_rows(found)
    if output_format == "json":
        emit_json({"workload": workload, "digest": found.digest, "cells": rows})
        return
    click.echo(f"{workload}: {found.queries} queries, profile {found.digest[:19]}")
    click.echo(cell_table(rows))


def read_problems(path: Path) -> list[Query]:
    """Problems from JSON lines with `query`, `prompt` and optionally `class`."""
    from profiles.query import Query

    found = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line)
            found.append(Query(str(row["query"]), str(row["prompt"]), row.get("class")))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                "this is not a problem",
                where=f"{path}:{number}",
                expected='{"query": "...", "prompt": "..."}',
                got=str(error),
            ) from error
    return found


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
