"""The knee of a frontier against curves whose knee is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.frontiers.frontier import FrontierPoint
from planner.frontiers.knee import knee


def points(usd: Sequence[float], accuracy: Sequence[float]) -> list[FrontierPoint]:
    return [
        FrontierPoint(dollars, dollars, value, value, {})
        for dollars, value in zip(usd, accuracy, strict=True)
    ]


def test_the_knee_is_where_steep_becomes_flat() -> None:
    found = knee(points([1, 2, 3, 11], [0.5, 0.6, 0.7, 0.78]))
    assert found is not None
    assert (found.index, found.usd_per_request, found.accuracy) == (2, 3, 0.7)
    assert found.usd_per_point == pytest.approx(10 / 28)
    assert found.usd_per_point_below == pytest.approx(2 / 20)
    assert found.usd_per_point_beyond == pytest.approx(8 / 8)


@pytest.mark.parametrize(
    ("usd", "accuracy"),
    [([], []), ([1], [0.5]), ([1, 2], [0.5, 0.6]), ([1, 2, 3], [0.5, 0.6, 0.7]),
     ([1, 2, 3], [0.5, 0.51, 0.7])],
)  # fmt: skip
def test_a_frontier_without_a_bend_has_no_knee(usd: list[float], accuracy: list[float]) -> None:
    assert knee(points(usd, accuracy)) is None


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=12, unique=True))
def test_on_a_concave_frontier_points_are_cheaper_than_the_mean_up_to_the_knee_and_dearer_beyond(
    slopes: list[float],
) -> None:
    gains = np.array(sorted(slopes, reverse=True)) * 0.05
    usd, accuracy = np.arange(len(gains) + 1.0), np.append(0.1, 0.1 + np.cumsum(gains))
    found = knee(points(list(usd), list(accuracy)))
    if found is None:
        height = (accuracy - accuracy[0]) / np.ptp(accuracy) - usd / np.ptp(usd)
        assert height.max() <= 0.01
        return
    mean = np.ptp(accuracy) / np.ptp(usd)
    assert (np.diff(accuracy)[: found.index] >= mean * (1 - 1e-6)).all()
    assert (np.diff(accuracy)[found.index :] <= mean * (1 + 1e-6)).all()
