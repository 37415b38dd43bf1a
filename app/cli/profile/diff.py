"""`inferbudget profile diff`: what changed between two profiles, and what of it is noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import FILE, emit_json, emit_text, report_format_option, table
from profiles.errors import ExitCode
from profiles.visible import escaped

if TYPE_CHECKING:
    from profiles.cells.diff import Change, ProfileDiff, Side

_HEADER = ("before", "after", "95 % interval of the change", "beyond noise", "figure")


@click.command("diff")
@click.argument("before")
@click.argument("after")
@click.option("--classes", type=FILE, help="Difficulty graph; labels of the queries without.")
@click.option("--exit-code", is_flag=True, help="Exit 1 on a difference beyond noise.")
@click.option("--any", "any_change", is_flag=True, help="Exit 1 on any change at all.")
@report_format_option
@click.pass_context
def diff_command(
    ctx: click.Context,
    before: str,
    after: str,
    classes: Path | None,
    exit_code: bool,
    any_change: bool,
    output_format: str,
) -> None:
    """Cells and class shares that differ between BEFORE and AFTER, each STORE or STORE:WORKLOAD.

    Says nothing where nothing changed. A cell or a figure that only one side has counts as beyond
    noise. Of a published cost or latency nobody knows the noise; its change is said to be unknown.
    """
    from profiles.cells.diff import diff_profiles

    found = diff_profiles(_side(before, classes), _side(after, classes))
    if output_format == "json":
        emit_json(found.to_json())
    elif not found.is_empty:
        emit_text(markdown(found) if output_format == "markdown" else text(found))
    if (any_change and not found.is_empty) or (exit_code and found.beyond_noise):
        ctx.exit(ExitCode.FINDING)


def _side(named: str, classes: Path | None) -> Side:
    from profiles.cells.diff import only_workload, read_side
    from profiles.difficulty.graph import read_facts
    from profiles.store.store import Store

    facts = read_facts(classes) if classes else None
    path, colon, workload = named.rpartition(":")
    if not colon or Path(named).exists():
        path, workload = named, ""
    with Store.open(Path(path), read_only=True) as store:
        return read_side(
            store,
            workload or only_workload(store, path),
            label=named,
            estimator_digest=facts.digest if facts else None,
            class_names=facts.class_names if facts else None,
        )


def text(found: ProfileDiff) -> str:
    """A diff for people."""
    lines = [f"{found.before} -> {found.after}"]
    lines += [table(map(_row, found.changes), _HEADER)] if found.changes else []
    return "\n".join([*lines, *_one_sided(found), _judged(found)])


def markdown(found: ProfileDiff) -> str:
    """A diff for a pull request."""
    lines = [f"**{found.before}** → **{found.after}**", ""]
    if found.changes:
        rows = [_HEADER, ["---"] * len(_HEADER), *map(_row, found.changes)]
        lines += [" | ".join(["", *map(_escaped, row), ""]).strip() for row in rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {line}" for line in (*_one_sided(found), _judged(found)))])


def _escaped(cell: str) -> str:
    return escaped(cell).replace("|", "\\|")


def _row(change: Change) -> tuple[str, ...]:
    ends = [_shown(end, change.measure, sign=True) for end in (change.low, change.high)]
    bounded = change.low is not None or change.high is not None
    place = f"{change.class_name} {change.strategy}" if change.strategy else change.class_name
    return (
        _shown(change.before, change.measure),
        _shown(change.after, change.measure),
        f"{ends[0]} .. {ends[1]}" if bounded else "n/a",
        "unknown" if change.uncertainty_unknown else "yes" if change.beyond_noise else "no",
        f"{change.measure} of {place}",
    )


def _shown(value: float | None, measure: str, *, sign: bool = False) -> str:
    if value is None:
        return "unbounded" if sign else "n/a"
    plus = "+" if sign else ""
    if measure in {"share", "accuracy"}:
        return f"{100 * value:{plus}.2f} %"
    return f"{value:{plus}.4g}"


def _one_sided(found: ProfileDiff) -> list[str]:
    sides = (("before", found.only_before), ("after", found.only_after))
    return [
        f"only {side}: {escaped(class_name)} {strategy}"
        for side, cells in sides
        for class_name, strategy in cells
    ]


def _judged(found: ProfileDiff) -> str:
    return f"noise is judged at 95 % over {found.comparisons} comparisons"
