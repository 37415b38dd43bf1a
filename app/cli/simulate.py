"""`inferbudget simulate`: how far a plan can be trusted, shown beside the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.markdown import piped
from app.cli.options import (
    INPUT,
    emit_json,
    emit_text,
    progress_bar,
    report_format_option,
    share,
    store_option,
    table,
    usd,
)
from profiles.visible import escaped

if TYPE_CHECKING:
    from app.simulating import Trust
    from planner.plan import Figures
    from planner.trials.simulate import Contender, Kept, Premium, Simulation

Written = Callable[[Iterable[Iterable[object]], Iterable[str]], str]

SHARES = (
    "a request that several strategies share counts as its expectation: the draw of who answers "
    "adds noise that is not judged"
)
CLASS_FLOORS = (
    "a floor of a class promises its long-run mean; the judged half adds noise that no promise "
    "covers"
)
ONE_TABLE = (
    "halves of one table are no fresh traffic: what is lucky in one is missing in the other; and "
    "+- is the noise of resplitting, not that of the table"
)


@click.command("simulate")
@click.argument("spec", type=INPUT)
@store_option
@click.option(
    "--resplits",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="How often the queries are dealt to two halves.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the halves.")
@report_format_option
def simulate_command(
    spec: Path, store_path: Path, resplits: int, seed: int, output_format: str
) -> None:
    """How far SPEC's plan can be trusted: promises kept on held-out halves, and under drift.

    SPEC is a file, or - for standard input; its paths are then relative to the working directory.
    """
    from app.planning import ask
    from app.simulating import trust

    question = ask(spec, store_path)
    with progress_bar("resplits") as advance:
        found = trust(question, store_path, resplits=resplits, seed=seed, advance=advance)
    if output_format == "json":
        emit_json(as_json(found))
    else:
        emit_text(markdown(found) if output_format == "markdown" else text(found))


def text(found: Trust) -> str:
    """The plan's figures, both tables, and what they leave out, for people."""
    return "\n".join(_lines(found, table, "", "note: "))


def markdown(found: Trust) -> str:
    """The same for a pull request."""
    return "\n".join(_lines(found, piped, "**", "- "))


def _lines(found: Trust, write: Written, strong: str, note: str) -> Iterator[str]:
    done = found.simulation
    expected, promised = _figures(found.rung.expected), _figures(found.rung.promised)
    sure = "on point estimates, no margin"
    if done.confidence is not None:
        sure = f"promises with {100 * done.confidence:g} % confidence"
    yield f"{strong}{escaped(found.workload)}{strong}: the plan, {sure}"
    yield ""
    yield write([("expected", *expected), ("promised", *promised)], ("", *_FIGURES))
    yield ""
    alike = "" if done.groups == done.queries else f" in {done.groups} groups of near-duplicates"
    yield (
        f"{strong}{done.resplits} resplits{strong} of {done.queries} queries{alike}, seed "
        f"{done.seed}: planned on one half, judged by the other"
    )
    yield ""
    yield write(_of_resplits(done), ("", *(way.name for way in done.contenders)))
    yield ""
    yield from (_in_words(premium) for premium in done.premiums)
    yield ""
    yield f"{strong}The plan's own shares where inputs drift{strong}"
    yield ""
    yield write(_of_stress(found), ("", *_FIGURES, "anew: accuracy", "USD/request", "breaks"))
    yield ""
    yield from (f"{note}{escaped(remark)}" for remark in _remarks(found))


def _remarks(found: Trust) -> list[str]:
    """What neither table shows, and how far the first can be believed."""
    floors = found.simulation.contenders[0].promises
    of_classes = any(one.promise.startswith("accuracy.by_class.") for one in floors)
    return [
        *(f"no row for {reason}" for reason in found.stress.left_out),
        *found.remarks,
        SHARES,
        *([CLASS_FLOORS] if of_classes else []),
        ONE_TABLE,
    ]


_FIGURES = ("accuracy", "USD/request", "p95 s")


def _figures(figures: Figures) -> tuple[str, str, str]:
    p95 = "n/a" if figures.latency_p95_s is None else f"{figures.latency_p95_s:.3g}"
    return share(figures.accuracy), usd(figures.cost_usd_per_request), p95


def _of_resplits(done: Simulation) -> Iterator[tuple[str, ...]]:
    """A row per figure, a column per way of planning."""
    ways = done.contenders
    yield "refused", *(share(way.refused / done.resplits) for way in ways)
    if any(way.unjudged for way in ways):
        yield "not measured", *(share(way.unjudged / done.resplits) for way in ways)
    for promise in ways[0].promises:
        yield f"kept {_named(promise)}", *(_kept(way, promise.promise) for way in ways)
    yield "median accuracy", *(share(way.accuracy) for way in ways)
    yield "median USD/request", *(usd(way.usd_per_request) for way in ways)


def _named(promise: Kept) -> str:
    if promise.limit is None:
        return f"its own {promise.promise}"
    side = "at least" if promise.promise.startswith("accuracy") else "at most"
    return f"{promise.promise} {side} {promise.limit:g}"


def _kept(way: Contender, name: str) -> str:
    for one in way.promises:
        if one.promise == name and one.share is not None and one.error is not None:
            return f"{100 * one.share:.1f} +- {100 * one.error:.1f} %"
    return "n/a"


def _in_words(premium: Premium) -> str:
    over = {"naive plan": "the naive plan", "oracle": "one who knows the judged half"}
    if premium.usd_per_request is None:
        return f"no resplit has both the plan and {over[premium.over]}, with known costs"
    more = "more" if premium.usd_per_request >= 0 else "less"
    part = "" if premium.relative is None else f" ({100 * abs(premium.relative):.1f} %)"
    return (
        f"The plan costs {usd(abs(premium.usd_per_request))} USD a request{part} {more} than "
        f"{over[premium.over]}: median of {premium.resplits} resplits."
    )


def _of_stress(found: Trust) -> Iterator[tuple[str, ...]]:
    for row in found.stress.rows:
        anew = ("no plan", "n/a")
        if row.planned_anew is not None:
            anew = _figures(row.planned_anew)[:2]
        yield row.drift, *_figures(row.expected), *anew, ", ".join(row.breaks) or "nothing"


def as_json(found: Trust) -> dict[str, Any]:
    """The same for scripts; what is unknown is null."""
    done = found.simulation
    return {
        "workload": found.workload,
        "confidence": done.confidence,
        "plan": found.rung.model_dump(mode="json"),
        "resplits": {
            "resplits": done.resplits,
            "seed": done.seed,
            "queries": done.queries,
            "groups_of_near_duplicates": done.groups,
            "ways_of_planning": [_way(way) for way in done.contenders],
            "premiums": [asdict(premium) for premium in done.premiums],
        },
        "stress": [
            {
                "drift": row.drift,
                "expected": row.expected.model_dump(),
                "breaks": row.breaks,
                "planned_anew": row.planned_anew.model_dump() if row.planned_anew else None,
            }
            for row in found.stress.rows
        ],
        "notes": _remarks(found),
    }


def _way(way: Contender) -> dict[str, Any]:
    promises = [
        asdict(one) | {"share": one.share, "standard_error": one.error} for one in way.promises
    ]
    return asdict(way) | {"promises": promises}
