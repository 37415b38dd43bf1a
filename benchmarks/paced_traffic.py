"""Simulated traffic under budgets, and rules that choose its rungs; for `pacing_value`.

Everything runs in lanes: a lane is one window of traffic with its own arrivals, classes, budgets
and forecast. A step is the next request of every lane. Time is a share of the window, money in
means of the first rung. A request is charged when it ends, or at once; the ledger below refuses
what the money left does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from policies.policy import Policy
from runtime.pacing.arrivals import FEW_REQUESTS, FORECAST_WORTH, RECENT
from runtime.pacing.money import SPARE
from runtime.pacing.pacer import MEMORY_REQUESTS, WORTH_REQUESTS

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
LEVEL = 1 + 1e-6
LAST = 1 - 1e-6


@dataclass(frozen=True)
class Ladder:
    """Rungs as arrays: R rungs, C classes, S strategies; costs in means of the first rung.

    Attributes:
        weights: Planned shares of the classes.
        shares: R x C x S.
        accuracy: C x S, 0 where unknown.
        cost: C x S mean, 0 where unknown.
        spread: C x S, standard deviation of a request's cost over its mean.
        bound: C x S, what a request holds.
    """

    weights: Floats
    shares: Floats
    accuracy: Floats
    cost: Floats
    spread: Floats
    bound: Floats

    @classmethod
    def of(cls, policy: Policy) -> Ladder:
        """Of a policy whose cells have accuracies and costs."""
        names, texts = policy.classes.names, policy.strategy_texts()
        shares = np.array(
            [[[r.shares[n].get(t, 0.0) for t in texts] for n in names] for r in policy.rungs]
        )
        figures = np.zeros((4, len(names), len(texts)))
        for place, entry in enumerate(policy.strategies):
            for row, name in enumerate(names):
                cell = entry.by_class.get(name)
                if cell is None or cell.cost_usd is None:
                    continue
                spread = (cell.cost_se_usd or 0.0) * (cell.queries or 0) ** 0.5 / cell.cost_usd
                most = cell.cost_max_usd or cell.cost_usd
                figures[:, row, place] = cell.accuracy or 0.0, cell.cost_usd, spread, most
        weights = np.array(policy.classes.weights)
        return cls.made(weights / weights.sum(), shares, figures)

    @classmethod
    def made(cls, weights: Floats, shares: Floats, figures: Floats) -> Ladder:
        """Of accuracy, cost, spread and bound, 4 x C x S, with costs in any unit."""
        accuracy, cost, spread, bound = figures
        unit = float(((shares[0] * cost).sum(axis=1) * weights).sum())
        return cls(weights, shares, accuracy, cost / unit, spread, bound / unit)

    def by_class(self) -> tuple[Floats, Floats]:
        """Mean accuracy and cost per rung and class, R x C each."""
        return (self.shares * self.accuracy).sum(axis=2), (self.shares * self.cost).sum(axis=2)

    def edges(self) -> Floats:
        """Cumulative shares, R x C x S, 1 from the last strategy that has any."""
        edges = np.minimum(np.cumsum(self.shares, axis=2), 1.0)
        later = np.flip(np.cumsum(np.flip(self.shares, 2), axis=2), 2) - self.shares
        return np.where(later <= 0, 1.0, edges)


@dataclass(frozen=True)
class Steps:
    """A ladder to pace on, dearest first: the policy's rungs, or a rung for each class.

    Attributes:
        rungs: M x C, the rung of each class.
        cost: M, on the planned mix.
        accuracy: M, on the planned mix.
    """

    rungs: Indices
    cost: Floats
    accuracy: Floats

    @classmethod
    def whole(cls, ladder: Ladder) -> Steps:
        """The policy's rungs, for all classes alike."""
        accuracy, cost = ladder.by_class()
        rungs = np.repeat(np.arange(len(cost))[:, None], cost.shape[1], axis=1)
        return cls(rungs, cost @ ladder.weights, accuracy @ ladder.weights)

    @classmethod
    def per_class(cls, ladder: Ladder) -> Steps:
        """The exact frontier of each class's rows: one class moves by one row from step to step."""
        accuracy, cost = ladder.by_class()
        hulls = [_hull(accuracy[:, c], cost[:, c]) for c in range(cost.shape[1])]
        moves = [
            ((accuracy[b, c] - accuracy[a, c]) / (cost[b, c] - cost[a, c]), c, b)
            for c, hull in enumerate(hulls)
            for a, b in pairwise(hull)
        ]
        at = [hull[0] for hull in hulls]
        rows = [list(at)]
        for _, c, rung in sorted(moves, key=lambda move: -move[0]):
            at[c] = rung
            rows.append(list(at))
        rungs = np.array(rows[::-1])
        columns = np.arange(cost.shape[1])
        return cls(
            rungs,
            cost[rungs, columns] @ ladder.weights,
            accuracy[rungs, columns] @ ladder.weights,
        )


