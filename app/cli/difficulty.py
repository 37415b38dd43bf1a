"""`inferbudget difficulty`: learn what the runtime can see of a request's difficulty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from app.cli.difficulty_show import show_command
from app.cli.options import (
    FOLDER,
    OUTPUT,
    emit_json,
    emit_text,
    format_option,
    store_option,
    workload_option,
    writing,
)
from app.cli.reports import fit_text

_READINGS = ("words", "words+surface", "words+surface+characters")
_ENCODED = "words+surface+encoder"


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
    type=click.Choice((*_READINGS, _ENCODED)),
    multiple=True,
    help="What is read of a prompt; left out or given more than once, plans choose.",
)
@click.option(
    "--encoder",
    "encoder_folder",
    type=FOLDER,
    help=f"Folder of a sentence encoder (ONNX): adds the reading {_ENCODED}.",
)
@click.option(
    "--by-label", is_flag=True, help="Combine classes of the text with the label of each query."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of folds and prototypes.")
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    default=Path("difficulty.onnx"),
    show_default=True,
    help="The difficulty graph.",
)
@format_option
def fit_command(
    store_path: Path,
    workload: str,
    classes: int | None,
    spec: Path | None,
    read: tuple[str, ...],
    encoder_folder: Path | None,
    by_label: bool,
    seed: int,
    output: Path,
    output_format: str,
) -> None:
    """Fit text -> class, write it as ONNX, and keep every query's out-of-fold class."""
    from app.choosing_classes import judge_by_plans
    from planner.spec import read_spec
    from profiles.difficulty.fit import fit
    from profiles.difficulty.reading.encoder import Encoder
    from profiles.errors import InputError
    from profiles.pricing.prices import rates_of
    from profiles.store.store import Store

    if classes is not None and (spec or len(read) > 1):
        raise click.UsageError("--classes leaves nothing to choose: drop it, or --spec and --read")
    if read and (_ENCODED in read) == (encoder_folder is None):
        raise click.UsageError(f"--encoder and --read {_ENCODED} need each other")
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
    encoder = Encoder.open(encoder_folder, threads=0) if encoder_folder else None
    with Store.open(store_path) as store, _progress_bar() as progress:
        estimator = fit(
            store,
            workload,
            classes=classes,
            judge=None if classes else judge_by_plans(question, progress),
            weights=read or _readings(one=bool(classes), encoded=bool(encoder)),
            by_label=by_label,
            rates=rates_of(store, workload, prices),
            seed=seed,
            encoder=encoder,
            progress=progress,
        )
    with writing(output):
        estimator.write(output)
    if output_format == "json":
        emit_json({"estimator": str(output), **estimator.report.to_json()})
    else:
        emit_text(fit_text(estimator.report))
        emit_text(f"wrote {output}", err=True)


def _readings(*, one: bool, encoded: bool) -> tuple[str, ...]:
    """What is read where nobody says: all there is to choose from, or one."""
    from profiles.difficulty.fit import WEIGHT

    if one:
        return (_ENCODED if encoded else WEIGHT,)
    return (*_READINGS, *([_ENCODED] if encoded else []))


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A callback (stage, done, to do) that draws a bar on a terminal's stderr, else nothing."""
    from tqdm import tqdm

    with tqdm(disable=None, leave=False) as bar:
        stage = ""

        def show(now: str, done: int, total: int) -> None:
            nonlocal stage
            if now != stage:
                bar.set_description_str(now, refresh=False)
                bar.reset(total)
                stage = now
            bar.update(done - bar.n)

        yield show


difficulty.add_command(show_command)
