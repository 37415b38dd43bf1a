"""The curve of accuracy over compute: it rises, saturates, and may turn down.

``accuracy(C) = ceiling * exp(-gap * (C / C0) ** -rate) - loss * log2(C / C0)``, where C0 is the
smallest level measured. The first term is the exponentiated power law of repeated sampling (Brown
et al. 2024, "Large Language Monkeys", arXiv 2407.21787) with a ceiling below 1, a Gompertz curve
in the logarithm of compute: it can start slowly, and it saturates. The second is overthinking, a
steady loss per doubling; such losses were reported by Ghosal et al. 2025 ("Does Thinking More
Always Help?", arXiv 2506.04210). It is fitted only where a paired test has shown a loss.

Given `gap` and `rate` the curve is linear in `ceiling` and `loss`: a closed form finds these, and a
grid over the other two, refined around its best point, needs no starting value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST_LEVELS = 3
_GAPS = np.concatenate([[1e-9], np.geomspace(0.01, 12, 31)])
_RATES = np.geomspace(0.05, 4, 24)
_NEAR = np.linspace(-1, 1, 7)
_ZOOM = 4.0  # each refinement looks at so much less than the one before
_REFINEMENTS = 3
_ONE_RATE = np.array([1.0])  # three levels cannot tell a rate and a loss apart
_STEPS = 400


@dataclass(frozen=True, slots=True)
class Curves:
    """Fitted curves, one per row of the accuracies they were fitted to.

    Attributes:
        ceiling: Shape (rows,), in 0..1.
        gap: Shape (rows,), not negative.
        rate: Shape (rows,), per doubling, positive.
        loss: Shape (rows,), accuracy lost per doubling, not negative.
    """

    ceiling: Floats
    gap: Floats
    rate: Floats
    loss: Floats

    def at(self, doublings: Floats) -> Floats:
        """Accuracy at log2(C / C0), shape (rows, points), within 0..1."""
        x = np.atleast_1d(doublings)[None, :]
        rise = np.exp(-self.gap[:, None] * np.exp(-self.rate[:, None] * x))
        return np.clip(self.ceiling[:, None] * rise - self.loss[:, None] * x, 0.0, 1.0)

    def knees(self, last: float, points: float) -> Floats:
        """Doublings after which no further doubling up to `last` gains `points` of accuracy.

        Shape (rows,); infinite where the last measured doubling still gains that much.
        """
        starts = np.linspace(0.0, last - 1.0, _STEPS)
        enough = self.at(starts + 1.0) - self.at(starts) >= points
        after = np.where(enough.any(axis=1), _STEPS - np.argmax(enough[:, ::-1], axis=1), 0)
        return np.append(starts, np.inf)[after]


def fit(doublings: Floats, accuracy: Floats, weights: Floats, *, turning: bool) -> Curves:
    """Weighted least squares under the curve's constraints.

    Args:
        doublings: log2(C / C0) of the levels, shape (levels,).
        accuracy: Shape (rows, levels): each row is fitted on its own.
        weights: Inverse squared standard errors, shape (levels,).
        turning: Whether the loss may be other than zero.
    """
    one_rate = turning and doublings.size == FEWEST_LEVELS
    gap, rate = np.meshgrid(_GAPS, _ONE_RATE if one_rate else _RATES)
    best = _best(
        gap.reshape(1, -1), rate.reshape(1, -1), doublings, accuracy, weights, turning=turning
    )
    step = math.log(_GAPS[2] / _GAPS[1])
    for _ in range(_REFINEMENTS):
        by_gap, by_rate = np.meshgrid(
            np.exp(step * _NEAR), [1.0] if one_rate else np.exp(step * _NEAR)
        )
        best = _best(
            best.gap[:, None] * by_gap.ravel(),
            np.clip(best.rate[:, None] * by_rate.ravel(), _RATES[0], _RATES[-1]),
            doublings,
            accuracy,
            weights,
            turning=turning,
        )
        step /= _ZOOM
    return best


def _best(
    gap: Floats,
    rate: Floats,
    doublings: Floats,
    accuracy: Floats,
    weights: Floats,
    *,
    turning: bool,
) -> Curves:
    """The best of the offered gaps and rates, each of shape (rows or 1, offers), for every row."""
    rise = np.exp(-gap[..., None] * np.exp(-rate[..., None] * doublings))  # rows, offers, levels
    rise_rise = rise**2 @ weights
    y_rise = (rise @ (accuracy * weights)[..., None])[..., 0]
    if turning:
        rise_loss, loss_loss = rise @ (weights * doublings), float(weights @ doublings**2)
        y_loss = (accuracy @ (weights * doublings))[:, None]
        both = np.maximum(rise_rise * loss_loss - rise_loss**2, 1e-12)
        loss = np.maximum((y_rise * rise_loss - y_loss * rise_rise) / both, 0.0)
        ceiling = np.clip((y_rise + loss * rise_loss) / rise_rise, 0.0, 1.0)
        loss = np.maximum((ceiling * rise_loss - y_loss) / loss_loss, 0.0)
        error = loss * (loss * loss_loss - 2 * ceiling * rise_loss + 2 * y_loss)
    else:
        ceiling = np.clip(y_rise / rise_rise, 0.0, 1.0)
        loss = error = np.zeros_like(ceiling)
    best = np.argmin(error + ceiling * (ceiling * rise_rise - 2 * y_rise), axis=1)
    rows = np.arange(best.size)
    of_row = rows if len(gap) > 1 else 0
    return Curves(ceiling[rows, best], gap[of_row, best], rate[of_row, best], loss[rows, best])
