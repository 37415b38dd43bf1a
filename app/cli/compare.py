"""`inferbudget compare`: scenarios of one spec side by side, what differs first."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.options import (
    FILE,
    INPUT,
    emit_json,
    emit_text,
    report_format_option,
    settings_option,
    store_option,
)
from app.cli.plan.in_time import time_limit_option
from profiles.errors import ExitCode, InferbudgetError, InputError, UnprovenError

if TYPE_CHECKING:
    from app.comparing import Column, Comparison, Planned, Refused
    from app.comparison_rows import Row
    from policies.report_layout import Form


@click.command("compare")
@click.argument("spec", type=FILE)
@store_option
@click.option(
    "--scenarios",
    "scenarios_path",
    type=INPUT,
    required=True,
    help="Names and what each sets over the spec (scenarios.yaml).",
)
@click.option(
    "--scenario",
    "names",
    multiple=True,
    metavar="NAME",
    help="One to compare, in this order; may be repeated. All of the file where absent.",
)
@settings_option
@time_limit_option
@report_format_option
@click.pass_context
def compare_command(
    ctx: click.Context,
    spec: Path,
    store_path: Path,
    scenarios_path: Path,
    names: tuple[str, ...],
    settings: tuple[str, ...],
    time_limit_s: float,
    output_format: str,
) -> None:
    """Plan two to four scenarios of SPEC and say what differs, each against the first with a plan.

    A scenario without a plan says why, and what would help; where none has one, that is the exit
    code. What --set sets holds in all of them. Nothing is written.
    """
    from app.comparing import compared, refuse_number
    from app.scenarios import chosen, read_scenarios

    scenarios = chosen(read_scenarios(scenarios_path), names, "--scenario")
    refuse_number(len(scenarios))
    found = []
    for one in scenarios:
        own = (*settings, *one.settings)
        found.append((one.name, own, _planned(spec, store_path, own, one.name, time_limit_s)))
    comparison = compared(found)
    if output_format == "json":
        emit_json(as_json(comparison))
    else:
        emit_text(as_text(comparison, markdown=output_format == "markdown"))
    if comparison.base is None:
        ctx.exit(_worst(comparison))


def _planned(
    spec: Path, store_path: Path, settings: tuple[str, ...], name: str, time_limit_s: float
) -> Planned | Refused:
    """The answer; one that was not proven in time is said in its column."""
    from app.comparing import Refused, planned
    from app.planning import ask

    try:
        return planned(ask(spec, store_path, settings), time_limit_s)
    except UnprovenError as error:
        return Refused(error)
    except InputError as error:
        raise InputError(
            error.what,
            where=f"scenario {name}" + (f": {error.where}" if error.where else ""),
            expected=error.expected,
            got=error.got,
            next_step=error.next_step,
        ) from error


def _worst(found: Comparison) -> ExitCode:
    """No plan, unless one might be found with more time."""
    codes = {error.exit_code for error in _errors(found.columns)}
    return ExitCode.UNPROVEN if ExitCode.UNPROVEN in codes else ExitCode.INFEASIBLE


def _errors(columns: Iterable[Column]) -> Iterator[InferbudgetError]:
    from app.comparing import Refused

    yield from (one.found.error for one in columns if isinstance(one.found, Refused))


def as_text(found: Comparison, *, markdown: bool) -> str:
    """The comparison for a terminal, or for a pull request."""
    from policies.report_layout import MARKDOWN, TEXT

    form = MARKDOWN if markdown else TEXT
    return "\n\n".join(_parts(found, form, "**" if markdown else ""))


def _parts(found: Comparison, form: Form, strong: str) -> Iterator[str]:
    from app.comparison_classes import accuracy_rows, share_rows, shares
    from app.comparison_rows import READING, figure_rows, same_title

    names = tuple(form.name(column.name) for column in found.columns)
    against = f"against {form.name(found.base.name)}" if found.base else ""
    yield f"{strong}{len(names)} scenarios{strong}: {', '.join(names)}"
    figures = figure_rows(found, form.name)
    classes = shares(found)
    differ = [one for one in classes if one.differ]
    by_class = accuracy_rows(found, form.name)
    for title, head, rows in (
        ("What differs", ("",), [row for row in figures if row.differs]),
        (
            "Who answers, where it differs",
            ("class", "strategy"),
            share_rows(found, differ, form.name),
        ),
        ("Accuracy by class, where it differs", ("class",), [r for r in by_class if r.differs]),
        (same_title(found), ("",), [row for row in figures if not row.differs]),
    ):
        if rows:
            cells = list(_cells(rows, against))
            yield f"{strong}{title}{strong}\n\n{form.table(cells, (*head, *names))}"
    if found.several and (alike := len(classes) - len(differ)):
        yield f"{alike} {'class is' if alike == 1 else 'classes are'} answered alike in all plans"
    yield from _refusals(found, form, strong)
    if against:
        yield READING


def _cells(rows: Iterable[Row], against: str) -> Iterator[tuple[str, ...]]:
    """Every row, below it what differs from the base."""
    for row in rows:
        yield (*row.head, *row.cells)
        if row.against:
            yield (f"- {against}", *("" for _ in row.head[1:]), *row.against)


def _refusals(found: Comparison, form: Form, strong: str) -> Iterator[str]:
    from app.comparing import Refused

    for column in found.columns:
        if isinstance(column.found, Refused):
            lines = [form.name(line.strip()) for line in str(column.found.error).splitlines()]
            for fix in column.found.fixes:
                words = " ".join(_set(one, form) for one in fix.settings)
                lines.append(f"{form.name(fix.limit)} moves by {words}")
            items = "\n".join(f"- {line}" for line in lines)
            yield f"{strong}No plan{strong} for {form.name(column.name)}:\n\n{items}"


def _set(setting: str, form: Form) -> str:
    return form.name(shlex.join(["--set", setting]))


def as_json(found: Comparison) -> dict[str, Any]:
    """The same for scripts; what is not known is null."""
    return {
        "base": found.base.name if found.base else None,
        "scenarios": [_column(column) for column in found.columns],
    }


def _column(column: Column) -> dict[str, Any]:
    from dataclasses import asdict

    from app.comparing import Planned

    own = {"name": column.name, "settings": column.settings}
    one = column.found
    if not isinstance(one, Planned):
        refused = {"error": str(one.error), "fixes": [asdict(fix) for fix in one.fixes]}
        return {**own, "plan": None, "refused": refused, "difference": None}
    per, spend = one.spend
    plan = {
        "workload": one.plan.workload,
        "confidence": one.plan.confidence,
        "queries": one.profile.queries,
        "evidence": one.evidence,
        "profile_digest": one.plan.profile_digest,
        "fixed_costs": one.plan.fixed_costs and one.plan.fixed_costs.model_dump(mode="json"),
        "rung": one.rung.model_dump(mode="json"),
        "binding": one.binding,
        "per": per,
        "expected_usd": spend,
    }
    difference = asdict(column.against) if column.against else None
    return {**own, "plan": plan, "refused": None, "difference": difference}
