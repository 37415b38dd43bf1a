"""`inferbudget plan simulate`: how far a plan can be trusted, shown beside the plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.markdown import Written, piped
from app.cli.options import (
    FILE,
    INPUT,
    StorePath,
    emit_json,
    emit_text,
    figures,
    progress_bar,
    report_format_option,
    store_option,
    table,
)
from app.cli.plan.in_time import time_limit_option
from app.cli.plan.resplit_lines import resplit_lines, resplits_json, stress_rows
from app.cli.plan.trust_lines import (
    OF_SHARES,
    SLOWER,
    about_shares,
    held_out_json,
    held_out_lines,
    trace_json,
    trace_lines,
    trace_remarks,
)
from profiles.errors import UnprovenError
from profiles.visible import escaped

if TYPE_CHECKING:
    from app.simulating import Trust

SHARES = (
    "a request that several strategies share counts as its expectation: the draw of who answers "
    "adds noise that is not judged"
)
CLASS_FLOORS = (
    "a floor of a class promises its long-run mean; the judged half adds noise that no promise "
    "covers"
)
LATENCIES = (
    "a latency limit is judged by the share of the judged half's answers that take longer; its own "
    "noise is covered by no promise"
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
@click.option(
    "--judge",
    "judge_path",
    type=StorePath(),
    help="Instead: a store with new queries of the workload, which judge the plan.",
)
@click.option("--trace", type=FILE, help="Instead: recorded traffic, window by window.")
@click.option("--mapping", help="How the trace is read: a file, or a name of --list-mappings.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@time_limit_option
@report_format_option
def simulate_command(
    spec: Path,
    store_path: Path,
    resplits: int,
    judge_path: Path | None,
    trace: Path | None,
    mapping: str | None,
    seed: int,
    time_limit_s: float,
    output_format: str,
) -> None:
    """How far SPEC's plan can be trusted: promises kept on held-out halves, and under drift.

    Plans from halves that are not proven in time are counted apart; where none is, it is exit
    code 4. With --judge new queries judge the plan instead, with --trace recorded traffic does,
    answered from the store's outcomes or from those of --judge.

    SPEC is a file, or - for standard input; its paths are then relative to the working directory.
    """
    from app.planning import ask
    from app.simulating import judged_anew, trust
    from app.traces import read_trace

    if mapping and not trace:
        raise click.UsageError("--mapping says how a trace is read: give --trace")
    question = ask(spec, store_path)
    planner = question.planner(time_limit_s)
    if judge_path is None and trace is None:
        with progress_bar("resplits") as advance:
            found = trust(
                question, planner, store_path, resplits=resplits, seed=seed, advance=advance
            )
    else:
        arrivals, notes = read_trace(trace, mapping) if trace else ([], [])
        for note in notes:
            click.echo(f"note: {note}", err=True)
        found = judged_anew(question, planner, store_path, judge_path, arrivals, seed=seed)
    if output_format == "json":
        emit_json(as_json(found))
    else:
        emit_text(markdown(found) if output_format == "markdown" else text(found))
    refuse_unproven(found)


def refuse_unproven(found: Trust) -> None:
    """Refuse to call it done where time ran out on the plan of every resplit.

    Raises:
        UnprovenError: It did.
    """
    if found.simulation is not None and found.simulation.none_proven:
        raise UnprovenError(
            f"time ran out: not one of {found.simulation.resplits} plans from halves was proven, "
            "so how often such plans keep their promises is not known\n"
            "  next: give more time with --time-limit"
        )


def text(found: Trust) -> str:
    """The plan's figures, both tables, and what they leave out, for people."""
    return "\n".join(_lines(found, table, "", "note: "))


def markdown(found: Trust) -> str:
    """The same for a pull request."""
    return "\n".join(_lines(found, piped, "**", "- "))


def _lines(found: Trust, write: Written, strong: str, note: str) -> Iterator[str]:
    expected, promised = figures(found.rung.expected), figures(found.rung.promised)
    sure = "on point estimates, no margin"
    if found.confidence is not None:
        sure = f"promises with {100 * found.confidence:g} % confidence"
    yield f"{strong}{escaped(found.workload)}{strong}: the plan, {sure}"
    yield ""
    yield write([("expected", *expected), ("promised", *promised)], ("", *_FIGURES))
    yield ""
    if found.simulation is not None:
        yield from resplit_lines(found.simulation, write, strong)
        yield ""
    if found.stress is not None:
        yield f"{strong}The plan's own shares where inputs drift{strong}"
        yield ""
        yield write(
            stress_rows(found.stress), ("", *_FIGURES, "anew: accuracy", "USD/request", "breaks")
        )
        yield ""
    if found.held_out is not None:
        yield from held_out_lines(found.held_out, write, strong)
        yield ""
    if found.trace is not None:
        yield from trace_lines(found.trace, write, strong)
        yield ""
    yield from (f"{note}{escaped(remark)}" for remark in _remarks(found))


def _remarks(found: Trust) -> list[str]:
    """What the tables do not show, and how far they can be believed."""
    remarks = [f"no row for {reason}" for reason in (found.stress.left_out if found.stress else ())]
    remarks += found.remarks
    if found.simulation is not None:
        names = [one.promise for one in found.simulation.contenders[0].promises]
        of_classes = any(name.startswith("accuracy.by_class.") for name in names)
        timed = any(name.startswith("latency.") for name in names)
        remarks += [
            SHARES,
            *([CLASS_FLOORS] if of_classes else []),
            *([LATENCIES] if timed else []),
            *([OF_SHARES] if about_shares(names) else []),
        ]
        remarks.append(ONE_TABLE)
    if found.held_out is not None:
        timed = any(one.limit != one.allowed for one in found.held_out.promises)
        shares = about_shares(one.promise for one in found.held_out.promises)
        remarks += [SHARES, *([SLOWER] if timed else []), *([OF_SHARES] if shares else [])]
    if found.trace is not None:
        remarks += trace_remarks(found.trace)
    return remarks


_FIGURES = ("accuracy", "USD/request", "p95 s")


def as_json(found: Trust) -> dict[str, Any]:
    """The same for scripts; what is unknown is null."""
    judged: dict[str, Any] = {}
    if found.simulation is not None:
        judged["resplits"] = resplits_json(found.simulation)
    if found.stress is not None:
        judged["stress"] = [
            {
                "drift": row.drift,
                "expected": row.expected.model_dump(),
                "breaks": row.breaks,
                "planned_anew": row.planned_anew.model_dump() if row.planned_anew else None,
                "unproven": row.unproven,
            }
            for row in found.stress.rows
        ]
    if found.held_out is not None:
        judged["held_out"] = held_out_json(found.held_out)
    if found.trace is not None:
        judged["trace"] = trace_json(found.trace)
    return {
        "workload": found.workload,
        "confidence": found.confidence,
        "plan": found.rung.model_dump(mode="json"),
        **judged,
        "notes": _remarks(found),
    }
