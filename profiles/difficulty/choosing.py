"""Which sorting of which predictor an estimator is made of: as asked for, or by judged trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.folds import Folds
from profiles.difficulty.lessons import Lessons
from profiles.difficulty.predicting.predictor import Predictions, Trained, train
from profiles.difficulty.predicting.recalibration import Recalibration, recalibrate
from profiles.difficulty.progress import Progress
from profiles.difficulty.sorting.candidates import Sorting, candidates
from profiles.difficulty.sorting.classes import SMALLEST_SHARE, too_small
from profiles.difficulty.sorting.combined import Combined, combine
from profiles.difficulty.sorting.kmeans import Prototypes

Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]
#: Numbers of classes that plans choose from.
COUNTS = (1, 2, 3, 4, 5, 6, 8, 12)
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """One reading of texts.

    Attributes:
        weight: Which one, of `predictor.WEIGHTS`.
        trained: The predictor.
        recalibration: What brings its scores to where measured ones lie.
        predictions: Of the training queries, out of fold, recalibrated, to 5 decimals.
    """

    weight: str
    trained: Trained
    recalibration: Recalibration
    predictions: Predictions


@dataclass(frozen=True, slots=True)
class Way:
    """A way of sorting, and the class that it gives each training query as it will be served.

    Attributes:
        kind: Of sorting, in words.
        names: Of the classes, easiest first.
        class_index: intp[n], into the names.
        text_class: intp[n], the class of the text alone; unfamiliar texts are in the last one.
        sorting: Predictions to classes of the text.
        combined: Labels times those classes, None where text is all.
    """

    kind: str
    names: tuple[str, ...]
    class_index: Indices
    text_class: Indices
    sorting: Sorting
    combined: Combined | None


class Judgement(Protocol):
    """Which of the ways to keep.

    Attributes:
        index: Its place.
        reason: Why, in words.
        table: How each did.
    """

    @property
    def index(self) -> int: ...  # noqa: D102 - see above
    @property
    def reason(self) -> str: ...  # noqa: D102 - see above
    @property
    def table(self) -> tuple[Any, ...]: ...  # noqa: D102 - see above


Judge = Callable[[Lessons, Sequence[Way], Indices], Judgement]
"""Chooses between ways by lessons and the fold of every query."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an estimator is made of, and why; no reason where nothing was to be chosen."""

    trial: Trial
    way: Way
    reason: str = ""
    table: tuple[Any, ...] = ()


def on_trial(lessons: Lessons, dealt: Folds, weight: str) -> Trial:
    """Train one reading."""
    trained = train(lessons, dealt.fold_of, weight)
    raw = trained.predictions
    recalibration = recalibrate(raw.scores, trained.nested, lessons.scores, dealt.fold_of)
    scores = recalibration.predicted.clip(0, 1).round(_DECIMALS) + 0.0
    return Trial(weight, trained, recalibration, Predictions(scores, raw.costs))


@dataclass(frozen=True, slots=True)
class Choosing:
    """What ways of sorting are made from.

    Attributes:
        lessons: n queries.
        dealt: Their folds.
        unfamiliar: bool[n], out of fold: texts that go to the last class.
        by_label: Classes of the text are combined with labels.
        seed: Of restarts.
    """

    lessons: Lessons
    dealt: Folds
    unfamiliar: Flags
    by_label: bool
    seed: int

    def as_asked(self, trial: Trial, count: int) -> Chosen:
        """At most so many classes, by prototypes; fewer where one would be too small."""
        while True:
            sorting = Prototypes.fit(trial.predictions, count, seed=self.seed)
            way = self._way(trial, sorting, sorting.sort(trial.predictions))
            if way:
                return Chosen(trial, way)
            count = len(sorting.names) - 1

    def by(self, judge: Judge, trials: Sequence[Trial], progress: Progress) -> Chosen:
        """The best of all ways of sorting, by all predictors."""
        listed = []
        for done, trial in enumerate(trials):
            progress(f"sort by {trial.weight}", done, len(trials))
            listed += [(trial, way) for way in self._ways(trial)]
        judgement = judge(self.lessons, [way for _, way in listed], self.dealt.fold_of)
        trial, way = listed[judgement.index]
        return Chosen(trial, way, judgement.reason, judgement.table)

    def _ways(self, trial: Trial) -> Iterator[Way]:
        found = candidates(trial.predictions, self.lessons, self.dealt.fold_of, COUNTS, self.seed)
        ways = (self._way(trial, one.sorting, one.class_index) for one in found)
        return (way for way in ways if way)

    def _way(self, trial: Trial, sorting: Sorting, index: Indices) -> Way | None:
        """None where a class has lost so many unfamiliar queries that it is too small."""
        count = len(sorting.names)
        text_class = np.where(self.unfamiliar, count - 1, index)
        if too_small(text_class, count):
            return None
        if not self.by_label:
            return Way(sorting.kind, sorting.names, text_class, text_class, sorting, None)
        combined = combine(
            self.lessons.labels,
            text_class,
            sorting.names,
            smallest_share=SMALLEST_SHARE,
            level=trial.predictions.scores.mean(axis=1),
        )
        final = combined.classes(self.lessons.labels, text_class)
        return Way(sorting.kind, combined.names, final, text_class, sorting, combined)
