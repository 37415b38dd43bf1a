"""A group's accuracy and compute under shares of strategies, as sums over classes and strategies.

A group's figure is a mean over its classes in the shares that it has of them. Its standard error
joins, per class, the errors of the strategies in use as if perfectly correlated (they were measured
on the same queries), independent between classes, with the noise of the class mix itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from profiles.cells.by_group import GroupTable
from profiles.cells.intervals import clopper_pearson, effective_size, mean_interval, wilson
from profiles.cells.shrinkage import score_variances
from profiles.profile import Cell, Profile

Shares = Mapping[str, Mapping[str, float]]
"""Per class, the share of requests that each strategy answers."""

Interval = tuple[float, float]
_MEANS = ("tokens_in", "tokens_out", "gpu_s")


@dataclass(frozen=True, slots=True)
class GroupSum:
    """One group under one way of answering.

    Attributes:
        value: The group.
        queries: Distinct queries behind it.
        accuracy: Mean score; the class's cell stands in where the group was not measured; None
            where neither was.
        measured: Share of its requests answered by strategies that were measured on it, 0..1.
        accuracy_measured: Sum of shares and scores over that part.
        error: Standard error of that sum.
        cost_usd: Mean dollars per request, None where any is unknown.
        cost_error: Its standard error, None where the group's own costs do not tell.
        means: Tokens and GPU-seconds per request by name, None where unknown.
    """

    value: str
    queries: int
    accuracy: float | None
    measured: float
    accuracy_measured: float
    error: float
    cost_usd: float | None
    cost_error: float | None
    means: Mapping[str, float | None]

    def cost_interval(self, confidence: float) -> Interval | None:
        """Of the dollars per request; None where unknown or for fewer than two queries."""
        if self.cost_usd is None or self.cost_error is None:
            return None
        spread = self.cost_error * math.sqrt(self.queries)
        return mean_interval(self.cost_usd, spread, None, self.queries, confidence)

    def interval(self, confidence: float, *, exact: bool = False) -> Interval:
        """Of the mean score, wherever it lies on the part that was never measured.

        Manski, "Nonparametric bounds on treatment effects", AER 80 (1990).

        Args:
            confidence: In 0..1.
            exact: Clopper and Pearson's interval in place of Wilson's: never too narrow.
        """
        if self.measured <= 0:
            return 0.0, 1.0
        mean = min(self.accuracy_measured / self.measured, 1.0)
        error = self.error / self.measured
        count = _count(mean, error, self.queries, confidence)
        low, high = (clopper_pearson if exact else wilson)(mean, count, confidence)
        return self.measured * low, min(self.measured * high + 1 - self.measured, 1.0)


def _count(mean: float, error: float, queries: int, confidence: float) -> float:
    """How many independent 0-or-1 queries would leave a mean with this standard error."""
    smooth = (queries * mean + 1) / (queries + 2)
    worth = smooth * (1 - smooth) / error**2 if error > 0 else math.inf
    spread = error * math.sqrt(queries)
    return max(min(effective_size(mean, spread, queries, queries, confidence), worth), 0.5)


def group_sums(profile: Profile, table: GroupTable, ways: Sequence[Shares]) -> list[list[GroupSum]]:
    """Per way of answering, every group of a column in the order of its values.

    Args:
        profile: The classes' own cells.
        table: The cells by group.
        ways: Shares of the strategies in every class.
    """
    variances, sizes = _variances(table), table.sizes()
    return [
        [_of_group(profile, table, group, shares, variances) for group in sizes.items()]
        for shares in ways
    ]


def _variances(table: GroupTable) -> dict[tuple[str, str, str], float]:
    """Of one query's score, smoothed: two right answers of two are no certainty."""
    cells = list(table.cells.values())
    names = sorted({cell.strategy for cell in cells})
    place = {name: index for index, name in enumerate(names)}
    found = score_variances(
        np.array([cell.accuracy for cell in cells]),
        np.array([cell.accuracy_sd for cell in cells]),
        np.array([float(cell.queries) for cell in cells]),
        np.array([place[cell.strategy] for cell in cells], dtype=np.intp),
    )
    return dict(zip(table.cells, found.tolist(), strict=True))


