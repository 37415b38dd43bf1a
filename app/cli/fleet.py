"""`inferbudget fleet`: whole GPUs by type and hour for certified plans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import (
    FILE,
    FiniteRange,
    StorePath,
    emit_json,
    format_option,
    share,
    table,
    usd,
)
from profiles.errors import InputError, UnprovenError

if TYPE_CHECKING:
    from planner.fleet.answer import Fleet, FleetHour
    from planner.fleet.replay import FleetReplay
    from planner.fleet.traffic import Trace
    from planner.plan import Plan
    from profiles.profile import Profile


@click.command("fleet")
@click.argument("fleet", type=FILE)
@click.option(
    "--plan",
    "plan_paths",
    type=FILE,
    required=True,
    multiple=True,
    help="Plan whose requests are served; repeat, and every hour runs one rung of one of them.",
)
@click.option(
    "--profiles", "store_path", type=StorePath(), help="Store with measured GPU-seconds or tokens."
)
@click.option("--trace", type=FILE, help="Recorded traffic to replay through the fleet.")
@click.option("--mapping", help="How the trace is read: a file, or a name of --list-mappings.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the replay.")
@click.option(
    "--time-limit",
    type=FiniteRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for the search.",
)
@click.option(
    "--max-gap",
    type=FiniteRange(0, 1),
    default=1e-6,
    show_default=True,
    help="Share of the cost by which the answer may be too dear and still count as proven.",
)
@format_option
def fleet_command(
    fleet: Path,
    plan_paths: tuple[Path, ...],
    store_path: Path | None,
    trace: Path | None,
    mapping: str | None,
    seed: int,
    time_limit: float,
    max_gap: float,
    output_format: str,
) -> None:
    """The cheapest whole GPUs by type and hour for FLEET, and which plan runs when."""
    from planner.fleet.certified import certified
    from planner.fleet.fleet import plan_fleet
    from planner.fleet.question import read_fleet
    from planner.fleet.replay import replay_fleet
    from planner.plan import read_plan

    if mapping and not trace:
        raise click.UsageError("--mapping says how a trace is read: give --trace")
    question = read_fleet(fleet)
    if len(plan_paths) > 1 and question.accuracy is None:
        raise InputError(
            "several plans are given, and nothing says how accurate the hours must be",
            where=f"{fleet}: accuracy",
            next_step="add accuracy with promised, or pass one plan: its first rung runs always",
        )
    plans = {str(path): read_plan(path) for path in plan_paths}
    columns = certified(plans, rungs=question.accuracy is not None)
    profile = _profile(store_path, next(iter(plans.values()))) if store_path else None
    recorded = _trace(trace, mapping) if trace else None
    found = plan_fleet(question, columns, profile, time_limit_s=time_limit, max_gap=max_gap)
    replayed = None
    if recorded:
        replayed = replay_fleet(question, found, columns, recorded, profile, seed=seed)
    if output_format == "json":
        emit_json({"fleet": found.as_dict(), "replay": replayed.as_dict() if replayed else None})
    else:
        click.echo(fleet_text(found))
        if replayed:
            click.echo("\n" + replay_text(replayed))
    if not found.proven:
        raise UnprovenError(
            f"time ran out: this fleet costs {usd(found.usd)} USD, and one that costs up to "
            f"{100 * found.gap:.2f} % less may exist\n  next: give more time with --time-limit, or "
            f"accept it with --max-gap {found.gap:.4f}"
        )


def _profile(store_path: Path, plan: Plan) -> Profile:
    """Cells of the plan's classes as they are measured now."""
    from profiles.pricing.prices import rates_of
    from profiles.store.store import Store

    with Store.open(store_path, read_only=True) as store:
        return store.profile(
            plan.workload,
            estimator_digest=plan.classes.estimator_digest,
            class_names=plan.classes.names,
            rates=rates_of(store, plan.workload, None),
        )


def _trace(path: Path, mapping: str | None) -> Trace:
    from app.traces import read_trace
    from planner.fleet.traffic import trace_of

    arrivals, notes = read_trace(path, mapping)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    return trace_of(arrivals)


def fleet_text(found: Fleet) -> str:
    """A fleet as people read it."""
    hours = len(found.hours)
    state = "proven" if found.proven else f"not proven, at most {100 * found.gap:.2f} % too dear"
    lines = [
        f"{usd(found.usd)} USD for {hours} hours, {state}",
        f"  reserved {usd(found.reserved_usd)}, on demand {usd(found.on_demand_usd)}, "
        f"by the request {usd(found.by_request_usd)}",
        f"  in parts of GPUs it would cost at least {usd(found.fractional_usd)}; those rounded up: "
        + (usd(found.rounded_up_usd) if found.rounded_up_usd else "breaks a limit"),
        f"promised accuracy, mean over requests: {share(found.promised_accuracy)}",
        "",
    ]
    types = list(found.hours[0].reserved)
    gpus = [f"{name} {word}" for name in types for word in ("reserved", "on demand")]
    head = ("hour", "requests", *gpus, "busy", "late", "USD", "plan")
    return "\n".join([*lines, table(map(_row, found.hours), head)])


def _row(hour: FleetHour) -> tuple[object, ...]:
    gpus = [count for t in hour.reserved for count in (hour.reserved[t], hour.on_demand[t])]
    slots = sum(one.slots for one in hour.sets)
    load = sum(one.utilisation * one.slots for one in hour.sets)
    return (
        hour.hour,
        f"{hour.requests:.0f}",
        *gpus,
        share(load / slots) if slots else "n/a",
        f"{100 * hour.late_share:.2f} %",
        usd(hour.usd),
        hour.plan,
    )


def replay_text(found: FleetReplay) -> str:
    """A replay as people read it."""
    allowed = found.allowed_late_share
    lines = [
        f"replayed {found.requests} requests, seed {found.seed}, lengths by {found.lengths}: "
        f"{100 * found.late_share:.2f} % waited longer than {found.wait_s:g} s"
        + ("" if allowed is None else f", allowed {100 * allowed:g} %"),
        f"variation (squared): between arrivals {found.arrival_scv:.2f}, of service times "
        f"{found.service_scv:.2f} (all pools)",
        "",
    ]
    rows = [
        (
            hour.hour,
            hour.requests,
            f"{100 * hour.planned_late_share:.2f} %",
            "n/a" if hour.late_share is None else f"{100 * hour.late_share:.2f} %",
            "n/a" if hour.late_share_se is None else f"{100 * hour.late_share_se:.2f}",
            "n/a" if hour.wait_mean_s is None else f"{hour.wait_mean_s:.3f}",
            "n/a" if hour.busiest_minute is None else f"{hour.busiest_minute:.2f}",
        )
        for hour in found.hours
    ]
    head = (
        "hour",
        "requests",
        "planned late",
        "late",
        "+-",
        "mean wait s",
        "busiest minute / mean",
    )
    return "\n".join([*lines, table(rows, head)])
