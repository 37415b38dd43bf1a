"""Who gets what: accuracy and compute of every group, and how far apart groups really are.

What was never measured on a group is filled with its class's cell, and the interval then holds
whatever the truth there is.

Gaps are judged together: every difference of two groups has an interval at ``alpha`` over the
number of pairs (Bonferroni), joined from those of Clopper and Pearson by Zou and Donner,
"Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008). The
largest lower and the largest upper end then bound the true gap between the best and the worst
group, though both were picked after the fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiles.cells.by_group import GroupTable
from profiles.cells.group_sums import GroupSum, Interval, Shares, group_sums
from profiles.profile import Profile


@dataclass(frozen=True, slots=True)
class GroupFigure:
    """What one group gets.

    Attributes:
        value: The group.
        queries: Distinct queries behind it.
        share: Its share of the grouped queries, 0..1.
        accuracy: Mean score; None where neither the group nor its class was measured.
        accuracy_interval: At the confidence asked for; (0, 1) where nothing is known.
        unmeasured: Share of its requests answered by strategies never measured on it there.
        cost_usd: Mean dollars per request, None where unknown.
        cost_interval: None where unknown, or for fewer than two queries.
        tokens_in: Mean prompt tokens, None where unknown.
        tokens_out: Mean completion tokens, None where unknown.
        gpu_s: Mean GPU-seconds, None where unknown.
    """

    value: str
    queries: int
    share: float
    accuracy: float | None
    accuracy_interval: Interval
    unmeasured: float
    cost_usd: float | None
    cost_interval: Interval | None
    tokens_in: float | None
    tokens_out: float | None
    gpu_s: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """How far apart groups are.

    Attributes:
        best: Group with the highest mean score, the first of equals.
        worst: Group with the lowest, the first of equals: the same one where all are equal.
        difference: Between their mean scores.
        interval: Of the true gap between the truly best and the truly worst group.
        certain: The pair (better, worse) that is furthest apart beyond noise; None where none is.
        pairs: Pairs that were compared, in all that is shown together.
    """

    best: str
    worst: str
    difference: float
    interval: Interval
    certain: tuple[str, str] | None
    pairs: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Figures of all groups under one way of answering; `gap` is None for fewer than two groups."""

    groups: tuple[GroupFigure, ...]
    gap: Gap | None


def audits(
    profile: Profile, table: GroupTable, ways: Sequence[Shares], confidence: float
) -> list[Audit]:
    """One audit per way of answering; the intervals of all their gaps hold together.

    Args:
        profile: The classes' own cells.
        table: The cells by group.
        ways: Shares of strategies per class.
        confidence: Of every interval, 0..1.
    """
    summed = group_sums(profile, table, ways)
    everyone = sum(table.queries.values())
    known = [sum(part.accuracy is not None for part in parts) for parts in summed]
    pairs = sum(count * (count - 1) // 2 for count in known)
    return [
        Audit(
            tuple(_figure(part, everyone, confidence) for part in parts),
            _gap(parts, pairs, confidence),
        )
        for parts in summed
    ]


def _figure(part: GroupSum, everyone: int, confidence: float) -> GroupFigure:
    return GroupFigure(
        value=part.value,
        queries=part.queries,
        share=part.queries / everyone,
        accuracy=part.accuracy,
        accuracy_interval=part.interval(confidence),
        unmeasured=max(1 - part.measured, 0.0) if part.measured < 1 - 1e-9 else 0.0,
        cost_usd=part.cost_usd,
        cost_interval=part.cost_interval(confidence),
        tokens_in=part.means["tokens_in"],
        tokens_out=part.means["tokens_out"],
        gpu_s=part.means["gpu_s"],
    )


def _gap(parts: Sequence[GroupSum], pairs: int, confidence: float) -> Gap | None:
    known = [(part, part.accuracy) for part in parts if part.accuracy is not None]
    if len(known) < 2:
        return None
    means = np.array([mean for _, mean in known])
    joint = 1 - (1 - confidence) / pairs
    low, high = np.array([part.interval(joint, exact=True) for part, _ in known]).T
    difference = means[:, None] - means
    least = difference - np.hypot((means - low)[:, None], high - means)
    most = difference + np.hypot((high - means)[:, None], means - low)
    np.fill_diagonal(least, -1.0)
    first, second = np.unravel_index(int(np.argmax(least)), least.shape)
    names = [part.value for part, _ in known]
    apart = float(least[first, second])
    best, worst = int(np.argmax(means)), int(np.argmin(means))
    return Gap(
        best=names[best],
        worst=names[worst],
        difference=float(difference[best, worst]),
        interval=(max(apart, 0.0), min(float(most.max()), 1.0)),
        certain=(names[int(first)], names[int(second)]) if apart > 0 else None,
        pairs=pairs,
    )