def _of_group(
    profile: Profile,
    table: GroupTable,
    group: tuple[str, int],
    shares: Shares,
    variances: Mapping[tuple[str, str, str], float],
) -> GroupSum:
    """One group, given as its value and its number of distinct queries."""
    value, queries = group
    parts = [
        _of_class(profile, table, (value, name), shares.get(name, {}), variances)
        for name in profile.classes
        if table.queries.get((value, name))
    ]
    weights = [table.queries[value, part.class_name] / queries for part in parts]
    cost = _mix(weights, [part.cost_usd for part in parts])
    own = math.fsum(w * part.own for w, part in zip(weights, parts, strict=True))
    squares = [(w * part.error) ** 2 for w, part in zip(weights, parts, strict=True)]
    between = [w * (part.own - own) ** 2 for w, part in zip(weights, parts, strict=True)]
    return GroupSum(
        value=value,
        queries=queries,
        accuracy=_mix(weights, [part.accuracy for part in parts]),
        measured=math.fsum(w * part.measured for w, part in zip(weights, parts, strict=True)),
        accuracy_measured=own,
        error=math.sqrt(math.fsum(squares) + math.fsum(between) / queries),
        cost_usd=cost,
        cost_error=_cost_error(weights, parts, cost, queries),
        means={name: _mix(weights, [part.means[name] for part in parts]) for name in _MEANS},
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """One group within one class. `own` sums over the strategies that the group was measured on."""

    class_name: str
    accuracy: float | None
    own: float
    measured: float
    error: float
    cost_usd: float | None
    cost_error: float | None
    means: Mapping[str, float | None]


def _of_class(
    profile: Profile,
    table: GroupTable,
    place: tuple[str, str],
    shares: Mapping[str, float],
    variances: Mapping[tuple[str, str, str], float],
) -> _Part:
    value, name = place
    own = {s: table.cells[value, name, s] for s in shares if (value, name, s) in table.cells}
    whole = {s: profile.cells[name, s] for s in shares if (name, s) in profile.cells}
    cells = {s: own.get(s) or whole.get(s) for s in shares}
    errors = [
        x * math.sqrt(variances[value, name, s] / own[s].queries)
        for s, x in shares.items()
        if s in own
    ]
    return _Part(
        class_name=name,
        accuracy=_mean(shares, cells, "accuracy"),
        own=math.fsum(shares[s] * cell.accuracy for s, cell in own.items()),
        measured=min(math.fsum(shares[s] for s in own), 1.0),
        error=math.fsum(errors),
        cost_usd=_mean(shares, cells, "cost_usd"),
        cost_error=_class_cost_error(shares, own, whole),
        means={field: _mean(shares, cells, field) for field in _MEANS},
    )


def _mean(
    shares: Mapping[str, float], cells: Mapping[str, Cell | None], field: str
) -> float | None:
    values = {s: getattr(cell, field) if cell else None for s, cell in cells.items()}
    return _mix(list(shares.values()), [values[s] for s in shares])


def _mix(weights: Sequence[float], values: Sequence[float | None]) -> float | None:
    """A weighted sum; None where any part with a weight is unknown."""
    used = [(w, v) for w, v in zip(weights, values, strict=True) if w > 0]
    known = [w * v for w, v in used if v is not None]
    return math.fsum(known) if len(known) == len(used) and used else None


def _class_cost_error(
    shares: Mapping[str, float], own: Mapping[str, Cell], whole: Mapping[str, Cell]
) -> float | None:
    """None where a strategy was not measured; one query's spread is that of the class."""
    errors = []
    for s, x in shares.items():
        cell = own.get(s)
        sd = cell.cost_mean_sd_usd if cell and cell.queries > 1 else None
        if cell and cell.queries == 1 and s in whole:
            sd = whole[s].cost_mean_sd_usd
        if cell is None or sd is None:
            return None
        errors.append(x * sd / math.sqrt(cell.queries))
    return math.fsum(errors)


def _cost_error(
    weights: Sequence[float], parts: Sequence[_Part], mean: float | None, queries: int
) -> float | None:
    square = 0.0
    for w, part in zip(weights, parts, strict=True):
        if part.cost_error is None or part.cost_usd is None or mean is None:
            return None
        square += (w * part.cost_error) ** 2 + w * (part.cost_usd - mean) ** 2 / queries
    return math.sqrt(square)
