"""`inferbudget difficulty`: learn what the runtime can see of a request's difficulty."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import OUTPUT, emit_json, format_option, store_option, workload_option, writing
from app.cli.reports import fit_text


@click.group()
def difficulty() -> None:
    """Learn difficulty classes from prompts and outcomes."""


@difficulty.command("fit")
@store_option
@workload_option
@click.option("--classes", type=click.IntRange(1, 32), default=4, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of folds and prototypes.")
@click.option("-o", "--output", type=OUTPUT, default=Path("difficulty.onnx"), show_default=True)
@format_option
def fit_command(
    store_path: Path, workload: str, classes: int, seed: int, output: Path, output_format: str
) -> None:
    """Fit text -> class, write it as ONNX, and keep every query's out-of-fold class."""
    from profiles.difficulty.fit import fit
    from profiles.store.store import Store

    with Store.open(store_path) as store:
        estimator = fit(store, workload, classes=classes, seed=seed)
    with writing(output):
        estimator.write(output)
    if output_format == "json":
        emit_json({"estimator": str(output), **estimator.report.to_json()})
    else:
        click.echo(fit_text(estimator.report))
        click.echo(f"wrote {output}", err=True)
