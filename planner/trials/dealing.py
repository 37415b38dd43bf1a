"""Queries dealt to two halves: near-duplicates stay together, and both halves have what is asked.

Halves are not stratified. Only where a half lacks a class, or a group of requests that a limit is
about, a random part of it changes sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from planner.sorting.cells_of_outcomes import Indices, Outcomes
from planner.spec import Spec
from profiles.errors import InputError

if TYPE_CHECKING:
    from planner.sorting.plans_by_fold import Classes

TRIES = 1000


@dataclass(frozen=True, slots=True)
class Dealt:
    """Queries that can be dealt to two halves.

    Attributes:
        classes: Class index per query, shape (n,).
        names: Class names, each with several groups of near-duplicates.
        group_of: Group per query from 0, shape (n,); a group is never divided.
        labels: Further ways of sorting queries whose every kind both halves need: index per query,
            -1 for none, shape (n,).
    """

    classes: Indices
    names: tuple[str, ...]
    group_of: Indices
    labels: tuple[Indices, ...] = ()

    @property
    def kinds(self) -> Iterator[Indices]:
        """Every way of sorting, classes first."""
        yield self.classes
        yield from self.labels


def divisible(
    outcomes: Outcomes, sorted_by: Classes, group_of: Indices, spec: Spec
) -> tuple[Outcomes, Dealt, tuple[str, ...]]:
    """The queries that can be dealt, and in words what is left out.

    Left out are queries of classes with fewer than two groups of near-duplicates, and the labels
    (not the queries) of groups of requests with fewer than two.

    Raises:
        InputError: The spec names one of those, or there is no class left.
    """
    classes = sorted_by.classes
    parts = [len(np.unique(group_of[classes == d])) for d in range(len(sorted_by.names))]
    large = np.array([count > 1 for count in parts])
    lost = tuple(name for name, kept in zip(sorted_by.names, large, strict=True) if not kept)
    named = _classes_of(spec)
    needed = [name for name in lost if name in named]
    if needed or not large.any():
        name = needed[0] if needed else lost[0]
        raise _indivisible("class", name, parts[sorted_by.names.index(name)])
    own = np.flatnonzero(large[classes])
    index = np.cumsum(large) - 1
    names = tuple(name for name in sorted_by.names if name not in lost)
    _, groups = np.unique(group_of[own], return_inverse=True)
    left_out = (_lost(len(classes) - len(own), "classes", lost),) if lost else ()
    kept, without_groups = _with_groups(outcomes.part(own), groups, spec)
    labels = tuple(label.of for label in kept.labels.values())
    return kept, Dealt(index[classes[own]], names, groups, labels), (*left_out, *without_groups)


def halves(dealt: Dealt, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which queries are profiled: whole groups in random order until half of all queries.

    Raises:
        InputError: Near-duplicates leave no way to give each half every class and group.
    """
    sizes = np.bincount(dealt.group_of)
    kinds = [(kind, int(kind.max(initial=-1)) + 1) for kind in dealt.kinds]
    for _ in range(TRIES):
        order = rng.permutation(len(sizes))
        middle = np.cumsum(sizes[order]) - sizes[order] / 2
        chosen = np.zeros(len(sizes), dtype=bool)
        chosen[order[middle <= len(dealt.classes) / 2]] = True
        for _ in range(2 * sum(count for _, count in kinds) + 1):
            profiled = np.asarray(chosen[dealt.group_of])
            lacking = next(_lacking(kinds, profiled), None)
            if lacking is None:
                return profiled
            group = rng.choice(np.unique(dealt.group_of[lacking]))
            chosen[group] = not chosen[group]
    raise InputError(
        "near-duplicate queries leave no two halves that both have every class and group",
        where=f"classes {', '.join(dealt.names)}",
        next_step="measure more queries, or use fewer classes",
    )


def _lacking(
    kinds: list[tuple[Indices, int]], profiled: NDArray[np.bool_]
) -> Iterator[NDArray[np.bool_]]:
    """Queries of a kind that one half has none of."""
    for kind, count in kinds:
        sides = (kind[own & (kind >= 0)] for own in (profiled, ~profiled))
        there = [np.bincount(side, minlength=count) for side in sides]
        for one in np.flatnonzero(np.min(there, axis=0) == 0):
            yield kind == one


def _classes_of(spec: Spec) -> set[str]:
    """Classes that the spec names."""
    limits, traffic = spec.limits, spec.traffic
    tenants = spec.tenants.values()
    mixes = [traffic.mix if traffic else None, *(tenant.mix for tenant in tenants)]
    latencies = [limits.latency, *(tenant.latency for tenant in tenants)]
    return {
        *limits.accuracy.by_class,
        *(name for tenant in tenants for name in tenant.accuracy.by_class),
        *(name for part in latencies if part is not None for name in part.by_class),
        *(name for mix in mixes for name in mix or ()),
        *(name for share in limits.shares for name in share.classes or ()),
    }


def _with_groups(
    outcomes: Outcomes, group_of: Indices, spec: Spec
) -> tuple[Outcomes, tuple[str, ...]]:
    """The outcomes with labels of groups that can be divided, of columns that limits name."""
    labels, left_out = {}, []
    for column in spec.groups:
        label = outcomes.labels[column]
        parts = {
            value: len(np.unique(group_of[label.of == at])) for at, value in enumerate(label.values)
        }
        small = [value for value, count in parts.items() if count < 2]
        for value in spec.limits.accuracy.by_group.get(column, {}):
            if value in small:
                raise _indivisible(f"group {column}", value, parts[value])
        labels[column] = label.without(small)
        count = int(np.count_nonzero((label.of >= 0) & (labels[column].of < 0)))
        if count:
            left_out.append(_lost(count, f"groups {column}", tuple(small)) + ", as of no group")
    return outcomes.labelled(labels), tuple(left_out)


def _lost(count: int, kinds: str, names: tuple[str, ...]) -> str:
    named = f"{', '.join(names[:5])}{' and others' if len(names) > 5 else ''}"
    return f"{count} queries of {kinds} that two halves cannot share: {named}"


def _indivisible(kind: str, name: str, parts: int) -> InputError:
    return InputError(
        f"the queries of a {kind.partition(' ')[0]} cannot be divided into halves",
        where=f"{kind} {name}",
        expected="at least two queries that are no near-duplicates of each other",
        got=str(parts),
        next_step="measure more queries of it, or leave it out of the spec",
    )
