"""Predicted score and dollars of every strategy, from a prompt's text alone.

Level one (`level_one.py`) holds ridge regressions on the text's features at several strengths of
the penalty, the same on a sentence encoder's vectors where there is one, and, where every query has
a label, the label's mean scores as far as the text gives the label away: label indicators are
regressed like scores, negative guesses are cut, and their squares are brought to sum 1. Level two
adds these up with weights that are not negative (stacked regressions, Breiman 1996): one set for
all scores and one for all costs, found on predictions of level one for queries that it had not
seen. For the prediction of a fold, level one is fitted without that fold and one fold more, so
neither level has seen the fold's outcomes. What words there are, and how frequent, comes from the
texts of all prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from scipy.sparse import csr_array

from profiles.difficulty.lessons import Lessons
from profiles.difficulty.nodes import EMBEDDING_INPUT, Graph, ints
from profiles.difficulty.predicting.features import Features
from profiles.difficulty.predicting.level_one import (
    LEAST_SQUARE,
    LevelOne,
    label_shares,
    level_one,
)
from profiles.difficulty.predicting.stacking import stack
from profiles.difficulty.reading.recipes import (
    RECIPES,
    Linear,
    Reading,
    Vectors,
    rounded,
)
from profiles.difficulty.running import outputs

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Readings of the text alone, in rising weight.
WEIGHTS = tuple(name for name, recipe in RECIPES.items() if not recipe.with_vectors)
#: Readings that need an encoder's vectors.
ENCODED = tuple(name for name, recipe in RECIPES.items() if recipe.with_vectors)
#: Predicted dollars are at least this share of the strategy's mean.
LEAST_COST = 0.02
_MOST_LABELS = 200


@dataclass(frozen=True, slots=True)
class Predictions:
    """What strategies are expected to score and to cost on n queries.

    Attributes:
        scores: float64[n, S] in 0..1.
        costs: float64[n, S] in dollars, above 0; None where a strategy has no costs.
    """

    scores: Floats
    costs: Floats | None


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model of texts that an ONNX graph can hold.

    Attributes:
        linear: T + L columns: the targets' share that is linear in the text, guesses of labels.
        table: float64[L, T], what is added per label; L is 0 where labels do not help.
        strategies: S; T is S, or 2 S with costs relative to `mean_costs` behind the scores.
        mean_costs: float64[S] dollars, or None.
    """

    linear: Linear
    table: Floats
    strategies: int
    mean_costs: Floats | None

    @property
    def width(self) -> int:
        """D, the numbers in a vector; 0 where none is read."""
        return len(self.linear.vectors)

    def predict(self, prompts: Sequence[str], vectors: Vectors | None = None) -> Predictions:
        """What the graph that serves predicts."""
        graph = Graph()
        names = self.append(graph)
        shape: list[str | int] = ["N", self.strategies]
        kinds = {name: (TensorProto.FLOAT, shape) for name in names if name is not None}
        widths = {EMBEDDING_INPUT: self.width} if self.width else {}
        model = graph.model(kinds, {}, vectors=widths).SerializeToString()
        found = [np.empty((len(prompts), self.strategies)) for _ in kinds]
        for name, values in zip(kinds, found, strict=True):
            for positions, rows in outputs(model, name, prompts, vectors=vectors):
                values[positions] = rows
        return Predictions(found[0], found[1] if len(found) > 1 else None)

    def predict_rows(self, rows: csr_array, vectors: Vectors | None = None) -> Predictions:
        """The same from rows of the reading and vectors, in numpy."""
        found = self.linear.predict(rows, vectors)
        targets = found[:, : self.table.shape[1]]
        if len(self.table):
            targets = targets + label_shares(found[:, self.table.shape[1] :]) @ self.table
        return _predictions(targets, self.strategies, self.mean_costs)

    def append(self, graph: Graph) -> tuple[str, str | None]:
        """Names of float32[N, S] scores in 0..1 and dollars, for the graph's input `text`."""
        found = self.linear.append(graph)
        width = self.table.shape[1]
        targets = graph.add("Slice", found, ints(0), ints(width), ints(1))
        if len(self.table):
            end = width + len(self.table)
            guesses = graph.add("Slice", found, ints(width), ints(end), ints(1))
            likely = graph.add("Max", guesses, np.array([0.0]))
            squares = graph.add("Mul", likely, likely)
            squares = graph.add("Add", squares, np.array([LEAST_SQUARE]))
            total = graph.add("ReduceSum", squares, ints(1), keepdims=1)
            shares = graph.add("Div", squares, total)
            targets = graph.add("Add", targets, graph.add("MatMul", shares, self.table))
        scores = graph.add("Slice", targets, ints(0), ints(self.strategies), ints(1))
        scores = graph.add("Clip", scores, np.array(0.0), np.array(1.0))
        scores = graph.add("Cast", scores, to=TensorProto.FLOAT)
        if self.mean_costs is None:
            return scores, None
        costs = graph.add("Slice", targets, ints(self.strategies), ints(width), ints(1))
        costs = graph.add("Max", costs, np.array([LEAST_COST]))
        costs = graph.add("Mul", costs, self.mean_costs)
        return scores, graph.add("Cast", costs, to=TensorProto.FLOAT)


