"""How much the scores, or the use, of the requests vary on which a promise will be judged.

A request's class is drawn by the traffic's shares and its strategy by the plan's, so under a plan x
the use r of one request has the variance ``E r^2 - (E r)^2``: the first part is linear in x. The
most that it can be for a mean of at most L lies on an exact frontier, which holds for every x that
could be asked for: the bound is one number per limit, and the programme stays a cone. A score s
under a floor is a use ``1 - s`` under a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planner.frontiers.hulls import exact_frontier
from planner.programme.margin import Array

if TYPE_CHECKING:
    from planner.estimating.estimates import Estimates


@dataclass(frozen=True)
class LargestVariance:
    """The largest variance of one request's use by the mean that a plan keeps.

    Attributes:
        means: Rising means of the frontier's corners.
        squares: The largest ``E r^2`` there, rising.
    """

    means: Array
    squares: Array

    @classmethod
    def of(cls, e: Estimates, mean: Array, spread: Array) -> LargestVariance:
        """From means and standard deviations of one request's use, per column of the estimates."""
        shape = (len(e.classes), len(e.strategies))
        least, square = np.full(shape, np.nan), np.full(shape, np.nan)
        least[e.class_of, e.strategy_of] = mean
        square[e.class_of, e.strategy_of] = mean**2 + spread**2
        frontier = exact_frontier(least, square, e.weights)
        return cls(frontier.costs, frontier.values)

    def at_most(self, limit: float) -> float:
        """At most so much varies the use under a plan whose mean is `limit` or less."""
        end = min(max(limit, float(self.means[0])), float(self.means[-1]))
        low = np.minimum(self.means[:-1], end)
        high = np.minimum(self.means[1:], end)
        run = np.diff(self.means)
        rise = np.divide(np.diff(self.squares), run, out=np.zeros_like(run), where=run > 0)
        top = np.clip(rise / 2, low, high)
        inside = self.squares[:-1] + rise * (top - self.means[:-1]) - top**2
        last = np.interp(end, self.means, self.squares) - end**2
        reached = inside[self.means[:-1] <= end]
        return float(max(np.max(reached, initial=float(last)), 0.0))


@dataclass(frozen=True)
class JudgedSpread:
    """The largest variance of one request's score by the mean that a plan reaches.

    Attributes:
        lost: Of what is missing to a score of 1.
    """

    lost: LargestVariance

    @classmethod
    def of(cls, e: Estimates) -> JudgedSpread:
        """From cells' means and spreads of single answers."""
        return cls(LargestVariance.of(e, 1 - e.accuracy, np.sqrt(e.score_variance)))

    def variance(self, least: float) -> float:
        """At most so much varies a score under a plan whose mean score is `least` or more.

        Never above ``m (1 - m)``, as much as a score in 0..1 with mean m can, which falls from 1/2.
        """
        mean = min(max(least, 0.5), 1.0)
        binary = mean * (1 - mean)
        if 1 - least < self.lost.means[0]:
            return binary
        return min(binary, self.lost.at_most(1 - least))
