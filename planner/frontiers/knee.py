"""Where more money stops paying: the knee of the frontier.

The knee is the point that lies highest above the line from the cheapest to the most accurate one,
both axes scaled to 0..1 (Satopaa, Albrecht, Irwin and Raghavan, "Finding a 'kneedle' in a
haystack", ICDCS workshops 2011). On a concave frontier it is also where the price of a further
point of accuracy rises above the mean price of a point between the two ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.frontiers.frontier import FrontierPoint

_STRAIGHT = 0.01
"""A height below this, as a share of the whole rise, is no knee."""


@dataclass(frozen=True, slots=True)
class Knee:
    """One point of a frontier.

    Attributes:
        index: Which point.
        usd_per_request: Expected dollars there.
        accuracy: Expected mean score there, 0..1.
        usd_per_point: Mean price of a point of accuracy over the whole frontier, dollars per
            request.
        usd_per_point_below: The same from the cheapest point to the knee.
        usd_per_point_beyond: The same from the knee to the most accurate point.
    """

    index: int
    usd_per_request: float
    accuracy: float
    usd_per_point: float
    usd_per_point_below: float
    usd_per_point_beyond: float


def knee(points: Sequence[FrontierPoint]) -> Knee | None:
    """The knee of a frontier, None where it is straight or bends the other way.

    Args:
        points: Rising in dollars and accuracy, as `frontier` returns them.
    """
    if len(points) < 3:
        return None
    usd = np.array([point.usd_per_request for point in points])
    accuracy = np.array([point.accuracy for point in points])
    height = (accuracy - accuracy[0]) / np.ptp(accuracy) - (usd - usd[0]) / np.ptp(usd)
    at = int(np.argmax(height))
    if height[at] <= _STRAIGHT:
        return None
    return Knee(
        index=at,
        usd_per_request=points[at].usd_per_request,
        accuracy=points[at].accuracy,
        usd_per_point=_price(points[0], points[-1]),
        usd_per_point_below=_price(points[0], points[at]),
        usd_per_point_beyond=_price(points[at], points[-1]),
    )


def _price(low: FrontierPoint, high: FrontierPoint) -> float:
    """Dollars of a point of accuracy between two points of a frontier."""
    rise = 100 * (high.accuracy - low.accuracy)
    return float(f"{(high.usd_per_request - low.usd_per_request) / rise:.9g}")
