"""`inferbudget break-even`: from how many requests on which fixed costs pay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.markdown import piped
from app.cli.options import (
    INPUT,
    emit_json,
    progress_bar,
    report_format_option,
    share,
    store_option,
    table,
    usd,
)
from profiles.errors import InputError
from profiles.visible import escaped

if TYPE_CHECKING:
    from planner.fees.break_even import BreakEven, Comparison
    from planner.fees.fixed_costs import Deployment

Rows = list[tuple[str, ...]]
Written = Callable[[Iterable[Iterable[object]], Iterable[str]], str]


@click.command("break-even")
@click.argument("spec", type=INPUT)
@store_option
@click.option(
    "--volumes",
    help="Requests per window to state totals for, separated by commas; the spec's where absent.",
)
@click.option(
    "--draws",
    type=click.IntRange(20, 100_000),
    default=200,
    show_default=True,
    help="Profiles drawn anew, behind the intervals.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@report_format_option
def break_even_command(
    spec: Path, store_path: Path, volumes: str | None, draws: int, seed: int, output_format: str
) -> None:
    """Train or think longer: which of SPEC's fixed costs pay, and from how many requests on.

    SPEC is a file, or - for standard input; its paths are then relative to the working directory.
    """
    from app.planning import ask
    from planner.fees.break_even import break_even

    question = ask(spec, store_path)
    with progress_bar("draws") as advance:
        found = break_even(
            question.profile,
            question.spec,
            volumes=_volumes(volumes),
            draws=draws,
            seed=seed,
            advance=advance,
        )
    if output_format == "json":
        emit_json(as_json(found))
    else:
        click.echo(markdown(found) if output_format == "markdown" else text(found))


def _volumes(written: str | None) -> list[float]:
    try:
        return [float(part) for part in written.split(",")] if written else []
    except ValueError as error:
        raise InputError(
            "these are not numbers of requests",
            where="--volumes",
            expected="e.g. 10000,100000",
            got=written,
        ) from error


def text(found: Comparison) -> str:
    """A comparison for people."""
    from planner.fees.break_even_in_words import sentences

    lines = [f"{escaped(found.spec.workload)}: {_basis(found)}"]
    return "\n".join(
        [*lines, *map(escaped, sentences(found)), *_tables(found, table), *_use(found)]
    )


def markdown(found: Comparison) -> str:
    """A comparison for a pull request."""
    from planner.fees.break_even_in_words import sentences

    lines = [f"**{escaped(found.spec.workload)}**: {_basis(found)}", ""]
    lines += [f"- {escaped(line)}" for line in sentences(found)]
    lines += _tables(found, piped)
    return "\n".join([*lines, *(f"- {line}" for line in _use(found))])


def _basis(found: Comparison) -> str:
    from planner.fees.break_even_in_words import window_of

    promise = "point estimates, no promises"
    if found.spec.level is not None:
        judged = f"{found.traffic.requests:,} {window_of(found)}"
        promise = f"promises with {100 * found.spec.level:g} % confidence, judged on {judged}"
    return f"{promise}; intervals from {found.draws} draws"


def _tables(found: Comparison, write: Written) -> list[str]:
    """From which volume on which deployment, and totals at the volumes asked for."""
    from planner.fees.break_even_in_words import window_of

    window, level = window_of(found), f"{100 * found.level:g} % interval"
    steps = (f"from {window}", level, "pays for", "fees USD", "USD/request", "promised")
    totals = (window, "pays for", "total USD", "next best USD", "cheapest in draws")
    return ["", write(_steps(found), steps), "", write(_totals(found), totals), ""]


def _totals(found: Comparison) -> Rows:
    return [
        (
            f"{at.requests:,.10g}",
            _paid(at.best),
            f"{at.total_usd:,.2f}",
            "n/a" if at.next_usd is None else f"{at.next_usd:,.2f}",
            share(at.sure),
        )
        for at in found.volumes
    ]


def _steps(found: Comparison) -> Rows:
    from planner.fees.break_even_in_words import interval_in_words, volume_in_words

    starts = [("0", "")]
    starts += [(volume_in_words(c.requests or 0), interval_in_words(c)) for c in found.changes]
    return [
        (
            *start,
            _paid(one),
            f"{one.fees_usd:,.2f}",
            usd(one.usd_per_request),
            usd(one.rung.promised.cost_usd_per_request),
        )
        for start, one in zip(starts, found.envelope, strict=True)
    ]


def _use(found: Comparison) -> list[str]:
    return [
        f"{_paid(one)}: " + ", ".join(f"{share(part)} {name}" for name, part in one.shares.items())
        for one in found.envelope
    ]


def _paid(one: Deployment) -> str:
    from planner.fees.break_even_in_words import paid_in_words

    return escaped(paid_in_words(one))


def as_json(found: Comparison) -> dict[str, Any]:
    """A comparison for scripts; a volume that does not exist is null."""
    from planner.fees.break_even_in_words import sentences

    return {
        "workload": found.spec.workload,
        "per": found.traffic.per.value,
        "judged_on_requests": found.traffic.requests,
        "confidence": found.spec.level,
        "interval_confidence": found.level,
        "draws": found.draws,
        "seed": found.seed,
        "draws_left_out": found.neither,
        "deployments": [_deployment(one) for one in found.envelope],
        "break_evens": [_change(change) for change in found.changes],
        "unused": {name: _change(change) for name, change in found.unused.items()},
        "volumes": [
            {
                "requests": at.requests,
                "paid": at.best.paid,
                "total_usd": at.total_usd,
                "next_best_total_usd": at.next_usd,
                "cheapest_in_share_of_draws": at.sure,
            }
            for at in found.volumes
        ],
        "words": sentences(found),
    }


def _deployment(one: Deployment) -> dict[str, Any]:
    promised, expected = one.rung.promised, one.rung.expected
    return {
        "paid": one.paid,
        "fees_usd": one.fees_usd,
        "usd_per_request": one.usd_per_request,
        "promised_usd_per_request": promised.cost_usd_per_request,
        "accuracy": expected.accuracy,
        "promised_accuracy": promised.accuracy,
        "shares": one.shares,
        "allocation": one.rung.allocation,
    }


def _change(change: BreakEven) -> dict[str, Any]:
    return {
        "below": change.below.paid,
        "above": change.above.paid,
        "requests": change.requests,
        "low": change.low,
        "high": change.high,
        "pays_in_share_of_draws": change.pays,
        "requests_if_judged_on_them": change.judged_on_it,
    }
