"""What a fit found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.honesty.calibration import Reliability
from profiles.difficulty.honesty.confusion import Confusion
from profiles.difficulty.honesty.prediction_sets import Coverage
from profiles.difficulty.honesty.unfamiliar import FalseAlarms
from profiles.difficulty.lessons import Lessons

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


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
        meaning: What the queries have in common, in words.
        queries: Queries in it.
        share: Of all queries.
        mean_scores: Measured mean score by strategy; None where none of its queries was measured.
    """

    name: str
    meaning: str
    queries: int
    share: float
    mean_scores: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class SetFacts:
    """Prediction sets of the training queries; the true class is the one outcomes fit best.

    Attributes:
        alpha: The error rate that was allowed.
        coverage: How often sets held the true class.
        by_class: The same per true class, easiest first; rare classes can be covered less often.
        mean_size: Classes per set.
        single: Share of sets with one class.
    """

    alpha: float
    coverage: Coverage
    by_class: tuple[Coverage, ...]
    mean_size: float
    single: float


@dataclass(frozen=True, slots=True)
class EncoderUsed:
    """The sentence encoder whose vectors the estimator reads.

    Attributes:
        digest: What pins it.
        width: Numbers in a vector.
        provider: The execution provider that read the training prompts.
    """

    digest: str
    width: int
    provider: str


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit found.

    Attributes:
        workload: What it was fitted on.
        queries: Queries with a prompt and a score.
        queries_without_prompt: Scored queries that could not be used.
        classes_asked: How many classes were asked for, None where plans were to choose.
        folds: Folds of the cross-validation.
        seed: Of folds and restarts.
        weight: How much of a text the predictor reads.
        encoder: Whose vectors it reads, None where it reads none.
        labels_used: Whether the predictor goes by what the text says of the label.
        sorting: How predictions become classes.
        reason: Why these classes, in words; empty where their number was asked for.
        candidates: How every way of sorting did on plans for unseen queries; empty likewise.
        strategies: Quality per strategy.
        reliability: Predicted against measured scores, per strategy with two queries or more.
        recalibrated: Strategies whose predictions were scaled to fit what was measured.
        classes: Easiest first.
        sets: How sure the class of a query is; None where there is but one class.
        labels: Classes against labels, None where no query has one.
        unfamiliar: Training prompts that are called unlike the others, by mistake.
        remarks: What a person should know, in words.
    """

    workload: str
    queries: int
    queries_without_prompt: int
    classes_asked: int | None
    folds: int
    seed: int
    weight: str
    encoder: EncoderUsed | None
    labels_used: bool
    sorting: str
    reason: str
    candidates: tuple[Any, ...]
    strategies: tuple[StrategyQuality, ...]
    reliability: tuple[Reliability, ...]
    recalibrated: tuple[str, ...]
    classes: tuple[ClassFacts, ...]
    sets: SetFacts | None
    labels: Confusion | None
    unfamiliar: FalseAlarms
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


def qualities(lessons: Lessons, guesses: Floats) -> tuple[StrategyQuality, ...]:
    """Of out-of-fold scores, shape (n, S)."""
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


def class_facts(
    lessons: Lessons, class_index: Indices, names: Sequence[str], meanings: Sequence[str]
) -> tuple[ClassFacts, ...]:
    """Of classes by index, shape (n,)."""
    means = class_means(lessons.scores, class_index, len(names))
    facts = []
    for index, (name, meaning) in enumerate(zip(names, meanings, strict=True)):
        size = int((class_index == index).sum())
        by_strategy = {
            strategy: float(mean) if np.isfinite(mean) else None
            for strategy, mean in zip(lessons.strategies, means[index], strict=True)
        }
        facts.append(ClassFacts(name, meaning, size, size / len(class_index), by_strategy))
    return tuple(facts)


def class_means(scores: Floats, class_index: Indices, count: int) -> Floats:
    """Mean measured score, shape (count, S); nan where nothing was measured."""
    known = np.isfinite(scores)
    means = np.full((count, scores.shape[1]), np.nan)
    for index in range(count):
        rows = class_index == index
        number = known[rows].sum(axis=0)
        np.divide(np.nansum(scores[rows], axis=0), number, out=means[index], where=number > 0)
    return means