def _hull(accuracy: Floats, cost: Floats) -> list[int]:
    """Rows on the upper concave hull, cheapest first."""
    found: list[int] = []
    for row in np.lexsort((-accuracy, cost)):
        if found and accuracy[row] <= accuracy[found[-1]] + 1e-12:
            continue
        found.append(int(row))
        while len(found) > 2:
            a, b, c = found[-3:]
            rise, run = accuracy[b] - accuracy[a], cost[b] - cost[a]
            if rise * (cost[c] - cost[b]) > (accuracy[c] - accuracy[b]) * run:
                break
            del found[-2]
    return found


@dataclass
class World:
    """Traffic and money of L lanes with at most N requests each.

    Attributes:
        ladder: What may answer.
        arrived: N x L in [0, 1); infinite where a lane has no further request.
        classes: N x L.
        budget: L, of the whole window.
        forecast: L, requests of the whole window as forecast.
        seed: Of draws and costs.
        parts: Windows within the window that have a budget of their own, 1 for none.
        part_budget: L, of each of those.
        cost_times: Real costs over those of the policy.
        lasts: Share of the window that a request takes to end.
        holds: Means that a request holds until then; 0 for its bound.
        exchange: Share of the window between two looks at the shared ledger, 0 for always.
        lease: Share of the money left that other replicas hold in leases.
        load_gone: Share of the arrivals that a forecast shape has before a moment.
    """

    ladder: Ladder
    arrived: Floats
    classes: Indices
    budget: Floats
    forecast: Floats
    seed: int
    parts: int = 1
    part_budget: Floats | None = None
    cost_times: float = 1.0
    lasts: float = 0.0
    holds: float = 0.0
    exchange: float = 0.0
    lease: float = 0.0
    load_gone: Callable[[Floats], Floats] = field(default=lambda gone: gone)

    def ended(self) -> Indices:
        """Per request, how many earlier ones have ended when it comes."""
        return self._earlier(self.arrived - self.lasts)

    def exchanged(self) -> Indices:
        """Per request, how many earlier ones the shared ledger knew of at the last exchange."""
        times = np.where(np.isfinite(self.arrived), self.arrived, LAST)
        return self._earlier(np.floor(times / self.exchange) * self.exchange)

    def _earlier(self, moments: Floats) -> Indices:
        lanes = range(self.arrived.shape[1])
        return np.stack([np.searchsorted(self.arrived[:, n], moments[:, n]) for n in lanes], 1)


@dataclass(frozen=True)
class Seen:
    """How a budget stands for a request, per lane; `gone` is a share of its own window."""

    budget: Floats
    spent: Floats
    left: Floats
    gone: Floats
    came: Floats
    forecast: Floats


