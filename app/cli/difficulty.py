"""`inferbudget difficulty`: learn what the runtime can see of a request's difficulty."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.difficulty_show import show_command
from app.cli.options import OUTPUT, emit_json, format_option, store_option, workload_option, writing
from app.cli.reports import fit_text

_READINGS = ("words", "words+surface", "words+surface+characters")


@click.group()
def difficulty() -> None:
    """Learn difficulty classes from prompts and outcomes."""


@difficulty.command("fit")
@store_option
@workload_option
@click.option(
    "--classes",
    type=click.IntRange(1, 32),
    help="How many; left out, their number and kind are chosen by plans on unseen queries.",
)
@click.option(
    "--spec",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What those plans are asked; left out, accuracy under a range of budgets.",
)
@click.option(
    "--read",
    type=click.Choice(_READINGS),
    multiple=True,
    help="What is read of a prompt; left out or given more than once, plans choose.",
)
@click.option(
    "--by-label", is_flag=True, help="Combine classes of the text with the label of each query."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of folds and prototypes.")
@click.option("-o", "--output", type=OUTPUT, default=Path("difficulty.onnx"), show_default=True)
@format_option
def fit_command(
    store_path: Path,
    workload: str,
    classes: int | None,
    spec: Path | None,
    read: tuple[str, ...],
    by_label: bool,
    seed: int,
    output: Path,
    output_format: str,
) -> None:
    """Fit text -> class, write it as ONNX, and keep every query's out-of-fold class."""
    from app.choosing_classes import judge_by_plans
    from planner.spec import read_spec
    from profiles.difficulty.fit import WEIGHT, fit
    from profiles.errors import InputError
    from profiles.pricing.prices import rates_of
    from profiles.store.store import Store

    if classes is not None and (spec or len(read) > 1):
        raise click.UsageError("--classes leaves nothing to choose: drop it, or --spec and --read")
    if not store_path.exists():
        raise InputError(
            "there is no profile store here",
            where=str(store_path),
            next_step="fill one with 'inferbudget profile import' or 'profile measure'",
        )
    if not output.parent.is_dir():
        raise InputError("there is no such folder to write to", where=str(output))
    question = read_spec(spec) if spec else None
    prices = question.price_card(spec.parent) if question and spec else None
    with Store.open(store_path) as store:
        estimator = fit(
            store,
            workload,
            classes=classes,
            judge=None if classes else judge_by_plans(question),
            weights=read or ((WEIGHT,) if classes else _READINGS),
            by_label=by_label,
            rates=rates_of(store, workload, prices),
            seed=seed,
        )
    with writing(output):
        estimator.write(output)
    if output_format == "json":
        emit_json({"estimator": str(output), **estimator.report.to_json()})
    else:
        click.echo(fit_text(estimator.report))
        click.echo(f"wrote {output}", err=True)


difficulty.add_command(show_command)
