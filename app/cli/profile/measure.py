"""`inferbudget profile measure`: run strategies on problems and keep what came of it."""

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
    progress_bar,
    store_option,
    workload_option,
)
from app.cli.reports import measure_text
from profiles.errors import InputError

if TYPE_CHECKING:
    from profiles.measure import MeasureReport
    from profiles.query import Query


@click.command("measure")
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
