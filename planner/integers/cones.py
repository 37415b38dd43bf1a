"""Margins as cuts: a point that a cone does not hold is cut off by the plane that touches the cone.

Outer approximation as in `planner.programme.session`, for programmes with integers: Duran and
Grossmann, "An outer-approximation algorithm for a class of mixed-integer nonlinear programs",
Mathematical Programming 36 (1986). A cut is kept as its direction, so that it can be written over
any columns of the problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planner.integers.problem import Problem
from planner.limit_names import SPEND
from planner.programme.margin import Array
from planner.programme.session import DEPTH, DOUBT_TOLERANCE

INSIDE = 2 * DEPTH
"""Cuts lie this much inside. Points at half of it are taken: the session's own cuts keep them."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The plane that touches a margin in a direction."""

    margin: str
    direction: Array


def violated(problem: Problem, point: Array) -> list[Cut]:
    """A cut for every margin that the point does not keep."""
    cuts = []
    for name, margin in problem.margins.items():
        offset = _offset(problem, name) + _noise(problem, name, point)
        missed = margin.value(point[: problem.columns], offset) - _room(problem, name, point)
        direction = margin.direction(point[: problem.columns], offset)
        allowed = -DEPTH if name in problem.programme.row_of else DOUBT_TOLERANCE
        if missed > allowed and direction is not None:
            cuts.append(Cut(name, direction))
    return cuts


def doubted(problem: Problem, point: Array) -> float:
    """By how much the point's doubt is too small, within the tolerance."""
    name = problem.question.doubt
    if name is None or name not in problem.margins:
        return 0.0
    margin = problem.margins[name].value(point[: problem.columns], _offset(problem, name))
    return max(0.0, margin - _room(problem, name, point))


def written(problem: Problem, cut: Cut) -> tuple[Array, float, float]:
    """The row of a cut over the columns of a point, with its bounds."""
    margin = problem.margins[cut.margin]
    constant = margin.z * float(cut.direction @ _offset(problem, cut.margin))
    body = np.zeros(problem.width + 1)
    row = problem.programme.row_of.get(cut.margin)
    if row is None:
        body[problem.programme.doubt] = 1.0
        low, high, sign = constant, math.inf, -1.0
    else:
        matrix = problem.programme.matrix
        own = slice(matrix.indptr[row], matrix.indptr[row + 1])
        body[matrix.indices[own]] = matrix.data[own]
        low, high = problem.sides(cut.margin)
        sign = -1.0 if math.isfinite(low) else 1.0
        low, high = low + constant + INSIDE, high - constant - INSIDE
    if cut.margin == SPEND:
        body[-1] = sign * margin.z * cut.direction[-1]
    body[: problem.columns] += sign * margin.slope(cut.direction)
    return body, low, high


def _offset(problem: Problem, name: str) -> Array:
    given = problem.question.offsets.get(name)
    return np.zeros(len(problem.margins[name].matrix)) if given is None else given


def _noise(problem: Problem, name: str, point: Array) -> Array:
    noise = np.zeros(len(problem.margins[name].matrix))
    noise[-1] = point[-1] if name == SPEND else 0.0
    return noise


def _room(problem: Problem, name: str, point: Array) -> float:
    """How much margin the row leaves at a point."""
    row = problem.programme.row_of.get(name)
    if row is None:
        return float(point[problem.programme.doubt])
    matrix = problem.programme.matrix
    own = slice(matrix.indptr[row], matrix.indptr[row + 1])
    body = float(matrix.data[own] @ point[matrix.indices[own]])
    low, high = problem.sides(name)
    return body - low if math.isfinite(low) else high - body
