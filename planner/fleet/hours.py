"""Hours that ask for the same, taken together: one decision serves them all.

Given the reserved GPUs, hours do not touch each other, so hours with equal traffic in blocks with
equal traffic have one optimum between them, and solving it once is exact. It is not where hours
are tied together by a mean over the whole period: there every hour stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """Spans of hours that reservations bind, all with the same traffic.

    Attributes:
        spans: How many such spans there are.
        hours: Hours of each.
    """

    spans: int
    hours: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Hours of one block with the same traffic.

    Attributes:
        requests: In each of them.
        hours: Their places in the shape.
        block: Index of their block.
    """

    requests: float
    hours: tuple[int, ...]
    block: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """All hours of a shape, in slices and blocks."""

    slices: tuple[Slice, ...]
    blocks: tuple[Block, ...]


def timeline(requests: Sequence[float], block_hours: int, *, together: bool) -> Timeline:
    """Sort hours into slices.

    Args:
        requests: Per hour.
        block_hours: Hours that a reservation binds; divides the number of hours.
        together: Take equal hours together; otherwise every hour is a slice of its own.
    """
    spans: dict[tuple[float, ...], list[int]] = {}
    for start in range(0, len(requests), block_hours):
        asked = tuple(requests[start : start + block_hours])
        same = tuple(sorted(asked)) if together else (float(start), *asked)
        spans.setdefault(same, []).append(start)
    slices = []
    for block, starts in enumerate(spans.values()):
        hours: dict[float, list[int]] = {}
        for hour in (start + i for start in starts for i in range(block_hours)):
            key = requests[hour] if together else float(hour)
            hours.setdefault(key, []).append(hour)
        slices += [Slice(requests[alike[0]], tuple(alike), block) for alike in hours.values()]
    blocks = tuple(Block(len(starts), block_hours) for starts in spans.values())
    return Timeline(tuple(slices), blocks)
