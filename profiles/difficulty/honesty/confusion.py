"""Predicted classes against labels, and what sorting differently would change.

How closely classes and labels go together is Cramer's V with Bergsma's correction (Journal of the
Korean Statistical Society 42 (2013)): 0 on average for unrelated ones, 1 where each tells the
other. A class need not be called what the label is called, so beside it stands how often the most
frequent label of a class is right.

A class is wrong only as far as another one would have been served better. `changes` therefore
takes what a plan does with each class and prices a second sorting against the first, query by
query: both are paid by the same outcomes, so only queries that move make noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.cells.intervals import wilson

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of queries.

    Attributes:
        count: Queries counted.
        share: Of the queries of their class, 0..1; 0 in an empty class.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Predicted classes (rows) against labels (columns).

    Attributes:
        class_names: Rows.
        labels: Columns, sorted.
        queries: With a label.
        unlabelled: Left out.
        table: One row per class, one share per label.
        guessed: How often the most frequent label of its class is a query's label. Chosen on the
            same queries, so too good where cells hold few of them.
        base: How often the most frequent label of all is.
        same_name: How often class and label have the same name; None unless every label is the
            name of a class.
        association: Cramer's V, 0..1; None where there is but one class or label.
    """

    class_names: tuple[str, ...]
    labels: tuple[str, ...]
    queries: int
    unlabelled: int
    table: tuple[tuple[Share, ...], ...]
    guessed: float
    base: float
    same_name: Share | None
    association: float | None


def confusion(
    sorted_as: Indices, class_names: Sequence[str], labels: Sequence[str | None]
) -> Confusion | None:
    """Count them; None where no query has a label.

    Args:
        sorted_as: Shape (n,): index of each query's class, out of fold.
        class_names: C names.
        labels: n labels; None where a query has none.
    """
    pairs = [
        (int(c), label) for c, label in zip(sorted_as, labels, strict=True) if label is not None
    ]
    if not pairs:
        return None
    names = sorted({label for _, label in pairs})
    place = {label: index for index, label in enumerate(names)}
    counts = np.zeros((len(class_names), len(names)), dtype=np.int64)
    for row, label in pairs:
        counts[row, place[label]] += 1
    same = sum(class_names[row] == label for row, label in pairs)
    return Confusion(
        class_names=tuple(class_names),
        labels=tuple(names),
        queries=len(pairs),
        unlabelled=len(labels) - len(pairs),
        table=tuple(tuple(_share(int(c), int(row.sum())) for c in row) for row in counts),
        guessed=float(counts.max(axis=1).sum() / len(pairs)),
        base=float(counts.sum(axis=0).max() / len(pairs)),
        same_name=_share(same, len(pairs)) if set(names) <= set(class_names) else None,
        association=_cramers_v(counts),
    )


def _share(count: int, of: int) -> Share:
    share = count / of if of else 0.0
    return Share(count, share, *wilson(share, of))


def _cramers_v(counts: NDArray[np.int64]) -> float | None:
    counts = counts[counts.sum(axis=1) > 0]
    n, (rows, columns) = int(counts.sum()), counts.shape
    if min(rows, columns) < 2:
        return None
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    square = float(((counts - expected) ** 2 / expected).sum()) / n
    square = max(0.0, square - (rows - 1) * (columns - 1) / (n - 1))
    fewer = min(size - (size - 1) ** 2 / (n - 1) for size in counts.shape)
    return min(1.0, math.sqrt(square / (fewer - 1))) if fewer > 1 else None


@dataclass(frozen=True, slots=True)
class Change:
    """What a second sorting changes per request.

    Attributes:
        queries: Measured as far as both sortings would serve them.
        mean: Second less first.
        standard_error: Over queries, paired; None for fewer than two.
    """

    queries: int
    mean: float
    standard_error: float | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a second sorting changes under the same plan.

    Attributes:
        moved: Share of queries that change their class.
        score: In points of mean score; None where no query is measured under both.
        cost_usd: In dollars per request; None likewise, or without costs.
    """

    moved: float
    score: Change | None
    cost_usd: Change | None


def changes(
    shares: Floats, scores: Floats, costs: Floats | None, first: Indices, second: Indices
) -> Changes:
    """Price the second sorting of the same queries against the first.

    With the predicted classes first and those best in hindsight second, it is what wrong classes
    cost; restricted to the queries of one pair of classes, what that mistake costs. Hindsight knows
    the luck of single outcomes, so no estimator could win all of it.

    Args:
        shares: Shape (C, S): which strategy answers a class, rows sum to 1.
        scores: Shape (n, S), in 0..1; nan where unmeasured. A query counts where every strategy
            that either sorting could send it to is measured.
        costs: Shape (n, S), dollars, nan where unknown; None where nothing is.
        first: Shape (n,): class indices.
        second: Shape (n,).
    """
    return Changes(
        moved=float((first != second).mean()) if len(first) else 0.0,
        score=_change(shares, scores, first, second),
        cost_usd=None if costs is None else _change(shares, costs, first, second),
    )


def _change(shares: Floats, values: Floats, first: Indices, second: Indices) -> Change | None:
    before, after = served(shares, values, first), served(shares, values, second)
    less = (after - before)[np.isfinite(before) & np.isfinite(after)]
    if not len(less):
        return None
    error = float(less.std(ddof=1)) / math.sqrt(len(less)) if len(less) > 1 else None
    return Change(len(less), float(less.mean()), error)


def served(shares: Floats, values: Floats, sorted_as: Indices) -> Floats:
    """Shape (n,): mean value per request of each query; nan where a strategy used is unmeasured."""
    used = shares[sorted_as]
    return np.asarray(np.where(used > 0, used * values, 0.0).sum(axis=1))
