"""`inferbudget plan explain`: what limits cost, who is left out and why, what would flip it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.markdown import Written, piped
from app.cli.options import (
    INPUT,
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
    help="Most re-solves for prices at which strategies enter, and for what flips the plan, each.",
)
@time_limit_option
@report_format_option
def explain_command(
    spec: Path,
    store_path: Path,
    settings: tuple[str, ...],
    solves: int,
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
        found = explanation(planner, most_solves=solves, advance=advance)
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
        yield from items(words.limit_words(facts, found.objective) for facts in found.limits)
    yield from section("What promises cost")
    yield write(_without(found), ("plan", *_FIGURES, *_PROMISED))
    yield ""
    yield from items(words.alternative_words(one, found) for one in found.without)
    yield from section("Who answers, and who does not")
    rows = [(one.strategy, share(one.share), words.strategy_words(one)) for one in found.strategies]
    yield write(rows, ("strategy", "of requests", "why"))
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
    yield from (f"{'note: ' if not strong else item}{escaped(text)}" for text in _notes(found))


def _notes(found: Explanation) -> Iterator[str]:
    if any(one.dominated_by for one in found.strategies):
        compared = ", ".join(found.compared)
        yield f"dominated: no better in any of {compared}, and worse in one, by best estimates"
    yield (
        f"a flip is a cell that gets or loses {100 * found.seen:g} % of its class or more, at the "
        f"smallest change of its kind up to {100 * found.most_change:g} %, found to within "
        f"{100 * found.tolerance:g} points"
    )
    yield from found.notes


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


def as_json(found: Explanation) -> dict[str, Any]:
    """The same for scripts, with its sentences; what is unknown is null."""
    from planner.explaining import words

    limits = [
        asdict(facts) | {"words": words.limit_words(facts, found.objective)}
        for facts in found.limits
    ]
    without = [
        {
            "without": other.without,
            "expected": other.expected.model_dump(),
            "promised": other.promised.model_dump(),
            "words": words.alternative_words(other, found),
        }
        for other in found.without
    ]
    strategies = [asdict(one) | {"words": words.strategy_words(one)} for one in found.strategies]
    flips = [
        asdict(flip) | {"words": words.flip_words(flip, found.tolerance)} for flip in found.flips
    ]
    return {
        "workload": found.workload,
        "objective": found.objective.value,
        "confidence": found.confidence,
        "value": found.value,
        "expected": found.expected.model_dump(),
        "promised": found.promised.model_dump(),
        "allocation": found.allocation,
        "limits": limits,
        "without": without,
        "compared": found.compared,
        "strategies": strategies,
        "flips": flips,
        "untried": found.untried,
        "most_change": found.most_change,
        "tolerance": found.tolerance,
        "seen": found.seen,
        "knee": asdict(found.knee) if found.knee else None,
        "place": found.place,
        "advice": asdict(found.advice) if found.advice else None,
        "notes": list(_notes(found)),
    }
