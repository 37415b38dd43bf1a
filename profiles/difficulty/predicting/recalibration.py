"""An affine step that takes predicted scores to where the measured ones lie, where that helps.

Per strategy ``scale * predicted + shift``, clipped to 0..1, with scale and shift by least squares
of measured on predicted scores; with a scale below 1 this is shrinkage towards the mean (Copas,
JRSS B 45 (1983)). The scale is never negative, so the order of queries stays. A step is kept where
it lowers the squared error of queries in folds that it was not fitted on by more than one standard
error of that gain; else scale 1 and shift 0 change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.honesty.calibration import line
from profiles.difficulty.nodes import Graph, floats

Floats = NDArray[np.float64]
_DECIMALS = 5
_FEWEST = 30
"""Measured queries outside a fold from which a line is fitted."""


@dataclass(frozen=True, slots=True)
class Recalibration:
    """One affine step per strategy.

    Attributes:
        scale: Shape (S,), at least 0, rounded to 5 decimals; 1 where nothing is changed.
        shift: Shape (S,); 0 where nothing is changed.
        gain: Shape (S,): out-of-fold squared error that the step takes away per query, whether it
            is kept or not; nan where too few queries were measured.
        gain_error: Its standard error.
        predicted: Shape (n, S): the training queries' scores, each by a step that was fitted
            without its fold, in 0..1.
    """

    scale: Floats
    shift: Floats
    gain: Floats
    gain_error: Floats
    predicted: Floats

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Shape (S,): strategies whose scores the step changes."""
        return np.asarray((self.scale != 1) | (self.shift != 0))

    def apply(self, predicted: Floats) -> Floats:
        """Scores of shape (n, S) in 0..1 after the step."""
        return np.asarray((predicted * self.scale + self.shift).clip(0, 1))

    def append(self, graph: Graph, scores: str) -> str:
        """Name of the float32[N, S] of the graph's float32[N, S] `scores` after the step.

        The name of `scores` itself where no strategy is changed.
        """
        if not self.changed.any():
            return scores
        scaled = graph.add("Mul", scores, floats(*self.scale))
        shifted = graph.add("Add", scaled, floats(*self.shift))
        return graph.add("Clip", shifted, floats(0).reshape(()), floats(1).reshape(()))


def recalibrate(predicted: Floats, measured: Floats, fold_of: NDArray[np.intp]) -> Recalibration:
    """The step of every strategy, chosen on folds that it was not fitted on.

    Args:
        predicted: Shape (n, S), in 0..1, out of fold.
        measured: Shape (n, S), in 0..1; nan where unmeasured.
        fold_of: Shape (n,): the folds of the predictions.
    """
    strategies = predicted.shape[1]
    scale, shift = np.ones(strategies), np.zeros(strategies)
    gain, gain_error = np.full(strategies, np.nan), np.full(strategies, np.nan)
    found = predicted.copy()
    for index in range(strategies):
        trial = _across_folds(predicted[:, index], measured[:, index], fold_of)
        if trial is None:
            continue
        known = np.isfinite(measured[:, index])
        truth = measured[known, index]
        less = (predicted[known, index] - truth) ** 2 - (trial[known] - truth) ** 2
        gain[index] = less.mean()
        gain_error[index] = less.std(ddof=1) / np.sqrt(len(less))
        if gain[index] > gain_error[index]:
            scale[index], shift[index] = _step(predicted[known, index], truth)
            found[:, index] = trial
    return Recalibration(scale, shift, gain, gain_error, found)


def _across_folds(predicted: Floats, measured: Floats, fold_of: NDArray[np.intp]) -> Floats | None:
    """Shape (n,): every query by the step of the other folds; None where one has too few."""
    known = np.isfinite(measured)
    found = np.empty(len(predicted))
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        train = known & ~inside
        if train.sum() < _FEWEST:
            return None
        scale, shift = _step(predicted[train], measured[train])
        found[inside] = (predicted[inside] * scale + shift).clip(0, 1)
    return found


def _step(predicted: Floats, measured: Floats) -> tuple[float, float]:
    fitted = line(predicted, measured)
    scale = max(fitted.slope, 0.0) if fitted is not None else 0.0
    scale = round(scale, _DECIMALS)
    return scale, round(float(measured.mean() - scale * predicted.mean()), _DECIMALS)
