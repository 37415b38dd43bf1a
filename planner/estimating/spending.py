"""Plans whose promised bill stays within the spend limit.

The bill is no cone (`planner.estimating.bill`), but around any allocation there is a cone that
holds all of it and touches it there. So: solve without the noise of the judged requests; where that
plan's bill is too high, solve again with the cone around it, and then around the plan found, until
nothing is gained (Yuille and Rangarajan, "The concave-convex procedure", Neural Computation 15
(2003)). Every plan on the way keeps the limit and none is worse than the one before; the last one's
shadow prices are those of the bill itself. It is the best plan near it, not proven to be the best
of all.
"""

from __future__ import annotations

import math
from dataclasses import replace

from planner.estimating.bill import Bill
from planner.estimating.segments import Segments
from planner.limit_names import SPEND
from planner.programme.margin import Array, Margin
from planner.programme.question import Question, Solution, Solver
from profiles.errors import InfeasibleError, UnprovenError

MAX_CENTRES = 30
GAIN = 1e-6
"""Less than this share of the value is no gain."""


class Spending:
    """Answers questions under a limit on the promised bill.

    Args:
        bill: Dollars per request of an allocation.
        unit: Dollars that one unit of the model's costs stands for.
        segments: What the programme's columns are, where there are tenants.
    """

    def __init__(self, bill: Bill, unit: float, segments: Segments | None = None) -> None:
        self._bill = bill
        self._unit = unit
        self._segments = segments
        self.margin = Margin(bill.margin.z, bill.margin.matrix.scaled(1 / unit))

    def solve(self, session: Solver, question: Question) -> Solution:
        """Answer one question; every plan under a spend limit keeps it, noise included.

        Where the spend limit itself is free, the value is by how much the least bill exceeds it.

        Raises:
            InfeasibleError: No allocation was found that keeps all limits.
            UnprovenError: Time or rounds ran out before a proof.
        """
        if SPEND not in question.limits or not self._bill.is_noisy:
            return session.solve(question)
        if question.free == SPEND:
            return self._least(session, question)
        first = replace(question, then=None)
        found = session.solve(first)
        if self._promised(found) <= question.limits[SPEND]:
            found = found if question.then is None else session.solve(question)
            if self._promised(found) <= question.limits[SPEND]:
                return found
        try:
            return self._settled(session, question, found, bound=found.value)
        except InfeasibleError:
            try:
                cheapest = self._least(session, self._without_free(question))
            except UnprovenError as error:  # its figures are of the bill, not of the objective
                raise UnprovenError(error.what, bound=found.value) from error
            if cheapest.value > 0:
                raise
            return self._settled(session, question, cheapest, bound=found.value)

    def _least(self, session: Solver, question: Question) -> Solution:
        """The least bill, found alike for every limit: a higher one is never harder to keep."""
        limit = question.limits[SPEND]
        from_zero = replace(
            question,
            limits={**question.limits, SPEND: 0.0},
            free=SPEND,
            doubt=None,
            then=None,
        )
        start = session.solve(from_zero)
        found = self._settled(session, from_zero, start, bound=start.value)
        return replace(found, value=max(found.value - limit, 0.0))

    def _settled(
        self, session: Solver, question: Question, start: Solution, *, bound: float
    ) -> Solution:
        """The end of the procedure from one allocation on.

        `bound` is the value without the noise of the judged requests: no plan's is below it.
        """
        best, gain = start, math.inf
        once = replace(question, then=None)
        try:
            for _ in range(MAX_CENTRES):
                once = replace(once, noise=self._noise_around(best))
                found = session.solve(once)
                gain = math.inf if best is start else best.value - found.value
                best = found
                if gain <= GAIN * max(1.0, abs(found.value)):
                    break
        except UnprovenError as error:
            kept = None if best is start else best.value
            raise UnprovenError(error.what, incumbent=kept, bound=bound) from error
        if question.then is None:
            return best
        try:
            return session.solve(replace(once, then=question.then))
        except UnprovenError:  # what comes first is settled already
            return best

    def _noise_around(self, found: Solution) -> Array:
        e, x = self._bill.estimates, self._of_all(found)
        noise = self._bill.noise_around(x, e.traffic_share, e.cost_usd, e.cost_spread)
        return (noise if self._segments is None else self._segments.spread(noise)) / self._unit

    def _promised(self, found: Solution) -> float:
        return self._bill.promised(self._of_all(found)) / self._unit

    def _of_all(self, found: Solution) -> Array:
        """The allocation over all traffic, per measured column."""
        columns = self._bill.estimates.columns
        if self._segments is None:
            return found.x[:columns]
        return self._segments.of_all(found.x[: columns * len(self._segments.names)])

    def _without_free(self, question: Question) -> Question:
        """The same limits less the one that is free, which a cap on a gap has several rows of."""
        limit_of = self._bill.estimates.groups.limit_of
        kept = {k: v for k, v in question.limits.items() if limit_of(k) != question.free}
        return replace(question, limits=kept)
