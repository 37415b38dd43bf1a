"""Equally cheap hours: the plan with the higher promise runs.

Given the reserved GPUs, hours do not touch each other, so each is settled alone: no hour becomes
dearer, and the mean promise can only rise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from planner.fleet.model import OBJECTIVE_SCALE, Arrays, Floats, Problem
from planner.fleet.solving import minimise

_TOLERANCE = 1e-7


def most_accurate(problem: Problem, arrays: Arrays, x: Floats) -> Floats:
    """A solution as good in which every slice runs the plan that promises most.

    Args:
        problem: That was solved.
        arrays: Its compiled model.
        x: Solution.
    """
    if len(problem.plans) == 1:
        return x
    settled = np.where(arrays.whole, np.round(x), x)
    slice_of = _slices(problem, arrays)
    for h in range(len(problem.timeline.slices)):
        _settle(problem, arrays, settled, np.flatnonzero(slice_of == h), h)
    return settled


def _slices(problem: Problem, arrays: Arrays) -> NDArray[np.intp]:
    """Slice of every column, -1 for reservations."""
    found = np.full(len(arrays.costs), -1, dtype=np.intp)
    for (name, index), column in arrays.place.items():
        if name in {"run", "extra"}:
            found[column] = index[0]
        elif name == "pick":
            found[column] = problem.needs[index[0]].slice_at
    return found


def _settle(problem: Problem, arrays: Arrays, x: Floats, own: NDArray[np.intp], h: int) -> None:
    """Change one slice's columns in place."""
    columns = arrays.matrix[:, own]
    rows = np.unique(columns.nonzero()[0])
    elsewhere = x.copy()
    elsewhere[own] = 0.0
    fixed = arrays.matrix[rows] @ elsewhere
    promised = np.zeros(len(own))
    at = {int(column): i for i, column in enumerate(own)}
    for j, plan in enumerate(problem.plans):
        promised[at[arrays.place["run", (h, j)]]] = -OBJECTIVE_SCALE * plan.promised_accuracy
    cost = arrays.costs[own]
    alone = arrays.part(
        own,
        np.vstack([columns[rows].toarray(), cost]),
        np.append(arrays.lower[rows] - fixed, -np.inf),
        np.append(arrays.upper[rows] - fixed, cost @ x[own] + _TOLERANCE),
    )
    x[own] = minimise(alone, costs=promised).x
