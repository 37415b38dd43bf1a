"""What an allocation achieves: expected and promised figures, overall and per class."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from planner.estimating.bill import Bill
from planner.estimating.estimates import TAIL, Estimates, tail_of
from planner.estimating.groups import GroupRow
from planner.estimating.judged import JudgedSpread, LargestVariance
from planner.plan import Figures
from planner.programme.margin import Array, Margin, aggregate_matrix, z_of, z_of_chosen
from planner.programme.rows import Rows

SMALLEST_SHARE = 1e-6
DECIMALS = 12
"""Prices of strategies lie up to 1e3 apart, so shares need more digits than a promise does."""

DIGITS = 9


class Accounts:
    """Expected and promised figures of allocations over one set of estimates.

    A plan is chosen by the estimates that it is then judged by. Margins pay for that choice: their
    quantile is Bonferroni's over the strategies that could have been taken, for accuracy over those
    that compete (`planner.estimating.choices`). What costs promise is the `bill`.

    Args:
        estimates: Numbers per column.
        judged: Requests that the promise will be judged on; None for the long run.
    """

    def __init__(self, estimates: Estimates, judged: int | None) -> None:
        self.estimates = estimates
        self._judged = judged
        self.z = z_of(estimates.level)
        self.chosen_z = z_of_chosen(estimates.level, len(estimates.strategies))
        self.accuracy_z = estimates.accuracy_z
        self.accuracy_margin = self.accuracy_margin_of(
            estimates.accuracy_careful, estimates.accuracy_sd
        )
        cost_margin = self._margin(self.chosen_z, estimates.cost_usd, estimates.cost_sd)
        self.bill = Bill(estimates, cost_margin, judged, self.z)

    def _margin(self, z: float, values: Array, sds: Array) -> Margin:
        e = self.estimates
        return Margin(z, aggregate_matrix(values, sds, e.weights, e.class_of, e.mix_queries))

    def latency_margin(self, row: int) -> Margin:
        """The margin of the share of requests slower than a grid limit."""
        e = self.estimates
        return self._margin(self.chosen_z, e.exceedance_careful[row], e.exceedance_sd[row])

    def accuracy_margin_of(self, careful: Array, sds: Array) -> Margin:
        """The margin of accuracy, had the cells these careful means and standard errors."""
        return self._margin(self.accuracy_z, careful, sds)

    def margin_of(self, means: Array, sds: Array) -> Margin:
        """The margin of any other mean over the traffic."""
        return self._margin(self.chosen_z, means, sds)

    def class_margin(self, name: str, together: int, values: Array, sds: Array) -> Margin:
        """The margin of one class's mean, of so many classes whose promises hold together."""
        e = self.estimates
        weights = np.zeros(len(e.classes))
        weights[e.classes.index(name)] = 1.0
        z = z_of_chosen(e.level, together * len(e.strategies))
        return Margin(z, aggregate_matrix(values, sds, weights, e.class_of, None))

    def tail_missed(
        self, x: Array, counts: tuple[Array, Array], tail: float, one: str | None, together: int
    ) -> float:
        """By how much too many requests are slow; negative where a percentile can be promised.

        Args:
            x: Allocation.
            counts: Queries slower than the limit and queries with a latency, per column.
            tail: Share of requests that may be slower.
            one: The class that the promise is about, None for all traffic.
            together: How many classes have such a promise.
        """
        e = self.estimates
        values, sds = tail_of(*counts, self.chosen_z)
        share, margin = e.traffic_share, self._margin(self.chosen_z, values, sds)
        if one is not None:
            own = e.class_of == e.classes.index(one)
            x, share = np.where(own, x, 0.0), np.ones(e.columns)
            margin = self.class_margin(one, together, values, sds)
        return _dot(share * x, values) + self._known(margin, x) - tail

    def difference_margin(self, single: Array) -> Margin:
        """The margin of an allocation's accuracy over that of one strategy for everything.

        One row per class, ``w_d sum_s x_ds sqrt(sd_ds^2 + sd_dr^2)`` without the strategy r itself:
        what stays with r cannot differ from it. Errors of two strategies count as independent,
        which overstates the difference of strategies measured on the same queries; errors of what
        replaces r count as perfectly correlated. The quantile is Bonferroni's over all moves away
        from r, one per other cell: the best looking of many moves looks good by luck alone.
        """
        e = self.estimates
        moves = max(int(np.count_nonzero(single == 0)), 1)
        reference = np.zeros(len(e.weights))
        reference[e.class_of[single > 0]] = e.accuracy_sd[single > 0]
        sds = np.where(single > 0, 0.0, np.hypot(e.accuracy_sd, reference[e.class_of]))
        shape, columns = (len(e.weights), e.columns), np.arange(e.columns)
        rows = Rows.of_entries(shape, e.class_of, columns, e.traffic_share * sds)
        return Margin(z_of_chosen(e.level, moves), rows)

    def shows(self, x: Array, single: Array) -> bool:
        """Whether an allocation's gain over one strategy could be seen at all.

        It must exceed `difference_margin` and the noise of as many answered requests as were
        profiled (or judged, where those are fewer): a gain that such a sample cannot show is not
        worth its money. Scores of the two strategies count as independent, which overstates it.
        """
        e = self.estimates
        share = e.traffic_share
        score_sd = np.array([cell.score_sd for cell in e.cells])
        reference = np.zeros(len(e.weights))
        reference[e.class_of[single > 0]] = score_sd[single > 0]
        spread = np.where(single > 0, 0.0, score_sd**2 + reference[e.class_of] ** 2)
        requests = max(min(e.queries, self._judged or e.queries), 1)
        margin = self.difference_margin(single)
        noise = margin.z * np.sqrt(share * x @ spread / requests)
        gain = _dot(share * x, e.accuracy) - _dot(share * single, e.accuracy)
        return gain > float(np.hypot(margin.value(x), noise))

    def judged_offset(self, accuracy: float) -> Array:
        """Noise of the judged traffic itself, for a mean score of at least `accuracy`.

        The most that scores can vary under such a plan, by `JudgedSpread`. Nobody chose by this
        noise, so it counts at the plain quantile, not at `accuracy_z`.
        """
        offset = np.zeros(len(self.accuracy_margin.matrix))
        if self._judged is not None and self.z:
            spread = self._judged_spread.variance(accuracy) / self._judged
            offset[-1] = self.z / self.accuracy_z * np.sqrt(spread)
        return offset

    @cached_property
    def _judged_spread(self) -> JudgedSpread:
        return JudgedSpread.of(self.estimates)

    def use_offset(self, largest: LargestVariance, most: float) -> Array:
        """The same for a mean use of at most `most`, in units of `largest`."""
        offset = np.zeros(len(self.accuracy_margin.matrix))
        if self._judged is not None and self.chosen_z:
            spread = np.sqrt(largest.at_most(most) / self._judged)
            offset[-1] = self.z / self.chosen_z * spread
        return offset

    def group_offset(self, row: GroupRow, mean: float) -> Array:
        """The same for a row about groups: of the judged traffic, only their requests count."""
        offset = np.zeros(len(row.margin.matrix))
        if self._judged is not None and row.margin.z:
            spread = row.variance(min(max(mean, 0.5), 1.0), self._judged)
            offset[-1] = self.z / row.margin.z * np.sqrt(spread)
        return offset

    def expected(self, x: Array) -> Figures:
        """Best estimate over all traffic."""
        return self._figures(x, self.estimates.traffic_share)

    def of_class(self, x: Array, index: int) -> Figures:
        """Best estimate within one class."""
        return self._figures(x, (self.estimates.class_of == index).astype(np.float64))

    def promised(self, x: Array) -> Figures:
        """What holds with the estimates' confidence: accuracy at least, the others at most."""
        e = self.estimates
        used = x > 0
        careful = _dot(e.traffic_share * x, e.accuracy_careful)
        accuracy = careful - self.accuracy_margin.value(x, self.judged_offset(careful))
        known = np.isfinite(e.cost_usd[used]).all()
        return Figures(
            accuracy=_digits(max(accuracy, 0.0)),
            cost_usd_per_request=_digits(self.bill.promised(x)) if known else None,
            latency_p95_s=self._p95(x, e.traffic_share, margins=True),
        )

    def _figures(self, x: Array, share: Array) -> Figures:
        e = self.estimates
        used = np.flatnonzero((x > 0) & (share > 0))
        part, cost_usd = (share * x)[used], e.cost_usd[used]
        known = np.isfinite(cost_usd).all()
        return Figures(
            accuracy=_digits(float(part @ e.accuracy[used])),
            cost_usd_per_request=_digits(float(part @ cost_usd)) if known else None,
            latency_p95_s=self._p95(x, share, margins=False),
        )

    def _p95(self, x: Array, share: Array, *, margins: bool) -> float | None:
        """Smallest grid limit that at most 5 % of requests exceed, None beyond the grid."""
        e = self.estimates
        used = np.flatnonzero((x > 0) & (share > 0))
        part = (share * x)[used]
        beyond = (e.exceedance_careful if margins else e.exceedance)[:, used]
        known = [bool(np.isfinite(one).all()) for one in e.exceedance[:, used]]
        for row, limit_s in enumerate(e.grid_s):
            if not known[row]:
                return None
            slow = float(part @ beyond[row])
            if margins and slow <= TAIL + 1e-9:
                slow += self._known(self.latency_margin(row), x)
            if slow <= TAIL + 1e-9:
                return limit_s
        return None

    @staticmethod
    def _known(margin: Margin, x: Array) -> float:
        used = x > 0
        return margin.of_columns(used).value(x[used])


def _dot(share: Array, values: Array) -> float:
    used = share > 0
    return float(share[used] @ values[used])


def _digits(value: float) -> float:
    """Nine significant digits: solver noise is not part of a plan."""
    return float(f"{value:.{DIGITS}g}")


def tidy(x: Array, estimates: Estimates, smallest: float = SMALLEST_SHARE) -> Array:
    """Round shares, drop those below `smallest`; each class's largest share takes the rest."""
    tidied = np.where(x < smallest, 0.0, np.round(x, DECIMALS))
    used = np.flatnonzero(tidied)
    for d in range(len(estimates.classes)):
        own = used[estimates.class_of[used] == d]
        largest = own[np.argmax(tidied[own])]
        others = float(tidied[own].sum() - tidied[largest])
        tidied[largest] = round(1.0 - others, DECIMALS)
    return np.asarray(tidied)


def by_name(x: Array, estimates: Estimates) -> dict[str, dict[str, float]]:
    """Shares by class and strategy, used ones only."""
    allocation: dict[str, dict[str, float]] = {name: {} for name in estimates.classes}
    for cell, share in zip(estimates.cells, x, strict=True):
        if share > 0:
            allocation[cell.class_name][cell.strategy] = float(share)
    return allocation
