"""The value of information: what measuring one cell further is worth to the certified plan.

At the plan's shadow prices every class is a choice of its own: strategy s costs it
``loss = w (cost - price_floor (accuracy - z u sd) + ...)``, and the plan takes the smallest. More
queries do two things to a loss: its certificate tightens (sd falls), and its estimate moves by a
normal amount that today can only be foreseen in spread. So the expected improvement of the class's
smallest loss has a closed form, as in the knowledge gradient (Gupta and Miescke, "Bayesian look
ahead one-stage sampling allocations for selection of the best population", 1996; Frazier, Powell
and Dayanik, "A knowledge-gradient policy for sequential information collection", 2008)::

    value = L - E min(loss', B),   loss' ~ N(m, v^2),   B the best of the class's other losses

Prices and the margin's direction are held where they are: exact for small improvements. Prices of
limits on groups do not enter: beliefs are per class and strategy. `planner.advice.advise` gives no
values where the plan pays for such a limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from planner.advice.beliefs import Beliefs, Outlook, beliefs
from planner.limit_names import BY_CLASS, LATENCY, OVERALL, SPEND, price_name
from planner.limits import LimitSet
from planner.planner import Planner
from planner.programme.margin import Array, Margin
from planner.rivals import REFERENCES
from planner.spec import Objective
from profiles.errors import InfeasibleError

MIXED = 0.5
"""A class that mixes two strategies sets the price by their tie. As one of them improves the mix
moves and the price falls, so the gain is the triangle under it: half of what a fixed price says."""

COST = "cost"
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Tangent:
    """A margin, made linear at an allocation: its rise per unit of a cell's numbers, by class.

    Attributes:
        by_sd: Rise per unit of standard error, times the share.
        by_value: Rise per unit of the value itself (through the counted class mix).
        constant: Rise per unit of the margin's last component.
    """

    by_sd: Array
    by_value: Array
    constant: float


@dataclass(frozen=True)
class Position:
    """Where the certified plan stands.

    Attributes:
        x: Share per measured cell; of the nearest miss where no plan can be certified.
        value: The objective there: dollars per request, accuracy, or by how much `blocked` misses.
        prices: Worth of one unit of each quantity in units of `value`: `cost`, `accuracy` (the
            objective's own), and limits by name. Never negative.
        lean: Allocation whose margin gives the direction where `x` itself has none.
        blocked: The limit that cannot be certified, None where a plan exists.
    """

    x: Array
    value: float
    prices: dict[str, float]
    lean: Array
    blocked: str | None = None


_OWN = {Objective.MINIMIZE_COST: COST, Objective.MAXIMIZE_ACCURACY: ACCURACY}
_VALUED = {COST, ACCURACY, OVERALL, SPEND, price_name(LATENCY)}


def not_valued(prices: Iterable[str]) -> list[str]:
    """Of what a plan pays for, that to which the worth of more queries is not known."""
    return [name for name in prices if name not in _VALUED and not name.startswith(BY_CLASS)]


def position(planner: Planner) -> Position:
    """Solve the spec's question and read off what everything is worth.

    Raises:
        InfeasibleError: No limit could be kept by moving it alone.
    """
    objective, limits = planner.spec.objective, planner.limits
    try:
        answer = planner.answer(objective, limits)
    except InfeasibleError:
        return _nearest(planner, limits)
    own = _OWN.get(objective, objective.value)
    prices, lean = answer.shadow_prices, answer.x
    if own == ACCURACY and not prices and planner.accounts.z > 0:
        prices, lean = _in_hindsight(planner)
    return Position(answer.x, answer.value, {own: 1.0} | _sizes(prices), lean)


def _in_hindsight(planner: Planner) -> tuple[dict[str, float], Array]:
    """Prices and allocation on point estimates: where the plan would go if it dared."""
    bold = planner.on_point_estimates()
    answer = bold.answer(planner.spec.objective, planner.limits)
    return answer.shadow_prices, answer.x


def _nearest(planner: Planner, limits: LimitSet) -> Position:
    for name in limits.values:
        try:
            answer = planner.nearest(limits, name)
        except InfeasibleError:
            continue
        key = price_name(name)
        prices = _sizes(answer.shadow_prices) | {key: 1.0}
        return Position(answer.x, answer.value, prices, answer.x, blocked=name)
    raise InfeasibleError("no single limit can be moved so that all others are kept")


def _sizes(prices: dict[str, float]) -> dict[str, float]:
    return {name: abs(price) for name, price in prices.items()}


class Information:
    """Values every cell's next queries at the certified plan's prices. Not thread-safe.

    Args:
        planner: The question, its solver and its numbers.

    Raises:
        InfeasibleError: No limit could be kept by moving it alone.
        UnknownValueError: A cost or tail that the question needs is unknown.
    """

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.position = position(planner)
        e, limits = planner.estimates, planner.limits
        row = None if limits.p95_s is None else e.latency_row(limits.p95_s)
        self.beliefs: Beliefs = beliefs(e, planner.spec, row)
        self._classes = len(e.classes)
        self._floor_prices = np.array(
            [self.position.prices.get(BY_CLASS + name, 0.0) for name in e.classes]
        )
        self._single = self._reference()
        self._tangents = self._all_tangents(row)
        share, spread = e.weights[self.beliefs.class_of], np.sqrt(self.beliefs.cost_variance)
        self._noise = planner.accounts.bill.noise_around(
            self.position.x, share, self.beliefs.cost_usd, spread
        )
        self._now = self.losses(self.beliefs.after(0.0))
        self._now[self.beliefs.measured :] = np.inf
        self._best, self._others = self._smallest(self._now)
        mixed = np.bincount(e.class_of, self.position.x > 0, self._classes) > 1
        self._kept = np.where(mixed, MIXED, 1.0)[self.beliefs.class_of]

    @property
    def usd_per_unit(self) -> float | None:
        """Dollars per request that one unit of the objective is worth; None where no price says."""
        if self.position.blocked is not None:
            return None
        if COST in self.position.prices:
            return 1.0
        price = self.position.prices.get(SPEND, 0.0)
        return 1 / price if price > 0 else None

    def value(self, extra: Array | float) -> Array:
        """Expected improvement of the objective per request, each entry measured alone.

        Args:
            extra: More queries per entry, shape (entries,) or one number.

        Returns:
            Shape (entries,), never negative.
        """
        outlook = self.beliefs.after(extra)
        mean, swing = self.losses(outlook), self._swings(outlook)
        others = self._others_after(outlook)
        best = self._best[self.beliefs.class_of]
        value = (best - expected_smaller(mean, swing, others)) * self._kept
        return np.where(np.asarray(extra) > 0, np.maximum(value, 0.0), 0.0)

    def chance(self, entry: int, queries: int) -> float:
        """Chance that after so many more queries the entry is its class's best choice, 0..1."""
        outlook = self.beliefs.after(float(queries))
        mean, swing = self.losses(outlook)[entry], self._swings(outlook)[entry]
        gap = self._others[entry] - mean
        return float(ndtr(gap / swing)) if swing > 0 else float(gap > 0)

    def losses(self, outlook: Outlook) -> Array:
        """What each entry would add to the class's loss if it answered all of the class."""
        b, prices = self.beliefs, self.position.prices
        d = b.class_of
        weight = self.planner.estimates.weights[d]
        loss = np.zeros(len(d))
        if price := prices.get(OVERALL, 0.0):
            at = self._tangents[OVERALL]
            margin = at.by_sd[d] * outlook.accuracy_sd + at.by_value[d] * outlook.careful
            loss -= price * (weight * outlook.careful - margin)
        if price := prices.get(ACCURACY, 0.0):
            loss -= price * (weight * b.accuracy - self._doubt(outlook.accuracy_sd))
        if self._floor_prices.any():
            loss -= self._floor_prices[d] * b.floor(outlook)
        if price := prices.get(price_name(LATENCY), 0.0):
            at = self._tangents[LATENCY]
            loss += price * (
                weight * b.slow + at.by_sd[d] * outlook.slow_sd + at.by_value[d] * b.slow
            )
        if price := prices.get(SPEND, 0.0):
            at = self._tangents[SPEND]
            loss += price * (
                weight * b.cost_usd + at.by_sd[d] * outlook.cost_sd + at.by_value[d] * b.cost_usd
            )
            loss += price * at.constant * self._noise
        if price := prices.get(COST, 0.0):
            loss += price * weight * b.cost_usd
        return loss

    def _swings(self, outlook: Outlook) -> Array:
        """Standard deviation of each loss's move; accuracy, cost and tail move independently."""
        b, prices = self.beliefs, self.position.prices
        d = b.class_of
        weight = self.planner.estimates.weights[d]
        accuracy = prices.get(ACCURACY, 0.0) * weight + self._floor_prices[d]
        if price := prices.get(OVERALL, 0.0):
            accuracy = accuracy + price * (weight - self._tangents[OVERALL].by_value[d])
        square = (accuracy * outlook.accuracy_swing) ** 2
        if price := prices.get(COST, 0.0) + prices.get(SPEND, 0.0):
            square += (price * weight * outlook.cost_swing) ** 2
        if price := prices.get(price_name(LATENCY), 0.0):
            square += (price * weight * outlook.slow_swing) ** 2
        return np.asarray(np.sqrt(square))

    def _doubt(self, sds: Array) -> Array:
        """The objective's own margin per entry: of the difference to the strategy to beat."""
        d = self.beliefs.class_of
        at = self._tangents[ACCURACY].by_sd[d]
        if self._single is None:
            return np.asarray(at * sds)
        own = self._single
        reference = np.zeros(self._classes)
        reference[d[own]] = self.beliefs.after(0.0).accuracy_sd[own]
        return np.where(own, 0.0, at * np.hypot(sds, reference[d]))

    def _others_after(self, outlook: Outlook) -> Array:
        """Best other loss per entry; measuring the strategy to beat also tightens its rivals'."""
        if self._single is None or ACCURACY not in self.position.prices:
            return self._others
        others = self._others.copy()
        d, at = self.beliefs.class_of, self._tangents[ACCURACY].by_sd
        now = self.beliefs.after(0.0).accuracy_sd
        for j in np.flatnonzero(self._single):
            rivals = (d == d[j]) & ~self._single & np.isfinite(self._now)
            eased = np.hypot(now[rivals], outlook.accuracy_sd[j]) - np.hypot(now[rivals], now[j])
            if rivals.any():
                others[j] = float(np.min(self._now[rivals] + at[d[j]] * eased))
        return others

    def _reference(self) -> NDArray[np.bool_] | None:
        """Entries of the single strategy that an accuracy objective has to beat, None without."""
        if ACCURACY not in self.position.prices or self.planner.estimates.level is None:
            return None
        single = self._single_to_beat()
        if single is None:
            return None
        unmeasured = np.zeros(len(self.beliefs.class_of) - len(single), dtype=bool)
        return np.concatenate([single > 0, unmeasured])

    def _single_to_beat(self) -> Array | None:
        """A refused gain is over the plan itself; else over the one that raises the least doubt."""
        x, lean = self.position.x, self.position.lean
        if x is not lean:
            return x
        planner, share = self.planner, self.planner.estimates.traffic_share
        kept = [single for _, single in planner.singles() if planner.keeps(single, planner.limits)]
        kept.sort(key=lambda single: -float(share * single @ planner.estimates.accuracy))
        doubts = [planner.accounts.difference_margin(single).value(lean) for single in kept]
        return kept[int(np.argmin(doubts[:REFERENCES]))] if kept else None

    def _all_tangents(self, row: int | None) -> dict[str, Tangent]:
        accounts, e = self.planner.accounts, self.planner.estimates
        careful = float(e.traffic_share * self.position.x @ e.accuracy_careful)
        offset = accounts.judged_offset(self.planner.limits.values.get(OVERALL, careful))
        tangents = {OVERALL: self._tangent(accounts.accuracy_margin, offset)}
        if self.planner.costs_known:
            tangents[SPEND] = self._tangent(accounts.bill.margin_around(self.position.x), 0.0)
        if row is not None:
            tangents[LATENCY] = self._tangent(accounts.latency_margin(row), 0.0)
        margin = accounts.accuracy_margin
        if self._single is not None:
            margin = accounts.difference_margin(self._single[: e.columns].astype(np.float64))
        tangents[ACCURACY] = self._tangent(margin, 0.0)
        return tangents

    def _tangent(self, margin: Margin, offset: Array | float) -> Tangent:
        e = self.planner.estimates
        zero = np.zeros(len(margin.matrix)) + offset
        u = margin.direction(self.position.x, zero)
        if u is None:
            u = margin.direction(self.position.lean, zero)
        if u is None:  # nothing in doubt yet: the first doubts would come from all classes alike
            u = np.full(len(zero), 1 / np.sqrt(self._classes))
            u[-1] = 0.0
        by_value = np.zeros(self._classes)
        if e.mix_queries is not None and len(u) > 2 * self._classes:  # with rows for the mix
            root = np.sqrt(e.weights / e.mix_queries)
            mix = u[self._classes : 2 * self._classes]
            by_value = margin.z * (mix * root - e.weights * float(mix @ root))
        constant = margin.z * float(u[-1])
        return Tangent(margin.z * u[: self._classes] * e.weights, by_value, constant)

    def _smallest(self, losses: Array) -> tuple[Array, Array]:
        """The smallest loss per class, and per entry the smallest of its class's others."""
        best = np.full(self._classes, np.inf)
        others = np.full(len(losses), np.inf)
        for d in range(self._classes):
            own = np.flatnonzero(self.beliefs.class_of == d)
            order = own[np.argsort(losses[own], kind="stable")]
            best[d] = losses[order[0]]
            others[own] = best[d]
            others[order[0]] = losses[order[1]] if len(order) > 1 else np.inf
        return best, others


def expected_smaller(mean: Array, sd: Array, other: Array) -> Array:
    """``E min(N(mean, sd^2), other)``, elementwise; `other` may be infinite."""
    far = np.isinf(other)
    gap = np.where(far, 0.0, other - mean)
    safe = np.where(sd > 0, sd, 1.0)
    ratio = gap / safe
    density = np.exp(-0.5 * np.minimum(ratio**2, 1400.0)) / np.sqrt(2 * np.pi)
    smaller = np.where(sd > 0, gap * ndtr(ratio) + sd * density, np.maximum(gap, 0.0))
    return np.where(far, mean, other - smaller)
