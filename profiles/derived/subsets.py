"""Exact expectations over every way to draw k of n recorded samples, in random order.

Recorded samples are exchangeable: any k of them could have been the k that a request draws. The
mean over all subsets is the unbiased estimate of least variance (Hoeffding 1948, U-statistics);
for best-of-k with a verifier that says right or wrong it is pass@k of Chen et al. 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def chance_of_none(n: int, k: int) -> Floats:
    """Chance that k of n samples, drawn at random, contain none of x given ones.

    ``C(n-x, k) / C(n, k)`` as a product of ratios, so that no binomial overflows.

    Args:
        n: Samples, at least 0.
        k: Samples drawn, 0..n.

    Returns:
        Shape (n + 1,), for x = 0..n.
    """
    x = np.arange(n)
    return np.concatenate([[1.0], np.cumprod(np.maximum(n - k - x, 0) / (n - x))])


def best_of_weights(verdicts: Floats, k: int) -> Floats:
    """Chance that each sample is the one that best-of-k serves: highest verdict, first of equals.

    Equals are equally likely to come first, so they share their chance.

    Args:
        verdicts: Shape (n,), known.
        k: Samples drawn, 1..n.

    Returns:
        Shape (n,), sums to 1.
    """
    none = chance_of_none(len(verdicts), k)
    _, level, count = np.unique(-verdicts, return_inverse=True, return_counts=True)
    above = np.concatenate([[0], np.cumsum(count)])
    of_level: Floats = (none[above[:-1]] - none[above[1:]]) / count
    return of_level[level]


def rounds_run(satisfying: int, n: int, rounds: Sequence[int]) -> list[float]:
    """Chance of each round where no round follows one that drew a satisfying sample.

    Args:
        satisfying: How many of the n samples end the rounds.
        n: Samples.
        rounds: Samples per round, together at most n.
    """
    before = np.cumsum([0, *rounds[:-1]])
    return [float(chance_of_none(n, int(drawn))[satisfying]) for drawn in before]


def times_drawn(satisfies: NDArray[np.bool_], rounds: Sequence[int]) -> Floats:
    """How often each sample is drawn, in expectation, by rounds that end once satisfied.

    A sample at a given place of a round is drawn if none of the samples before that round
    satisfied; those are drawn from the other n - 1.

    Returns:
        Shape (n,).
    """
    n, satisfying = len(satisfies), int(satisfies.sum())
    drawn = np.zeros(n)
    before = 0
    for size in rounds:
        none = chance_of_none(n - 1, before)
        drawn += size / n * np.where(satisfies, none[satisfying - 1], none[min(satisfying, n - 1)])
        before += size
    return drawn
