"""Learn from prompts and outcomes which requests are hard, as one ONNX file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from profiles.difficulty.classify import normal
from profiles.difficulty.graph import build
from profiles.difficulty.kmeans import nearest, prototypes
from profiles.difficulty.lessons import Lessons, read_lessons
from profiles.difficulty.ridge import Floats, out_of_fold
from profiles.difficulty.running import outputs
from profiles.difficulty.text_features import feature_model
from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.store.store import Store

SMALLEST_SHARE = 0.05
_QUERIES_PER_CLASS = 10
_NAMES = {
    1: ("all",),
    2: ("easy", "hard"),
    3: ("easy", "medium", "hard"),
    4: ("easy", "medium", "hard", "hardest"),
    5: ("easiest", "easy", "medium", "hard", "hardest"),
}
#: Of guesses, weights and bias: far coarser than the last bits in which machines differ.
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class StrategyQuality:
    """How well one strategy's score is foreseen, out of fold.

    Attributes:
        strategy: Canonical text form.
        queries: Queries with a score.
        mean_score: 0..1.
        r2: Share of the variance between queries that is foreseen; at most 1, 0 or less is none.
        auc: Chance that a solved query is ranked above a failed one; None where scores are not
            all 0 or 1, or all the same.
    """

    strategy: str
    queries: int
    mean_score: float
    r2: float
    auc: float | None


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """One class as its queries were sorted out of fold.

    Attributes:
        name: Easiest class first in a report.
        queries: Queries in it.
        share: Of all queries.
        mean_scores: Measured mean score by strategy; None where none of its queries was measured.
    """

    name: str
    queries: int
    share: float
    mean_scores: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit found.

    Attributes:
        workload: What it was fitted on.
        queries: Queries with a prompt and a score.
        queries_without_prompt: Scored queries that could not be used.
        classes_asked: How many classes were asked for.
        folds: Folds of the cross-validation.
        seed: Of folds and restarts.
        ridge_strength: The penalty with the smallest out-of-fold error.
        strategies: Quality per strategy.
        classes: Easiest first.
        remarks: What a person should know, in words.
    """

    workload: str
    queries: int
    queries_without_prompt: int
    classes_asked: int
    folds: int
    seed: int
    ridge_strength: float
    strategies: tuple[StrategyQuality, ...]
    classes: tuple[ClassFacts, ...]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


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
            path.write_bytes(self.content)
        except OSError as error:
            raise InputError(
                "cannot write the difficulty estimator",
                where=str(path),
                got=str(error),
                next_step="choose a file in a folder that exists and may be written to",
            ) from error


def fit(store: Store, workload: str, *, classes: int, folds: int = 5, seed: int = 0) -> Estimator:
    """Fit a difficulty estimator and store the class that each query gets out of fold.

    Guesses, weights and bias are rounded to 5 decimals before anything is decided or written,
    because linear algebra on another number of cores, or another processor, differs in the last
    bits. A value that lies on the edge between two roundings can still fall to either side, so
    equal bytes on every machine are to be expected but not guaranteed.

    Args:
        store: Open for writing; holds prompts and scores of the workload.
        workload: Which traffic.
        classes: How many classes; fewer come back where some would hold less than 5 % of queries.
        folds: Each query is sorted by a model that saw neither it nor a copy of its prompt.
        seed: The same content and seed give the same bytes on the same machine.

    Raises:
        InputError: Impossible arguments, or too few queries with prompts.
    """
    lessons = read_lessons(store, workload)
    fold_of = _folds(lessons.prompts, folds, seed) if folds > 1 else np.zeros(0, dtype=np.intp)
    _refuse_too_little(lessons, workload, classes, folds, fold_of)
    strength, guesses, model = out_of_fold(features(lessons.prompts), lessons.scores, fold_of)
    guesses = _rounded(guesses.clip(0, 1))
    centres = prototypes(guesses, classes, smallest_share=SMALLEST_SHARE, seed=seed)
    centres = centres[_easiest_first(lessons.scores, nearest(guesses, centres), centres)]
    group = nearest(guesses, centres)
    names = class_names(len(centres))
    report = FitReport(
        workload=workload,
        queries=len(lessons.prompts),
        queries_without_prompt=lessons.without_prompt,
        classes_asked=classes,
        folds=folds,
        seed=seed,
        ridge_strength=strength,
        strategies=_qualities(lessons, guesses),
        classes=_class_facts(lessons, group, names),
        remarks=_remarks(lessons, classes, len(names)),
    )
    graph = build(
        _rounded(model.weights).astype(np.float32),
        _rounded(model.bias).astype(np.float32),
        centres.astype(np.float32),
        workload=workload,
        class_names=names,
        strategies=lessons.strategies,
        note=f"difficulty classes of workload {workload}, from {report.queries} queries",
    )
    content: bytes = graph.SerializeToString(deterministic=True)
    estimator = Estimator(content, digest_bytes(content), names, lessons.strategies, report)
    sorted_into = {q: names[g] for q, g in zip(lessons.query_ids, group, strict=True)}
    store.save_classes(estimator.digest, workload, sorted_into)
    return estimator


def class_names(count: int) -> tuple[str, ...]:
    """What so many classes are called, easiest first."""
    return _NAMES.get(count) or tuple(f"level-{level}" for level in range(1, count + 1))


