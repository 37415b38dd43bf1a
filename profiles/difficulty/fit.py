"""Learn from prompts and outcomes which requests are hard, as one ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.choosing import Choosing, Judge, Way, on_trial
from profiles.difficulty.folds import Folds, folds
from profiles.difficulty.graph import Parts, build
from profiles.difficulty.honesty.calibration import reliability
from profiles.difficulty.honesty.confusion import confusion
from profiles.difficulty.honesty.prediction_sets import (
    class_chances,
    nearest_in_hindsight,
    prediction_sets,
)
from profiles.difficulty.honesty.report import (
    EncoderUsed,
    FitReport,
    SetFacts,
    class_facts,
    class_means,
    qualities,
)
from profiles.difficulty.honesty.unfamiliar import Unfamiliar, false_alarms, fit_unfamiliar
from profiles.difficulty.lessons import Lessons, read_lessons
from profiles.difficulty.predicting.predictor import ENCODED, WEIGHTS
from profiles.difficulty.progress import Progress, silent
from profiles.difficulty.reading.encoder import Encoder
from profiles.difficulty.reading.token_roots import rows_of
from profiles.difficulty.reading.vectors import read_vectors
from profiles.difficulty.sorting.classes import SMALLEST_SHARE
from profiles.difficulty.sorting.combined import refuse_unusable
from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.pricing.rates import Rate
from profiles.store.store import Store

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]
#: How much of a text is read where nobody chooses.
WEIGHT = "words+surface"
_FOLDS_AT_LEAST = 3
_QUERIES_PER_CLASS = 10
_SET_ERRORS = 0.1
_CLASSES = 4


@dataclass(frozen=True, slots=True)
class Estimator:
    """A fitted graph; its out-of-fold classes are in the store under `digest`.

    Attributes:
        content: The ONNX file's bytes.
        digest: Of `content`.
        class_names: Easiest first.
        strategies: Columns of the predicted scores.
        report: What the fit found.
    """

    content: bytes
    digest: str
    class_names: tuple[str, ...]
    strategies: tuple[str, ...]
    report: FitReport

    def write(self, path: Path) -> None:
        """Write the ONNX file whole.

        Raises:
            InputError: The file cannot be written.
        """
        try:
            part = path.with_name(f"{path.name}.part")
            part.write_bytes(self.content)
            part.replace(path)
        except OSError as error:
            raise InputError(
                "cannot write the difficulty estimator",
                where=str(path),
                got=str(error),
                next_step="choose a file in a folder that exists and may be written to",
            ) from error


def fit(
    store: Store,
    workload: str,
    *,
    classes: int | None = None,
    judge: Judge | None = None,
    weights: Sequence[str] = (WEIGHT,),
    by_label: bool = False,
    rates: Sequence[Rate] = (),
    folds: int = 5,
    seed: int = 0,
    encoder: Encoder | None = None,
    progress: Progress = silent,
) -> Estimator:
    """Fit a difficulty estimator and store the class that each query gets out of fold.

    Numbers are rounded to 5 decimals before anything is decided or written, because linear algebra
    on another number of cores, or another processor, differs in the last bits. A value that lies
    on the edge between two roundings can still fall to either side, so equal bytes on every
    machine are to be expected but not guaranteed.

    Args:
        store: Open for writing; holds prompts and scores of the workload.
        workload: Which traffic.
        classes: How many classes; fewer come back where some would hold less than 5 % of queries.
            None lets `judge` choose their number and how queries are sorted.
        judge: Chooses where `classes` is None; without one there are 4 classes.
        weights: How much of a text is read, of `predictor.WEIGHTS` and, with an encoder,
            `predictor.ENCODED`; several only with a judge.
        by_label: Combine the classes of the text with the labels that came with the queries.
        rates: Price rows that have no dollars but tokens or GPU-seconds.
        folds: Each query is sorted by a model that saw neither it nor a near-copy of its prompt.
        seed: The same content and seed give the same bytes on the same machine.
        encoder: Reads all prompts once, where one of the weights asks for its vectors.
        progress: Told before every reading; a judge tells its own.

    Raises:
        InputError: Impossible arguments, too few queries with prompts, or queries without a label
            where labels are combined.
    """
    _refuse_unknown(weights, encoder)
    lessons = read_lessons(store, workload, rates)
    if by_label:
        refuse_unusable(lessons.labels)
    if len(weights) > 1 and (judge is None or classes is not None):
        raise InputError("several readings of a text and nobody to choose between them")
    dealt = _dealt(lessons, 1 if classes is None else classes, folds, seed)
    unfamiliar, flags = fit_unfamiliar(rows_of(lessons.prompts), dealt.fold_of, seed=seed)
    if encoder and set(weights) & set(ENCODED):
        lessons = replace(lessons, vectors=read_vectors(encoder, lessons.prompts, progress))
    trials = []
    for done, weight in enumerate(weights):
        progress(f"learn from {weight}", done, len(weights))
        trials.append(on_trial(lessons, dealt, weight))
    choosing = Choosing(lessons, dealt, flags, by_label, seed)
    if classes is None and judge is not None:
        chosen = choosing.by(judge, trials, progress)
    else:
        chosen = choosing.as_asked(trials[-1], classes or _CLASSES)
    trial, way = chosen.trial, chosen.way
    kept = encoder if encoder and trial.weight in ENCODED else None
    parts = Parts(
        trial.trained.predictor,
        trial.recalibration,
        way.sorting,
        unfamiliar,
        way.combined,
        kept.facts if kept else None,
    )
    guesses = trial.predictions.scores
    final, names = way.class_index, way.names
    report = FitReport(
        workload=workload,
        queries=len(lessons.prompts),
        queries_without_prompt=lessons.without_prompt,
        classes_asked=classes,
        folds=folds,
        seed=seed,
        weight=trial.weight,
        encoder=EncoderUsed(kept.digest, kept.width, kept.provider) if kept else None,
        labels_used=trial.trained.labels_used,
        sorting=way.kind,
        reason=chosen.reason,
        candidates=chosen.table,
        strategies=qualities(lessons, guesses),
        reliability=reliability(guesses, lessons.scores, lessons.strategies, seed=seed),
        recalibrated=tuple(
            name
            for name, changed in zip(lessons.strategies, trial.recalibration.changed, strict=True)
            if changed
        ),
        classes=class_facts(lessons, final, names, _meanings(way)),
        sets=_sets(lessons, guesses, final, dealt.fold_of, len(names)),
        labels=confusion(way.text_class, way.sorting.names, lessons.labels),
        unfamiliar=false_alarms(flags),
        remarks=(
            *_remarks(lessons, classes, len(way.sorting.names)),
            *_rare(final, names),
            *_alarmed(flags, unfamiliar),
            *dealt.remarks,
        ),
    )
    content = build(
        parts,
        lessons.strategies,
        workload=workload,
        note=f"difficulty classes of workload {workload}, from {report.queries} queries",
    )
    estimator = Estimator(content, digest_bytes(content), names, lessons.strategies, report)
    sorted_into = {q: names[g] for q, g in zip(lessons.query_ids, final, strict=True)}
    store.save_classes(estimator.digest, workload, sorted_into)
    return estimator


def _refuse_unknown(weights: Sequence[str], encoder: Encoder | None) -> None:
    known = (*WEIGHTS, *(ENCODED if encoder else ()))
    if not weights or not set(weights) <= set(known):
        raise InputError(
            "no such reading of a text" + ("" if encoder else " without a sentence encoder"),
            expected=f"one or more of {', '.join(known)}",
            got=", ".join(weights) or "none",
        )


def _meanings(way: Way) -> tuple[str, ...]:
    if way.combined is None:
        return way.sorting.describe()
    return tuple("by the caller's label and the text" for _ in way.names)


def _sets(
    lessons: Lessons, guesses: Floats, class_index: Indices, fold_of: Indices, count: int
) -> SetFacts | None:
    if count == 1:
        return None
    truth = nearest_in_hindsight(lessons.scores, class_means(lessons.scores, class_index, count))
    chances = class_chances(guesses, class_index, truth, fold_of, count)
    found = prediction_sets(chances, truth, fold_of, _SET_ERRORS)
    return SetFacts(found.alpha, found.overall, found.by_class, found.mean_size, found.single)


def _dealt(lessons: Lessons, classes: int, count: int, seed: int) -> Folds:
    """Folds, where there is enough to learn from in each."""
    where = f"workload {lessons.workload}"
    if classes < 1 or count < _FOLDS_AT_LEAST:
        raise InputError(
            "these cannot be fitted",
            where=where,
            expected=f"at least 1 class and {_FOLDS_AT_LEAST} folds",
            got=f"{classes} classes and {count} folds",
        )
    needed = max(_QUERIES_PER_CLASS * classes, 2 * count)
    dealt = folds(lessons.prompts, count, seed)
    if len(lessons.prompts) < needed or len(set(dealt.fold_of)) < count:
        raise InputError(
            "too few different prompts with scores",
            where=where,
            expected=f"at least {needed} queries, and prompts for {count} folds",
            got=f"{len(lessons.prompts)} queries with {len(set(dealt.group_of))} prompts "
            f"that are no near-copies, and {lessons.without_prompt} scored without a prompt",
            next_step="import prompts with --prompts, measure more queries, or check the name of "
            "the workload",
        )
    for index, strategy in enumerate(lessons.strategies):
        known = np.isfinite(lessons.scores[:, index])
        by_fold = np.sort(np.bincount(dealt.fold_of[known], minlength=count))
        if by_fold[: count - 2].sum() < 2:  # models are fitted without two folds at a time
            raise InputError(
                "this strategy was measured on too few queries with prompts",
                where=f"{where}, strategy {strategy}",
                got=f"{known.sum()} queries",
                next_step="measure it on more queries",
            )
    return dealt


def _rare(final: Indices, names: Sequence[str]) -> Iterator[str]:
    """Labels have a class each, however rare they are."""
    small = (np.bincount(final, minlength=len(names)) < SMALLEST_SHARE * len(final)).sum()
    if small:
        yield (
            f"{small} of {len(names)} classes hold less than {SMALLEST_SHARE:.0%} of the queries: "
            "plans can promise little there"
        )


def _alarmed(flags: Flags, unfamiliar: Unfamiliar) -> Iterator[str]:
    found = false_alarms(flags)
    if found.low > unfamiliar.alpha:
        yield (
            f"{found.alarms} of {found.queries} training prompts look unlike the others, more than "
            f"the {unfamiliar.alpha:.0%} that chance explains: they are in the last class, and "
            "prompts to come may not be"
        )


def _remarks(lessons: Lessons, asked: int | None, found: int) -> tuple[str, ...]:
    remarks = []
    if asked is not None and found < asked:
        remarks.append(
            f"{found} of {asked} classes: more would leave one with less than "
            f"{SMALLEST_SHARE:.0%} of the queries"
        )
    if lessons.without_prompt:
        remarks.append(f"{lessons.without_prompt} scored queries have no prompt and were left out")
    return tuple(remarks)