class Rule:
    """Chooses a step for the next request of every lane."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def begin(self, world: World) -> None:
        """Forget all lanes."""

    def choose(self, seen: Sequence[Seen], uniform: Floats) -> Indices:
        """A step per lane."""
        raise NotImplementedError

    def charged(self, step: Indices, cost: Floats) -> None:
        """What the request was charged, 0 where it was refused."""


class First(Rule):
    """The plan as asked until the money is gone."""

    def choose(self, seen: Sequence[Seen], uniform: Floats) -> Indices:  # noqa: ARG002
        """A step per lane."""
        return np.zeros(len(uniform), dtype=np.intp)


class ByForecast(Rule):
    """Money left over requests left, by the clock and the forecast: the rule before this one."""

    def choose(self, seen: Sequence[Seen], uniform: Floats) -> Indices:
        """A step per lane."""
        found = [
            drawn(self.steps.cost, now.left / self.requests_left(now), uniform) for now in seen
        ]
        return np.asarray(np.max(found, axis=0))

    def requests_left(self, now: Seen) -> Floats:
        """By clock."""
        return np.maximum(now.forecast * (1 - now.gone), 1.0)


class ByArrivals(ByForecast):
    """What `runtime.pacing` does: arrivals correct the forecast, and the cheapest rung is kept."""

    def begin(self, world: World) -> None:
        """Forget all lanes."""
        lanes = world.arrived.shape[1]
        self.expected, self.paid = np.zeros(lanes), np.zeros(lanes)
        self.recent: list[tuple[Floats, Floats, Floats]] = []

    def choose(self, seen: Sequence[Seen], uniform: Floats) -> Indices:
        """A step per lane."""
        dearest, cheapest = self.steps.cost[0], self.steps.cost[-1]
        worth = WORTH_REQUESTS * dearest
        ratio = (worth + self.paid) / (worth + self.expected)
        found = []
        for now, lately in zip(seen, self._lately(seen), strict=True):
            left = np.maximum(self.requests_left(now), lately * (1 - now.gone))
            pace = now.left / (left * ratio) * LEVEL
            scarce = np.clip((dearest - pace) / (dearest - cheapest), 0.0, 1.0)
            pace = pace - SPARE * cheapest * scarce
            found.append(drawn(self.steps.cost, pace / LEVEL, uniform))
        return np.asarray(np.max(found, axis=0))

    def requests_left(self, now: Seen) -> Floats:
        """By the window so far."""
        worth = np.maximum(FORECAST_WORTH, FEW_REQUESTS / now.forecast)
        expected = (worth * now.forecast + now.came) / (worth + now.gone)
        return np.asarray(np.maximum(expected * (1 - now.gone), 1.0))

    def _lately(self, seen: Sequence[Seen]) -> list[Floats]:
        """Recent rates of arrivals, requests per window of each budget."""
        if not self.recent:
            self.recent = [(now.forecast, now.gone, now.came) for now in seen]
        for place, now in enumerate(seen):
            rate, gone, came = self.recent[place]
            turned = now.gone < gone
            passed = now.gone - np.where(turned, gone - 1, gone)
            more = now.came - np.where(turned, 0.0, came)
            over = np.maximum(RECENT, FEW_REQUESTS / now.forecast)
            kept = np.exp(-passed / over)
            per = np.where(passed > 0, (1 - kept) / np.where(passed > 0, passed, 1.0), 1 / over)
            self.recent[place] = rate * kept + more * per, now.gone, now.came
        return [rate for rate, _, _ in self.recent]

    def charged(self, step: Indices, cost: Floats) -> None:
        """What the request was charged."""
        kept = np.where(cost > 0, 1 - 1 / MEMORY_REQUESTS, 1.0)
        self.expected = self.expected * kept + np.where(cost > 0, self.steps.cost[step], 0.0)
        self.paid = self.paid * kept + cost


class Dual(Rule):
    """Dual descent: a multiplier per budget that rises with spend above plan, by the clock.

    Multiplicative steps, clamped to the slopes of the ladder, begun at the slope of the forecast
    pace; several budgets add up.

    Args:
        steps: What to pace on.
        rate: Logarithm of the multiplier per budget spent beyond plan.
        by_money_left: Plan with the money left over the time left; else with the whole window's.
        spare: Further requests for which the cheapest step is kept, as `ByArrivals` does.
    """

    def __init__(
        self, steps: Steps, rate: float = 20.0, *, by_money_left: bool = True, spare: float = 0.0
    ) -> None:
        super().__init__(steps)
        slopes = np.diff(steps.accuracy) / np.diff(steps.cost)
        self._slopes = np.maximum.accumulate(slopes)
        self._rate, self._by_money_left, self._spare = rate, by_money_left, spare

    def begin(self, world: World) -> None:  # noqa: ARG002
        """Forget all lanes."""
        self._states: list[tuple[Floats, Floats, Floats]] = []
        self._counted = ByArrivals(self.steps)

    def choose(self, seen: Sequence[Seen], uniform: Floats) -> Indices:
        """A step per lane."""
        if not self._states:
            nothing = np.zeros(len(uniform))
            self._states = [(self._warm(now), nothing, nothing) for now in seen]
        total = np.zeros(len(uniform))
        for place, now in enumerate(seen):
            price, gone, spent = self._states[place]
            turned = now.gone < gone
            planned = self._left(now) / now.budget / np.maximum(1 - now.gone, 1e-3)
            if not self._by_money_left:
                planned = np.ones_like(total)
            beyond = (now.spent - spent) / now.budget - planned * (now.gone - gone)
            moved = price * np.exp(self._rate * np.where(turned, 0.0, beyond))
            price = np.clip(moved, self._slopes[0] / 2, self._slopes[-1] * 1.2)
            self._states[place] = price, now.gone, now.spent
            total += price
        return np.searchsorted(self._slopes, total)

    def _left(self, now: Seen) -> Floats:
        kept = self._spare * self.steps.cost[-1] * self._counted.requests_left(now)
        return np.asarray(np.maximum(now.left - kept, 0.0))

    def _warm(self, now: Seen) -> Floats:
        at = np.searchsorted(-self.steps.cost, -(now.budget / now.forecast) * LEVEL)
        warm = self._slopes[np.clip(at - 1, 0, len(self._slopes) - 1)]
        return np.asarray(np.where(at == 0, self._slopes[0] / 2, warm))


def drawn(costs: Floats, pace: Floats, uniform: Floats) -> Indices:
    """Between the two steps around a pace, as `runtime.pacing.rung` draws."""
    pace = pace * LEVEL
    below = np.searchsorted(-costs, -pace)
    low, high = np.minimum(below, len(costs) - 1), np.maximum(below - 1, 0)
    between = (below > 0) & (below < len(costs))
    width = np.where(between, costs[high] - costs[low], 1.0)
    dearer = between & (uniform * width < pace - costs[low])
    return np.where(dearer, high, low)


@dataclass(frozen=True)
class Outcome:
    """What a rule brought, per lane; `paid` is what was charged up to each request, N + 1 x L."""

    value: Floats
    refused: Floats
    paid: Floats


Witness = Callable[[Sequence[Seen], Floats, Indices], None]


class _Book:
    """What was charged and held before each request, and how budgets stand at one."""

    def __init__(self, world: World) -> None:
        steps, lanes = world.arrived.shape
        self._world, self._lane = world, np.arange(lanes)
        self._ended = world.ended() if world.lasts else None
        self._known = world.exchanged() if world.exchange else None
        self.paid, self.held = np.zeros((steps + 1, lanes)), np.zeros((steps + 1, lanes))
        self.came = np.zeros((steps + 1, lanes), dtype=np.int32)
        self._began = np.zeros(lanes, dtype=np.intp)
        self._part = np.zeros(lanes, dtype=np.intp)

    def look(self, k: int, now: Floats) -> tuple[list[Seen], Floats]:
        """Every budget as request k sees it, and the money that the ledger may still hold."""
        world = self._world
        windows = [(world.budget, np.zeros_like(self._began), world.load_gone(now), 1)]
        if world.part_budget is not None:
            found = (now * world.parts).astype(np.intp)
            self._began = np.where(found > self._part, k, self._began)
            self._part = np.maximum(found, self._part)
            within = now * world.parts - self._part
            windows.append((world.part_budget, self._began, within, world.parts))
        seen, room = [], np.full(len(now), np.inf)
        for budget, since, gone, parts in windows:
            told = np.full_like(since, k) if self._ended is None else self._ended[k]
            spent = self._since(self.paid, np.maximum(told, since), since)
            held = self.held[k] - self.held[np.maximum(told, since), self._lane]
            left, came = (
                budget - spent - held,
                self._since(self.came, np.full_like(since, k), since),
            )
            room = np.minimum(room, left)
            if self._known is not None:
                shared = np.maximum(self._known[k], since)
                spent = self._since(self.paid, shared, since)
                left = (budget - spent) * (1 - world.lease)
                came = self._since(self.came, shared, since)
            seen.append(Seen(budget, spent, left, gone, came, world.forecast / parts))
        return seen, room

    def _since(self, sums: Any, at: Indices, since: Indices) -> Floats:
        return np.asarray(sums[at, self._lane] - sums[since, self._lane], dtype=np.float64)


def run(world: World, rule: Rule, witness: Witness | None = None) -> Outcome:
    """All requests through a rule and a ledger."""
    steps, lanes = map(int, world.arrived.shape)
    rng = np.random.default_rng(world.seed)
    ladder, edges, book = world.ladder, world.ladder.edges(), _Book(world)
    least = np.argmin(np.where(ladder.cost > 0, ladder.cost, np.inf), axis=1)
    value, refused = np.zeros(lanes), np.zeros(lanes)
    rule.begin(world)
    for k in range(steps):
        there = np.isfinite(world.arrived[k])
        seen, room = book.look(k, np.where(there, world.arrived[k], LAST))
        uniform, sorts = rng.random(lanes), world.classes[k]
        chosen = rule.choose(seen, uniform)
        if witness:
            witness(seen, uniform, chosen)
        passed = edges[rule.steps.rungs[chosen, sorts], sorts] <= rng.random((lanes, 1))
        strategy, luck = passed.sum(axis=1), rng.standard_normal(lanes)
        cost, bound = _amounts(world, sorts, strategy, luck)
        short = bound > room
        if short.any():
            strategy = np.where(short, least[sorts], strategy)
            cost, bound = _amounts(world, sorts, strategy, luck)
        served = there & (bound <= room)
        cost = np.where(served, cost, 0.0)
        book.paid[k + 1] = book.paid[k] + cost
        book.held[k + 1] = book.held[k] + np.where(served, bound, 0.0)
        book.came[k + 1] = book.came[k] + served
        value += np.where(served, ladder.accuracy[sorts, strategy], 0.0)
        refused += there & ~served
        rule.charged(chosen, np.where(short, 0.0, cost))
    return Outcome(value, refused / np.isfinite(world.arrived).sum(axis=0), book.paid)


def _amounts(
    world: World, sorts: Indices, strategy: Indices, luck: Floats
) -> tuple[Floats, Floats]:
    """Cost and hold of a request; no cost is above its hold."""
    mean = world.ladder.cost[sorts, strategy] * world.cost_times
    s = np.sqrt(np.log1p(world.ladder.spread[sorts, strategy] ** 2))
    bound = world.ladder.bound[sorts, strategy] * world.cost_times
    if world.holds:
        bound = mean * world.holds
    return np.minimum(mean * np.exp(s * luck - s**2 / 2), bound), bound


def hindsight(world: World) -> Floats:
    """The most value per lane with all requests known, within the rungs' rows: a programme each.

    Of each class and part of the window, how many requests each rung's row answers; the rest is
    refused.
    """
    accuracy, cost = world.ladder.by_class()
    rungs, classes = cost.shape
    parts = world.parts
    one_each = np.kron(np.eye(parts * classes), np.ones(rungs))
    costs = np.tile((cost * world.cost_times).T.ravel(), parts)
    rows: list[Any] = [one_each, costs[None]]
    if parts > 1:
        rows.append(np.kron(np.eye(parts), np.ones(classes * rungs)) * costs)
    values = np.tile(accuracy.T.ravel(), parts)
    found = []
    for lane in range(world.arrived.shape[1]):
        there = np.isfinite(world.arrived[:, lane])
        part = (world.arrived[there, lane] * parts).astype(np.intp)
        counts = np.zeros((parts, classes))
        np.add.at(counts, (part, world.classes[there, lane]), 1.0)
        most = [*counts.ravel(), world.budget[lane]]
        if world.part_budget is not None:
            most += [world.part_budget[lane]] * parts
        best = linprog(-values, A_ub=np.vstack(rows), b_ub=most, method="highs")
        found.append(-float(best.fun or 0.0))
    return np.array(found)
