"""`inferbudget profile shape`: where more compute stops paying, and where it does harm."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.options import (
    FILE,
    emit_json,
    emit_text,
    format_option,
    share,
    store_option,
    table,
    usd,
    workload_option,
)

if TYPE_CHECKING:
    from profiles.scaling.levels import Interval
    from profiles.scaling.shape import Estimate, Shape

_UNITS = ("lever", "tokens", "gpu_s", "cost_usd", "calls", "latency_s", "compute")


@click.command("shape")
@store_option
@workload_option
@click.option("--classes", type=FILE, help="Difficulty graph; labels of the queries without.")
@click.option(
    "--prices",
    "card_path",
    type=FILE,
    help="Card that prices rows without dollars; the store's cards where absent.",
)
@click.option(
    "--ladder",
    "ladders",
    multiple=True,
    help="Strategies that form a family, separated by commas, instead of those found.",
)
@click.option(
    "--compute",
    type=click.Choice(_UNITS),
    help="What stands for compute; the parameter that varies, else the first measured one.",
)
@click.option(
    "--points",
    type=click.FloatRange(min=0, min_open=True, max=100),
    default=1.0,
    show_default=True,
    help="Points of accuracy that a doubling of compute must gain to pay.",
)
@click.option("--at", type=click.FloatRange(min=0, min_open=True), help="Also accuracy here.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap."
)
@format_option
def shape_command(
    store_path: Path,
    workload: str,
    classes: Path | None,
    card_path: Path | None,
    ladders: tuple[str, ...],
    compute: str | None,
    points: float,
    at: float | None,
    seed: int,
    output_format: str,
) -> None:
    """Per class and method family: the curve of accuracy over compute, its knee, its downturns."""
    from app.planning import outcomes_by_level
    from profiles.money import PriceCard
    from profiles.scaling.families import ladder
    from profiles.scaling.fitting import shapes
    from profiles.scaling.levels import Unit
    from profiles.yaml_input import read_yaml

    card = read_yaml(card_path, PriceCard) if card_path else None
    observed, published = outcomes_by_level(store_path, workload, classes, card)
    found = shapes(
        observed,
        published,
        chosen=[ladder(text) for text in ladders] or None,
        unit=Unit(compute) if compute else None,
        points=points / 100,
        seed=seed,
    )
    asked = [(shape, _estimate(shape, at)) for shape in found]
    if output_format == "json":
        rows = [shape_json(shape, estimate) for shape, estimate in asked]
        emit_json({"workload": workload, "points": points, "seed": seed, "shapes": rows})
        return
    nothing = f"{workload}: no two strategies differ in one parameter alone; name a --ladder"
    texts = [shape_text(shape, estimate, points) for shape, estimate in asked]
    emit_text("\n\n".join(texts) or nothing)


def _estimate(shape: Shape, at: float | None) -> Estimate | str | None:
    from profiles.errors import UnknownValueError

    if at is None:
        return None
    try:
        return shape.at(at)
    except UnknownValueError as error:
        return error.what


def shape_json(shape: Shape, estimate: Estimate | str | None) -> dict[str, Any]:
    """Plain values; the curve by its parameters."""
    hidden = ("curve", "resampled", "turned", "levels", "downturns", "knee")
    plain = {name: getattr(shape, name) for name in shape.__slots__ if name not in hidden}
    curve = shape.curve
    return {
        **plain,
        "levels": [asdict(level) for level in shape.levels],
        "downturns": [asdict(downturn) for downturn in shape.downturns],
        "knee": asdict(shape.knee) if shape.knee else None,
        "curve": {name: float(getattr(curve, name)[0]) for name in curve.__slots__}
        if curve
        else None,
        "estimate": estimate if isinstance(estimate, str | None) else asdict(estimate),
    }


def shape_text(shape: Shape, estimate: Estimate | str | None, points: float) -> str:
    """One family in one class for people."""
    from profiles.scaling.in_words import downturn_words, knee_words

    header = (shape.unit, "queries", "accuracy", "95 % interval", f"points per {shape.unit}")
    rows = [
        (
            f"{level.compute:.4g}",
            "n/a" if level.queries is None else level.queries,
            share(level.accuracy),
            f"{share(level.accuracy_interval[0])} .. {share(level.accuracy_interval[1])}",
            _scaled(level.accuracy_per_unit),
            usd(level.cost_per_correct_usd),
            _interval(level.cost_per_correct_interval),
            level.strategy,
        )
        for level in shape.levels
    ]
    lines = [f"{shape.class_name}: {shape.family}"]
    if rows:
        lines.append(table(rows, (*header, "USD per correct", "95 % interval", "strategy")))
    lines += [f"  {line}" for line in (knee_words(shape, points), *downturn_words(shape)) if line]
    return "\n".join([*lines, *([f"  {_at(estimate, shape)}"] if estimate else [])])


def _scaled(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.3g}"


def _interval(ends: Interval | None) -> str:
    if ends is None:
        return "n/a"
    return f"{usd(ends[0])} .. {'unbounded' if ends[1] is None else usd(ends[1])}"


def _at(estimate: Estimate | str, shape: Shape) -> str:
    if isinstance(estimate, str):
        return f"accuracy not answered: {estimate}"
    flag = " EXTRAPOLATED" if estimate.extrapolated else ""
    return (
        f"at {shape.unit} {estimate.compute:g}: {share(estimate.accuracy)} "
        f"({share(estimate.low)} .. {share(estimate.high)}){flag}"
    )