@dataclass(frozen=True, slots=True)
class Trained:
    """A predictor and what its like, fitted without a query's fold, predict for the query.

    Attributes:
        predictions: Of the training queries, out of fold, to 5 decimals.
        nested: float64[F, n, S] scores, to 5 decimals: no level has seen fold f, and level one not
            the query's fold either; nan for queries of fold f itself.
        predictor: Fitted on all of them.
        shares: Weight of each component for scores: one per strength on the text's features, on
            vectors where they are read, then of labels.
    """

    predictions: Predictions
    nested: Floats
    predictor: Predictor
    shares: tuple[float, ...]

    @property
    def labels_used(self) -> bool:
        """Whether the predictor goes by what the text says of the label."""
        return len(self.predictor.table) > 0


def train(lessons: Lessons, fold_of: Indices, weight: str) -> Trained:
    """Fit a predictor and predict its training queries out of fold.

    Args:
        lessons: n queries; every strategy has a score in every set of all folds but two. With
            vectors where the weight reads them.
        fold_of: intp[n], from 0, at least 3 folds.
        weight: One of `WEIGHTS`, or of `ENCODED`.
    """
    recipe = RECIPES[weight]
    reading, text = Reading.learn(recipe, lessons.prompts)
    vectors = lessons.vectors if recipe.with_vectors else None
    rows = Features.of(csr_array(text.astype(np.float32)), vectors)
    mean_costs = _mean_costs(lessons.costs, fold_of)
    targets = lessons.scores
    if mean_costs is not None:
        targets = np.hstack([lessons.scores, lessons.costs / mean_costs])
    labels = _label_indices(lessons.labels)
    level = level_one(rows, targets, fold_of, labels)
    groups = np.arange(targets.shape[1]) // len(lessons.strategies)
    found, nested, shares = stack(level, targets, fold_of, groups)
    predictor = _served(reading, level, shares, groups, mean_costs)
    width = len(lessons.strategies)
    predictions = _predictions(rounded(found), width, mean_costs)
    nested = rounded(nested[:, :, :width]).clip(0, 1)
    return Trained(predictions, nested, predictor, tuple(shares[0].tolist()))


def _mean_costs(costs: Floats, fold_of: Indices) -> Floats | None:
    """float64[S]; None where a strategy has none above 0, or none without some two folds."""
    known = np.isfinite(costs)
    by_fold = [known[fold_of == fold].sum(axis=0) for fold in range(int(fold_of.max()) + 1)]
    if not np.sort(by_fold, axis=0)[:-2].sum(axis=0).all():
        return None
    sums = np.where(known, costs, 0.0).sum(axis=0)
    return sums / known.sum(axis=0) if (sums > 0).all() else None


def _label_indices(labels: Sequence[str | None]) -> Indices | None:
    """intp[n]; None where a query has no label or there are fewer than 2, or too many."""
    names = sorted({label for label in labels if label is not None})
    if None in labels or not 2 <= len(names) <= _MOST_LABELS:
        return None
    place = {name: index for index, name in enumerate(names)}
    return np.array([place[label] for label in labels if label is not None], dtype=np.intp)


def _served(
    reading: Reading, level: LevelOne, shares: Floats, groups: Indices, mean_costs: Floats | None
) -> Predictor:
    """The components and their weights as one linear model and a table."""
    final = level.final
    by_target, direct = shares[groups], len(final.weights)
    weights = np.einsum("cpt,tc->pt", final.weights, by_target[:, :direct])
    bias = final.means
    table = np.zeros((0, len(bias)))
    if shares[:, direct:].any():
        weights = np.hstack([weights, final.label_weights])
        table = rounded((final.table - final.means) * by_target[:, -1])
        bias = np.concatenate([bias, final.label_means])
    strategies = int((groups == 0).sum())
    return Predictor(Linear.of(reading, weights, bias), table, strategies, mean_costs)


def _predictions(targets: Floats, strategies: int, mean_costs: Floats | None) -> Predictions:
    scores = targets[:, :strategies].clip(0, 1)
    if mean_costs is None:
        return Predictions(scores, None)
    return Predictions(scores, targets[:, strategies:].clip(LEAST_COST) * mean_costs)
