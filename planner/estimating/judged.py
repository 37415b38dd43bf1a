"""How much the scores of the requests vary on which a promise will be judged.

A request's class is drawn by the traffic's shares and its strategy by the plan's, so under a plan x
of mean A the score of one request has the variance ``E(1 - s)^2 - (1 - A)^2``: the first part is
linear in x. The most that it can be for a mean of at least A lies on an exact frontier, which holds
for every x that could be asked for: the bound is one number per floor, and the programme stays a
cone.
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
class JudgedSpread:
    """The largest variance of one request's score by the mean that a plan reaches.

    Attributes:
        means: Rising means of the frontier's corners.
        losses: The largest ``E(1 - s)^2`` there, falling.
    """

    means: Array
    losses: Array

    @classmethod
    def of(cls, e: Estimates) -> JudgedSpread:
        """From cells' means and spreads of single answers."""
        shape = (len(e.classes), len(e.strategies))
        loss, mean = np.full(shape, np.nan), np.full(shape, np.nan)
        loss[e.class_of, e.strategy_of] = e.score_variance + (1 - e.accuracy) ** 2
        mean[e.class_of, e.strategy_of] = e.accuracy
        frontier = exact_frontier(-loss, mean, e.weights)
        return cls(frontier.values, -frontier.costs)

    def variance(self, least: float) -> float:
        """At most so much varies a score under a plan whose mean score is `least` or more.

        Never above ``m (1 - m)``, as much as a score in 0..1 with mean m can, which falls from 1/2.
        """
        mean = min(max(least, 0.5), 1.0)
        binary = mean * (1 - mean)
        if least > self.means[-1]:
            return binary
        low = np.maximum(self.means[:-1], least)
        high = np.maximum(self.means[1:], low)
        run = np.diff(self.means)
        fall = np.divide(np.diff(self.losses), run, out=np.zeros_like(run), where=run > 0)
        top = np.clip(1 + fall / 2, low, high)
        inside = self.losses[:-1] + fall * (top - self.means[:-1]) - (1 - top) ** 2
        start = np.interp(least, self.means, self.losses) - (1 - max(least, self.means[0])) ** 2
        reached = inside[self.means[1:] >= least]
        return float(min(binary, np.max(reached, initial=float(start))))
