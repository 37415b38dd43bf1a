"""`inferbudget plan explain`: what limits cost, who is left out and why, what would flip it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.markdown import Written, piped
from app.cli.options import (
    INPUT,
    FiniteRange,
    emit_json,
    emit_text,
    figures,
    progress_bar,
    report_format_option,
    settings_option,
    share,
    store_option,
    table,
)
from app.cli.plan.in_time import time_limit_option
from app.explained import as_json, notes
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.explaining.report import Explanation, LimitFacts


@click.command("explain")
@click.argument("spec", type=INPUT)
@store_option
@settings_option
@click.option(
    "--solves",
    type=click.IntRange(0, 100_000),
    default=400,
    show_default=True,
    help="Most re-solves for prices at which strategies enter, for what flips the plan, and for "
    "what matters most, each.",
)
@click.option(
    "--swing",
    type=FiniteRange(0.001, 0.9),
    default=0.2,
    show_default=True,
    help="By how much each number is changed to see what matters most.",
)
@time_limit_option
@report_format_option
def explain_command(
    spec: Path,
    store_path: Path,
    settings: tuple[str, ...],
    solves: int,
    swing: float,
    time_limit_s: float,
    output_format: str,
) -> None:
    """Explain SPEC's plan: what limits cost, why strategies are left out, what would flip it.

    SPEC is a file, or - for standard input; its paths are then relative to the working directory.
    Nothing is written. Where no plan keeps the limits it says what clashes, as plan does.
    """
    from app.planning import ask
    from planner.explaining.explanation import explanation

    planner = ask(spec, store_path, settings).planner(time_limit_s)
    with progress_bar("re-solves") as advance:
        found = explanation(planner, most_solves=solves, swing=swing, advance=advance)
    if output_format == "json":
        emit_json(as_json(found))
    elif output_format == "markdown":
        emit_text("\n".join(_lines(found, piped, "**", "- ")))
    else:
        emit_text("\n".join(_lines(found, table, "", "  ")))


def _lines(found: Explanation, write: Written, strong: str, item: str) -> Iterator[str]:
    from planner.explaining import words

    def section(title: str) -> Iterator[str]:
        yield from ("", f"{strong}{title}{strong}", "")

    def items(texts: Iterator[str]) -> Iterator[str]:
        yield from (f"{item}{escaped(text)}" for text in texts)

    sure = "on point estimates, no margin"
    if found.confidence is not None:
        sure = f"promises with {100 * found.confidence:g} % confidence"
    yield f"{strong}{escaped(found.workload)}{strong}: {found.objective.value}, {sure}"
    if found.limits:
        yield from section("What limits cost")
        rows = [_of_limit(facts) for facts in found.limits]
        yield write(rows, ("limit", "asked", "promised", "binds"))
        yield ""
        yield from items(words.limit_words(facts, found) for facts in found.limits)
    yield from section("What promises cost")
    yield write(_without(found), ("plan", *_FIGURES, *_PROMISED))
    yield ""
    yield from items(words.alternative_words(one, found) for one in found.without)
    yield from section("Who answers, and who does not")
    rows = [(one.strategy, share(one.share), words.strategy_words(one)) for one in found.strategies]
    yield write(rows, ("strategy", "of requests", "why"))
    yield from section("What matters most")
    yield from _swings(found, write, item)
    yield from section("What would flip it")
    yield from items(words.flip_words(flip, found.tolerance) for flip in found.flips)
    quiet = words.quiet_words(found)
    if quiet:
        yield f"{item}{quiet}"
    if found.knee:
        yield from section("The knee")
        yield from items(words.knee_words(found))
    if found.advice:
        yield from section("What to measure next")
        yield from items(words.advice_words(found))
    yield ""
    yield from (f"{'note: ' if not strong else item}{escaped(text)}" for text in notes(found))


def _swings(found: Explanation, write: Written, item: str) -> Iterator[str]:
    from planner.explaining import swing_words as words
    from planner.explaining.words import currency

    mattering = [one for one in found.swings if one.matters]
    rows = [
        (
            words.subject_words(one.kind, one.name),
            words.side_words(one.less, found),
            words.side_words(one.more, found),
            words.edge_words(one, found),
        )
        for one in mattering[:_MOST_SWINGS]
    ]
    by = f"{100 * found.swing:g} %"
    if rows:
        yield write(rows, ("one number", f"{by} less", f"{by} more", "flips the plan at"))
        yield ""
        yield f"{item}counted in {currency(found.objective).unit}"
    more = len(mattering) - len(rows)
    if more:
        yield f"{item}{more} more matter less; JSON has them"
    idle = len(found.swings) - len(mattering)
    if idle:
        yield f"{item}{idle} change nothing"
    if found.unswung:
        yield f"{item}{words.unswung_words(found)}"


_MOST_SWINGS = 12
_FIGURES = ("accuracy", "USD/request", "p95 s")
_PROMISED = ("promised", "USD/request", "p95 s")


def _of_limit(facts: LimitFacts) -> tuple[str, ...]:
    from planner.explaining.words import promised_words
    from planner.limit_names import in_words

    value = in_words(facts.name, facts.asked)
    return facts.name, value, promised_words(facts), "yes" if facts.binds else "no"


def _without(found: Explanation) -> Iterator[tuple[str, ...]]:
    yield "as asked", *figures(found.expected), *figures(found.promised)
    for other in found.without:
        name = f"without {other.without}"
        yield name, *figures(other.expected), *figures(other.promised)
