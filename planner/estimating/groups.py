"""Limits on groups of requests: a floor per group, a cap on the gap between any two groups.

A group's mean score is linear in the shares, since it is a mix of classes of its own::

    A_g(x) = sum_d P(d | g) sum_s a[d, s, g] x[d, s]
    A_g(x) - z |M_g x|                        >= floor     accuracy.by_group.COLUMN.VALUE
    A_g(x) - A_h(x) + z |(M_g x, M_h x)|      <= gap       accuracy.max_gap.COLUMN, every g and h

``|M x|`` is the standard error of `planner.programme.margin.aggregate_matrix` with the class mix of
the group, counted from its own queries. Groups of one column share no query, so errors of two of
them are independent. All floors of a spec hold together with its confidence, and so do all
differences under one cap: each row has ``alpha`` over the number of such rows (Bonferroni), and
over the number of strategies it could have been chosen from, as every accuracy margin has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from planner.estimating.group_estimates import GroupEstimate, group_estimates
from planner.limit_names import BY_GROUP, MAX_GAP
from planner.programme.margin import Array, Margin, aggregate_matrix, z_of_chosen
from planner.programme.rows import Rows, stacked
from planner.spec import Spec
from profiles.cells.by_group import GroupTable
from profiles.errors import InputError
from profiles.profile import Profile

if TYPE_CHECKING:
    from planner.estimating.estimates import Estimates

MOST_VALUES = 40
_THIN = 50
"""A cap compares every two groups, so its rows grow with the square of their number."""


@dataclass(frozen=True)
class GroupRow:
    """One row of the programme that speaks about groups.

    Attributes:
        limit: The limit as people name it; a cap on a gap has a row for every ordered pair.
        name: The row's own name; that of the limit where it has but one.
        body: Coefficient per column.
        margin: What the row may miss.
        groups: The group of a floor; the better and the worse one of a cap.
    """

    limit: str
    name: str
    body: Array
    margin: Margin
    groups: tuple[GroupEstimate, ...]

    @property
    def is_floor(self) -> bool:
        """Whether the row bounds from below."""
        return len(self.groups) == 1

    def variance(self, mean: float, judged: int) -> float:
        """Variance of the judged traffic's own noise, of `judged` requests in all.

        A score in 0..1 of mean m varies by at most m (1 - m); of a difference no mean is known.
        """
        spread = mean * (1 - mean) if self.is_floor else 0.25
        return sum(spread / max(judged * group.share, 1.0) for group in self.groups)


@dataclass(frozen=True)
class Groups:
    """Everything that a spec's limits say about groups.

    Attributes:
        rows: One per floor, several per cap.
        of: Groups by column.
    """

    rows: tuple[GroupRow, ...] = ()
    of: Mapping[str, tuple[GroupEstimate, ...]] = field(default_factory=dict)

    def limit_of(self, row: str) -> str:
        """The limit that a row belongs to; any other name stands for itself."""
        return next((own.limit for own in self.rows if own.name == row), row)

    def rows_of(self, limit: str) -> Iterator[GroupRow]:
        """The rows of a limit."""
        return (row for row in self.rows if row.limit == limit)


def groups_of(e: Estimates, profile: Profile, spec: Spec) -> Groups:
    """The rows that a spec's limits on groups need.

    Raises:
        InputError: A column or a group that the profile does not have, or too many groups for a
            cap on their gap.
    """
    limits = spec.limits.accuracy
    of = {name: group_estimates(e, profile, _table(profile, spec, name)) for name in spec.groups}
    named = [(name, value) for name, floors in limits.by_group.items() for value in floors]
    rows = [
        _floor(e, name, _named(of[name], value, f"limits.accuracy.by_group.{name}"), len(named))
        for name, value in named
    ]
    for name in limits.max_gap:
        _refuse_too_many(of[name], name)
        pairs = list(permutations(of[name], 2))
        rows += [_gap(e, MAX_GAP + name, number, pairs) for number in range(len(pairs))]
    _refuse_one_name_for_two(rows)
    return Groups(tuple(rows), of)


def _floor(e: Estimates, column: str, group: GroupEstimate, floors: int) -> GroupRow:
    name = f"{BY_GROUP}{column}.{group.value}"
    margin = Margin(z_of_chosen(e.level, floors * _choices(e, group)), _matrix(e, group))
    return GroupRow(name, name, _share(e, group) * group.careful, margin, (group,))


def _choices(e: Estimates, *groups: GroupEstimate) -> int:
    """Among how many lucky choices a plan can pick for these groups.

    One per strategy, since where cells are measured well luck averages out over classes. Where a
    group's cells are thin the plan picks the luckiest strategy of each such class by itself:
    counting strategies alone, one floor in five was broken with 20 queries a cell.
    """
    measured = np.min([group.measured for group in groups], axis=0)
    typical = [np.median(measured[e.class_of == d]) for d in range(len(e.classes))]
    thin = sum(count < _THIN for count in typical)
    return int(len(e.strategies) ** max(thin, 1))


def _gap(
    e: Estimates, limit: str, number: int, pairs: list[tuple[GroupEstimate, GroupEstimate]]
) -> GroupRow:
    better, worse = pairs[number]
    body = _share(e, better) * better.bold - _share(e, worse) * worse.careful
    matrix = stacked([_matrix(e, better), _matrix(e, worse)])
    margin = Margin(z_of_chosen(e.level, len(pairs) * _choices(e, better, worse)), matrix)
    return GroupRow(limit, f"{limit} #{number}", body, margin, (better, worse))


def _share(e: Estimates, group: GroupEstimate) -> Array:
    return np.asarray(group.mix[e.class_of])


def _matrix(e: Estimates, group: GroupEstimate) -> Rows:
    return aggregate_matrix(group.careful, group.sd, group.mix, e.class_of, group.queries)


def accuracy_of(e: Estimates, group: GroupEstimate, x: Array) -> float:
    """Expected mean score of a group under an allocation, 0..1."""
    return float(_share(e, group) * group.accuracy @ x)


def _table(profile: Profile, spec: Spec, name: str) -> GroupTable:
    if name in profile.groups:
        return profile.groups[name]
    part = "by_group" if name in spec.limits.accuracy.by_group else "max_gap"
    raise InputError(
        f"the profile has no groups {name!r}",
        where=f"limits.accuracy.{part}.{name}",
        expected=f"one of {', '.join(profile.groups)}" if profile.groups else None,
        next_step=f"import the outcomes with --group {name}",
    )


def _named(groups: tuple[GroupEstimate, ...], value: str, where: str) -> GroupEstimate:
    found = next((group for group in groups if group.value == value), None)
    if found is not None:
        return found
    values = [group.value for group in groups]
    near = get_close_matches(value, values, n=1)
    raise InputError(
        f"no measured query belongs to {value!r}",
        where=f"{where}.{value}",
        expected=f"one of {', '.join(values[:30])}",
        next_step=f"did you mean {near[0]!r}?" if near else "name a group of the profile",
    )


def _refuse_one_name_for_two(rows: list[GroupRow]) -> None:
    """Column a.b with group c and column a with group b.c would be one limit."""
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                "two limits have the same name",
                where=f"limits.{name}",
                next_step="import one of the columns again under a name without dots",
            )


def _refuse_too_many(groups: tuple[GroupEstimate, ...], name: str) -> None:
    if len(groups) > MOST_VALUES:
        raise InputError(
            "there are too many groups for a cap on the gap between any two",
            where=f"limits.accuracy.max_gap.{name}",
            expected=f"at most {MOST_VALUES} groups",
            got=f"{len(groups)}",
            next_step="give floors to the groups that matter: limits.accuracy.by_group",
        )
