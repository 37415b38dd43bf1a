"""A running counter's readings as increments, where the counter may have started anew."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def differences(values: Sequence[float]) -> tuple[list[float], list[int]]:
    """What was counted between readings; the first reading counts from 0.

    A fall means that the counter was restarted: the reading after it counts from 0 again.

    Args:
        values: Readings of one counter in the order they were taken, at least 0 and small enough
            to be floats.

    Returns:
        One increment per reading, and the indexes of readings that follow a restart.

    Raises:
        ValueError: A reading is negative, not finite, or too large for a float.
    """
    increments, restarts = [], []
    before = 0.0
    for index, value in enumerate(values):
        if not 0 <= value <= sys.float_info.max:
            raise ValueError(f"reading {index} of a counter is no finite number of at least 0")
        if value < before:
            restarts.append(index)
            before = 0.0
        increments.append(value - before)
        before = value
    return increments, restarts
