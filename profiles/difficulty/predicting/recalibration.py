"""An affine step that takes predicted scores to where the measured ones lie, where that helps.

Per strategy ``scale * predicted + shift``, clipped to 0..1. The scale is the slope of measured on
predicted scores by least squares; below 1 it is shrinkage towards the mean (Copas, JRSS B 45
(1983)). It is never negative, so the order of queries stays. A step is taken where new queries can
be expected to be predicted better with it: where the slope differs from 1 by more than sqrt(2)
standard errors (Mallows' Cp, Technometrics 15 (1973), one parameter more). Else nothing changes.

For the training queries of fold f, the scale and whether it is taken come from predictions and
outcomes of other folds of which nothing has seen fold f. Out-of-fold predictions will not do: those
of other folds come from models that learned from fold f. The shift brings the mean prediction to
the mean outcome of all queries, one number that they share, as in the predictor: the mean of the
other folds would be low exactly where the own fold was lucky. Both matter. In 200 simulated
workloads of 400 queries, with three strategies that no text foretells beside one that texts do, the
half of the queries that is predicted to score higher did so by 0.2 +- 0.2 points; by 1.2 +- 0.2
with steps from out-of-fold predictions, and by -5.1 +- 0.3 with the level of the other folds.
"""

from __future__ import annotations

import math
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
        predicted: Shape (n, S): the training queries' scores, in 0..1, each by a scale that has
            not seen its fold.
    """

    scale: Floats
    shift: Floats
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


def recalibrate(
    predicted: Floats, nested: Floats, measured: Floats, fold_of: NDArray[np.intp]
) -> Recalibration:
    """The step of every strategy.

    Args:
        predicted: Shape (n, S), in 0..1, out of fold.
        nested: Shape (F, n, S), the same by what has not seen fold f either; nan for fold f itself.
        measured: Shape (n, S), in 0..1; nan where unmeasured.
        fold_of: Shape (n,): the folds of the predictions, 0..F-1.
    """
    strategies = predicted.shape[1]
    scale, shift = np.ones(strategies), np.zeros(strategies)
    found = predicted.copy()
    for index in range(strategies):
        known = np.isfinite(measured[:, index])
        if known.sum() - np.bincount(fold_of[known]).max(initial=0) < _FEWEST:
            continue
        guess, truth = predicted[:, index], measured[:, index]
        scale[index], shift[index] = _step(guess[known], truth[known], guess[known], truth[known])
        for fold, others in enumerate(nested[:, :, index]):
            inside, rest = fold_of == fold, known & (fold_of != fold)
            step = _step(others[rest], truth[rest], guess[known], truth[known])
            found[inside, index] = (guess[inside] * step[0] + step[1]).clip(0, 1)
    return Recalibration(scale, shift, found)


def _step(
    predicted: Floats, measured: Floats, all_predicted: Floats, all_measured: Floats
) -> tuple[float, float]:
    """Scale by some queries and the shift that then fits all of them; (1, 0) is no step."""
    fitted = line(predicted, measured)
    if fitted is None or abs(fitted.slope - 1) <= math.sqrt(2) * fitted.slope_error:
        return 1.0, 0.0
    scale = round(max(fitted.slope, 0.0), _DECIMALS)
    return scale, round(float(all_measured.mean() - scale * all_predicted.mean()), _DECIMALS)
