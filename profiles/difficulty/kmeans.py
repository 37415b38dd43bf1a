"""Groups of points by nearest prototype, each group with at least a given share of the points.

Coordinates are taken on a grid of 1e-5. On it every sum and product here is a whole number that
float64 or int64 holds exactly, so no decision depends on the order in which a machine adds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_RESTARTS = 8
_ROUNDS = 100
_GRID = 1e5


def nearest(points: Floats, prototypes: Floats) -> NDArray[np.intp]:
    """Index of the nearest prototype of every point; the first one on ties."""
    return _nearest(_on_grid(points), _on_grid(prototypes))


def prototypes(points: Floats, count: int, *, smallest_share: float, seed: int) -> Floats:
    """At most `count` k-means centres of points[n, d]; the same ones for the same arguments.

    A group that holds less than `smallest_share` of the points is given up to its neighbours, so
    fewer centres than asked for may come back; at least one always does.
    """
    points = _on_grid(points)
    rng = np.random.default_rng(seed)
    order = points.mean(axis=1).argsort(kind="stable")
    spread = ((np.arange(count) + 0.5) / count * len(points)).astype(int)
    starts = [points[order[spread]]]
    starts += [points[rng.choice(len(points), count)] for _ in range(_RESTARTS)]
    found = [_settle(points, start) for start in starts]
    best = min(found, key=lambda centres: _spread(points, centres))
    while len(best) > 1:
        sizes = np.bincount(_nearest(points, best), minlength=len(best))
        if sizes.min() >= smallest_share * len(points):
            break
        best = _settle(points, np.delete(best, sizes.argmin(), axis=0))
    return best / _GRID


def _on_grid(points: Floats) -> Floats:
    """Coordinates counted in steps of the grid, whole numbers."""
    return np.asarray(np.rint(points * _GRID))


def _nearest(points: Floats, prototypes: Floats) -> NDArray[np.intp]:
    nearness = 2 * points @ prototypes.T - (prototypes**2).sum(axis=1)
    return np.asarray(nearness.argmax(axis=1))


def _settle(points: Floats, centres: Floats) -> Floats:
    """Lloyd's rounds until no centre moves; a centre without points is dropped."""
    for _ in range(_ROUNDS):
        group = _nearest(points, centres)
        kept = np.unique(group)
        moved = np.rint([points[group == index].mean(axis=0) for index in kept])
        if moved.shape == centres.shape and np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _spread(points: Floats, centres: Floats) -> int:
    squares = (points - centres[_nearest(points, centres)]) ** 2
    return int(squares.astype(np.int64).sum())
