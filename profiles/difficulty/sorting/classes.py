"""What classes are called, the order they stand in, and how small one may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.grid import on_grid

Indices = NDArray[np.intp]
#: No class holds less of the queries: it would cost more certainty than it can gain.
SMALLEST_SHARE = 0.05
_NAMES = {
    1: ("all",),
    2: ("easy", "hard"),
    3: ("easy", "medium", "hard"),
    4: ("easy", "medium", "hard", "hardest"),
    5: ("easiest", "easy", "medium", "hard", "hardest"),
}


def class_names(count: int) -> tuple[str, ...]:
    """What so many classes are called, easiest first."""
    return _NAMES.get(count) or tuple(f"level-{level}" for level in range(1, count + 1))


def easiest_first(scores: NDArray[np.float64], group: Indices, count: int) -> Indices:
    """The groups in order of falling mean predicted score of their queries; ties by index.

    Measured scores would leak: a group that was lucky would be called easy.

    Args:
        scores: Predicted, float64[n, S] in 0..1.
        group: intp[n] in 0..count-1.
        count: How many groups; one without queries stands last.
    """
    level = on_grid(scores).sum(axis=1)
    sizes = np.bincount(group, minlength=count)
    sums = np.bincount(group, weights=level, minlength=count)
    means = np.divide(sums, sizes, out=np.full(count, -1.0), where=sizes > 0)
    return np.asarray(np.argsort(-means, kind="stable"))


def too_small(group: Indices, count: int) -> bool:
    """Whether one of the groups holds less than the smallest share of the queries."""
    return bool(np.bincount(group, minlength=count).min() < SMALLEST_SHARE * len(group))
