"""The relaxation: a bound on every answer, and what each share adds to it.

Without whole numbers z is as small as its column allows and drops out; only y stays, with its
links. With reduced costs r at the optimum of value L, every answer that uses column j of strategy s
has a share of at least m there and y_s = 1, so its value is at least ``L + m r_j + r_s``. Columns
for which that is more than the value of a known answer can be closed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, hstack, vstack

from planner.integers.cones import Cut, violated, written
from planner.integers.problem import Problem
from planner.programme.margin import Array
from planner.programme.model import Programme
from planner.programme.session import MAX_ROUNDS
from planner.programme.sifting import WHOLE, Sifted
from profiles.errors import UnprovenError


@dataclass(frozen=True)
class Relaxed:
    """The relaxation's optimum.

    Attributes:
        value: No answer is below it.
        added: By how much an answer that uses a column is above that value, at least; per share.
        prices: What a share costs, all limits that couple classes priced by their duals.
        cuts: Cuts that hold the cones around it.
    """

    value: float
    added: Array
    prices: Array
    cuts: list[Cut]


def relax(problem: Problem, left_s: Callable[[], float]) -> Relaxed:
    """Solve without whole numbers, cones included.

    Args:
        problem: What is asked.
        left_s: Seconds that are left.

    Raises:
        InfeasibleError: Not even without whole numbers is there an allocation.
        UnprovenError: Time ran out.
    """
    programme, links = _linked(problem)
    extra = programme.matrix.shape[1] - problem.width
    lp = Sifted(programme, problem.columns, whole=problem.columns if extra else WHOLE)
    for column in range(problem.width, problem.width + extra):
        lp.bound_column(column, 1.0)
    _bind(lp, problem, problem.width + extra)
    costs = problem.costs()
    lp.set_costs(costs[:-1])
    bodies: list[Array] = []
    if problem.question.noise is not None:
        bodies.append(_wide(problem.noise_row(), extra))
        lp.bound_row(lp.add_row(bodies[-1]), low=0.0)
    cuts: list[Cut] = []
    for _ in range(MAX_ROUNDS):
        x = lp.run(left_s())
        found = violated(problem, np.append(x[: problem.width], x[-1]))
        if not found:
            break
        for cut in found:
            body, low, high = written(problem, cut)
            bodies.append(_wide(body, extra))
            lp.bound_row(lp.add_row(bodies[-1]), low, high)
        cuts += found
    else:
        raise UnprovenError(f"the margins did not settle within {MAX_ROUNDS} rounds")
    wide = np.concatenate([costs[:-1], np.zeros(extra + 1)])
    own, duals = programme.matrix.shape[0], lp.duals
    for body, dual in zip(bodies, duals[lp.rows - len(bodies) :], strict=True):
        wide -= dual * body
    limits = programme.lower != programme.upper
    limits[len(problem.programme.lower) :] = False
    n = problem.columns
    prices = wide[:n] - (programme.matrix.T @ np.where(limits, duals[:own], 0.0))[:n]
    wide[:-1] -= programme.matrix.T @ duals[:own]
    reduced = np.maximum(wide, 0.0)
    added = problem.shape.least * reduced[:n]
    if extra:
        added += reduced[problem.width : -1][links]
    return Relaxed(lp.objective, added, prices, cuts)


def _linked(problem: Problem) -> tuple[Programme, NDArray[np.intp]]:
    """The programme with y and its links, and the place of every share's strategy among y."""
    strategies, place = np.unique(problem.strategy_of, return_inverse=True)
    p, k = problem.programme, problem.shape.at_most
    if k is None:
        return p, place
    links, count = problem.columns, len(strategies)
    every = np.arange(links)
    x, y = (
        coo_array((values, (np.append(every, [links] * more), at)), shape=(links + 1, wide))
        for values, at, more, wide in (
            (-np.ones(links), every, 0, problem.width),
            (np.ones(links + count), np.append(place, np.arange(count)), count, count),
        )
    )
    none = coo_array((p.matrix.shape[0], count))
    matrix = vstack([hstack([p.matrix, none]), hstack([x, y])])
    return replace(
        p,
        matrix=csr_array(matrix),
        lower=np.concatenate([p.lower, np.zeros(links), [-np.inf]]),
        upper=np.concatenate([p.upper, np.full(links, np.inf), [float(k)]]),
        objectives={name: np.append(c, np.zeros(count)) for name, c in p.objectives.items()},
    ), place


def _bind(lp: Sifted, problem: Problem, noise: int) -> None:
    for name, row in problem.programme.row_of.items():
        lp.bound_row(row)
        if name in problem.question.limits:
            lp.bound_row(row, *problem.sides(name))
    most = problem.most()
    for column in problem.programme.slack_of.values():
        lp.bound_column(column, float(most[column]))
    lp.bound_column(noise, float(most[-1]))


def _wide(body: Array, extra: int) -> Array:
    """With y between the programme's columns and the noise."""
    return np.concatenate([body[:-1], np.zeros(extra), body[-1:]])
