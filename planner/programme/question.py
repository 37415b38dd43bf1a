"""What one solve asks for and what it finds, of any solver of a programme."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from planner.programme.margin import Array


@dataclass(frozen=True, slots=True)
class Question:
    """What one solve asks for.

    Attributes:
        objective: One of the programme's objectives.
        limits: Bound by row name, in units of its body; rows that are not named do not bind.
        offsets: Constant part by margin, 0 where it is not named.
        doubt: Margin by which the accuracy objective is lowered, None for none.
        then: Objective that decides between equally good answers.
        free: Limit whose slack is minimised instead of the objective.
        noise: What each share adds to the last component of the spend limit's margin, None for
            nothing.
        reward: Units of the objective that a unit of the accuracy objective is worth beside it.
        support: Columns that may be used, shape (columns,); None: all.
        least: Smallest share of each column, shape (columns,); None: 0.
        beats: Value that the answer has to reach, or it is of no interest.
        until_s: Where on `time.monotonic` to stop; questions of one answer share it.
    """

    objective: str
    limits: Mapping[str, float]
    offsets: Mapping[str, Array]
    doubt: str | None = None
    then: str | None = None
    free: str | None = None
    noise: Array | None = None
    reward: float = 0.0
    support: NDArray[np.bool_] | None = None
    least: Array | None = None
    beats: float = math.inf
    until_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Solution:
    """A proven optimum.

    Attributes:
        x: Value per column of the programme, slacks included, and the noise behind them.
        value: The objective, minimised, in model units.
        duals: Change of the objective per unit of each limit, model units.
    """

    x: Array
    value: float
    duals: dict[str, float]


class BeatenError(Exception):
    """No answer reaches the value that the question asks for."""


class Solver(Protocol):
    """Anything that answers questions about one programme."""

    def solve(self, question: Question) -> Solution:
        """Answer one question."""
