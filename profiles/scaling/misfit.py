"""Does the curve fit what was measured? A bootstrap test of its misfit at the levels."""

from __future__ import annotations

import numpy as np

from profiles.scaling.saturation import Curves, Floats, fit

MISFIT = "the curve does not fit the measured levels"


def misfit_p_value(
    curve: Curves,
    doublings: Floats,
    accuracy: Floats,
    weights: Floats,
    drawn: Floats,
    *,
    tolerance: float,
    turning: bool,
    seed: int,
) -> float:
    """How often a curve that holds would look as far off as this one, by chance.

    The statistic is the weighted sum of squared misfits beyond the tolerance. Under the null the
    levels are the curve and the bootstrap's noise, and the curve is fitted again (Stute, Gonzalez
    Manteiga and Presedo Quindimil 1993). There no tolerance is taken off, so a form that is right
    up to it is kept as well. The noise of the levels is drawn independently: levels that share
    queries err together, and a curve off by less than their own intervals still serves.

    Args:
        curve: One row, fitted to `accuracy`.
        doublings: log2(C / C0) of the levels, shape (levels,).
        accuracy: What was measured, shape (1, levels).
        weights: Inverse squared standard errors, shape (levels,).
        drawn: Accuracies of the bootstrap, shape (resamples, levels).
        tolerance: Accuracy in 0..1 by which a form may be wrong and still serve.
        turning: Whether the curve may turn down.
        seed: Of the draws.
    """
    expected = curve.at(doublings)
    beyond = np.maximum(np.abs(accuracy - expected) - tolerance, 0.0)
    statistic = float((beyond**2 @ weights)[0])
    noise = np.random.default_rng(seed).permuted(drawn - drawn.mean(axis=0), axis=0)
    null = expected + noise
    by_chance = (null - fit(doublings, null, weights, turning=turning).at(doublings)) ** 2 @ weights
    return float(1 + (by_chance >= statistic).sum()) / (1 + len(drawn))