def features(prompts: Sequence[str]) -> csr_array:
    """float64[n, FEATURES], computed by the graph that will serve; batches have similar lengths."""
    graph = feature_model().SerializeToString()
    batches = [(i, csr_array(rows)) for i, rows in outputs(graph, "features", prompts)]
    order = [position for positions, _ in batches for position in positions]
    rows = vstack([part for _, part in batches], format="csr", dtype=np.float64)
    return csr_array(rows[np.argsort(order)])


def _rounded(values: Floats) -> Floats:
    return np.asarray(values.round(_DECIMALS) + 0.0)  # -0.0 and 0.0 have different bytes


def _folds(prompts: Sequence[str], folds: int, seed: int) -> NDArray[np.intp]:
    """A fold per prompt; prompts that differ only in case and blanks share one."""
    texts = [normal(prompt) for prompt in prompts]
    order = sorted(set(texts), key=lambda text: hashlib.sha256(f"{seed}:{text}".encode()).digest())
    fold = {text: rank % folds for rank, text in enumerate(order)}
    return np.array([fold[text] for text in texts], dtype=np.intp)


def _refuse_too_little(
    lessons: Lessons, workload: str, classes: int, folds: int, fold_of: NDArray[np.intp]
) -> None:
    where = f"workload {workload}"
    if classes < 1 or folds < 2:
        raise InputError(
            "these cannot be fitted",
            where=where,
            expected="at least 1 class and 2 folds",
            got=f"{classes} classes and {folds} folds",
        )
    needed = max(_QUERIES_PER_CLASS * classes, 2 * folds)
    if len(lessons.prompts) < needed or len(set(fold_of)) < folds:
        raise InputError(
            "too few different prompts with scores",
            where=where,
            expected=f"at least {needed} queries with prompts",
            got=f"{len(lessons.prompts)}, and {lessons.without_prompt} scored without a prompt",
            next_step="import prompts with --prompts, or measure more queries",
        )
    for index, strategy in enumerate(lessons.strategies):
        known = np.isfinite(lessons.scores[:, index])
        if any((known & (fold_of != fold)).sum() < 2 for fold in range(folds)):
            raise InputError(
                "this strategy was measured on too few queries with prompts",
                where=f"{where}, strategy {strategy}",
                got=f"{known.sum()} queries",
                next_step="measure it on more queries",
            )


def _easiest_first(scores: Floats, group: NDArray[np.intp], centres: Floats) -> NDArray[np.intp]:
    """Order of classes by measured score on the strategies that all of them have."""
    means = _group_means(scores, group, len(centres))
    shared = np.isfinite(means).all(axis=0)
    level = means[:, shared].mean(axis=1) if shared.any() else centres.mean(axis=1)
    return np.asarray(np.lexsort((-centres.mean(axis=1), -level)))


def _group_means(scores: Floats, group: NDArray[np.intp], count: int) -> Floats:
    known = np.isfinite(scores)
    means = np.full((count, scores.shape[1]), np.nan)
    for index in range(count):
        rows = group == index
        number = known[rows].sum(axis=0)
        np.divide(np.nansum(scores[rows], axis=0), number, out=means[index], where=number > 0)
    return means


def _qualities(lessons: Lessons, guesses: Floats) -> tuple[StrategyQuality, ...]:
    found = []
    for index, strategy in enumerate(lessons.strategies):
        known = np.isfinite(lessons.scores[:, index])
        truth, guess = lessons.scores[known, index], guesses[known, index]
        variance = float(((truth - truth.mean()) ** 2).sum())
        r2 = 1 - float(((truth - guess) ** 2).sum()) / variance if variance > 0 else 0.0
        found.append(
            StrategyQuality(strategy, int(known.sum()), float(truth.mean()), r2, _auc(truth, guess))
        )
    return tuple(found)


def _auc(truth: Floats, guess: Floats) -> float | None:
    """Mann-Whitney's U over the number of pairs; ties count half."""
    solved = truth == 1
    if not np.isin(truth, (0, 1)).all() or solved.all() or not solved.any():
        return None
    _, place, counts = np.unique(guess, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n = int(solved.sum())
    return float((ranks[solved].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def _class_facts(
    lessons: Lessons, group: NDArray[np.intp], names: Sequence[str]
) -> tuple[ClassFacts, ...]:
    means = _group_means(lessons.scores, group, len(names))
    facts = []
    for index, name in enumerate(names):
        size = int((group == index).sum())
        by_strategy = {
            strategy: float(mean) if np.isfinite(mean) else None
            for strategy, mean in zip(lessons.strategies, means[index], strict=True)
        }
        facts.append(ClassFacts(name, size, size / len(group), by_strategy))
    return tuple(facts)


def _remarks(lessons: Lessons, asked: int, found: int) -> tuple[str, ...]:
    remarks = []
    if found < asked:
        remarks.append(
            f"{found} of {asked} classes: more would leave one with less than "
            f"{SMALLEST_SHARE:.0%} of the queries"
        )
    if lessons.without_prompt:
        remarks.append(f"{lessons.without_prompt} scored queries have no prompt and were left out")
    return tuple(remarks)
