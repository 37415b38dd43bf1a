"""What changed between two profiles, and what of it is more than noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from profiles.cells.figures import Figure, Floats, Kind, mover
from profiles.errors import InputError
from profiles.profile import Cell, Profile
from profiles.scaling.query_means import QueryMeans, latencies, query_means
from profiles.store.store import Store

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two profiles with what its intervals need.

    Attributes:
        label: Store and workload, as a person named them.
        profile: Its cells.
        means: Query means by (class, strategy); published cells have none.
        latency_s: Sorted latencies of the rows by (class, strategy); published cells have none.
    """

    label: str
    profile: Profile
    means: dict[tuple[str, str], QueryMeans]
    latency_s: dict[tuple[str, str], Floats]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure that is not what it was.

    Attributes:
        class_name: The class.
        strategy: Canonical text form, None for the class's share of the traffic.
        measure: ``share``, ``queries``, ``accuracy``, ``cost_usd`` or ``latency_p95_s``.
        before: None where it was not known.
        after: None where it is not known.
        low: Lower end of the 95 % interval of after - before, None where nothing bounds it.
        high: Upper end.
        beyond_noise: Whether the difference stays clear of 0 at 95 % over all comparisons, or the
            figure is known on one side only.
        shared_queries: Queries that stand behind both figures.
        uncertainty_unknown: A published mean of which nobody says how sure it is; noise cannot be
            judged.
    """

    class_name: str
    strategy: str | None
    measure: str
    before: float | None
    after: float | None
    low: float | None = None
    high: float | None = None
    beyond_noise: bool = False
    shared_queries: int = 0
    uncertainty_unknown: bool = False


@dataclass(frozen=True, slots=True)
class ProfileDiff:
    """Everything that changed; empty where nothing did.

    Attributes:
        before: Label of the one side.
        after: Label of the other.
        changes: Figures that differ, shares of classes first.
        only_before: (class, strategy) that the other side does not have.
        only_after: The reverse.
        comparisons: Figures that were compared; noise is judged over all of them.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    only_before: tuple[tuple[str, str], ...]
    only_after: tuple[tuple[str, str], ...]
    comparisons: int

    @property
    def is_empty(self) -> bool:
        """Nothing changed at all."""
        return not (self.changes or self.only_before or self.only_after)

    @property
    def beyond_noise(self) -> bool:
        """Some figure changed beyond noise, or a figure or a cell is on one side only."""
        return bool(
            self.only_before or self.only_after or any(one.beyond_noise for one in self.changes)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"beyond_noise": self.beyond_noise}


def read_side(
    store: Store,
    workload: str,
    *,
    label: str,
    estimator_digest: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Side:
    """A workload of a store, ready to be compared.

    Raises:
        InputError: Nothing is stored for the workload.
    """
    return Side(
        label,
        store.profile(workload, estimator_digest=estimator_digest, class_names=class_names),
        query_means(store, workload, estimator_digest=estimator_digest),
        latencies(store, workload, estimator_digest=estimator_digest),
    )


def only_workload(store: Store, label: str) -> str:
    """The workload of a store that has one.

    Raises:
        InputError: It has none or several.
    """
    names = store.workloads()
    if len(names) == 1:
        return names[0]
    raise InputError(
        "the store does not have exactly one workload",
        where=label,
        got=", ".join(names) or "none",
        next_step="name it: STORE:WORKLOAD",
    )


def diff_profiles(before: Side, after: Side) -> ProfileDiff:
    """Cells and class shares that differ.

    Differences of two figures have MOVER intervals (Zou and Donner 2008): from the interval of
    each side - Wilson's for shares and accuracies, Student's for costs, order statistics over
    queries for the 95th percentile - and, for means, from the correlation over the queries that
    stand behind both sides. Whether a difference is beyond noise is judged by the same interval
    at a confidence corrected for the number of comparisons (Bonferroni). Published cells are
    compared as if on other queries; their costs and latencies have no interval.
    """
    pairs = [*_shares(before, after), *_cells(before, after)]
    comparisons = sum(pair.before is not None and pair.after is not None for pair in pairs)
    changes = [pair.change(comparisons) for pair in pairs if pair.differs()]
    return ProfileDiff(
        before.label,
        after.label,
        tuple(sorted([*changes, *_counts(before, after)], key=_reading_order)),
        tuple(sorted(before.profile.cells.keys() - after.profile.cells.keys())),
        tuple(sorted(after.profile.cells.keys() - before.profile.cells.keys())),
        comparisons,
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """The same figure on both sides, None where it is not known."""

    class_name: str
    strategy: str | None
    kind: Kind
    before: Figure | None
    after: Figure | None
    correlation: float = 0.0
    shared: int = 0

    def differs(self) -> bool:
        return (self.before and self.before.value) != (self.after and self.after.value)

    def change(self, comparisons: int) -> Change:
        change = Change(
            self.class_name,
            self.strategy,
            self.kind,
            self.before.value if self.before else None,
            self.after.value if self.after else None,
            shared_queries=self.shared,
        )
        if self.before is None or self.after is None:
            return replace(change, beyond_noise=True)
        low, high = mover(self.before, self.after, self.correlation, CONFIDENCE)
        corrected = 1 - (1 - CONFIDENCE) / comparisons
        strict = mover(self.before, self.after, self.correlation, corrected)
        return replace(
            change,
            low=low if math.isfinite(low) else None,
            high=high if math.isfinite(high) else None,
            beyond_noise=strict[0] > 0 or strict[1] < 0,
            uncertainty_unknown=self.before.error is None or self.after.error is None,
        )


def _reading_order(change: Change) -> tuple[bool, str, str, str]:
    return change.strategy is not None, change.class_name, change.strategy or "", change.measure


def _shares(before: Side, after: Side) -> Iterator[_Pair]:
    shares = [
        dict(zip(side.profile.classes, side.profile.weights, strict=True))
        for side in (before, after)
    ]
    for name in sorted({*shares[0], *shares[1]}):
        old, new = (
            Figure(share.get(name, 0.0), Kind.SHARE, side.profile.queries)
            for share, side in zip(shares, (before, after), strict=True)
        )
        yield _Pair(name, None, Kind.SHARE, old, new)


def _cells(before: Side, after: Side) -> Iterator[_Pair]:
    for key in sorted(before.profile.cells.keys() & after.profile.cells.keys()):
        sides = [(side.profile.cells[key], side, key) for side in (before, after)]
        for kind, measure in ((Kind.ACCURACY, "score"), (Kind.COST_USD, "cost_usd")):
            old, new = (_mean(*side, kind, measure) for side in sides)
            shared, correlation = _correlation(before.means.get(key), after.means.get(key), measure)
            yield _Pair(*key, kind, old, new, correlation, shared)
        old, new = (_tail(*side) for side in sides)
        yield _Pair(*key, Kind.LATENCY_P95_S, old, new)


def _counts(before: Side, after: Side) -> Iterator[Change]:
    for key in before.profile.cells.keys() & after.profile.cells.keys():
        old, new = before.profile.cells[key].queries, after.profile.cells[key].queries
        if old != new:
            yield Change(*key, "queries", old, new)


def _mean(cell: Cell, side: Side, key: tuple[str, str], kind: Kind, measure: str) -> Figure | None:
    value = cell.accuracy if kind is Kind.ACCURACY else cell.cost_usd
    if value is None:
        return None
    if (means := side.means.get(key)) is None:
        return Figure(value, kind, cell.queries, error=0.0 if kind is Kind.ACCURACY else None)
    if (column := means.known(measure)) is None:
        return None
    error = float(column.std(ddof=1)) / math.sqrt(column.size) if column.size > 1 else 0.0
    return Figure(value, kind, column.size, error=error)


def _tail(cell: Cell, side: Side, key: tuple[str, str]) -> Figure | None:
    if cell.latency_p95_s is None:
        return None
    if (rows := side.latency_s.get(key)) is None:
        return Figure(cell.latency_p95_s, Kind.LATENCY_P95_S, cell.queries, error=None)
    return Figure(cell.latency_p95_s, Kind.LATENCY_P95_S, cell.latency_queries, rows=rows)


def _correlation(
    before: QueryMeans | None, after: QueryMeans | None, measure: str
) -> tuple[int, float]:
    """Queries of both sides, and the correlation of the two means that they cause.

    0 and 0 for a published cell: nobody says which queries stand behind it.
    """
    if before is None or after is None:
        return 0, 0.0
    _, left, right = np.intersect1d(
        before.query_id, after.query_id, assume_unique=True, return_indices=True
    )
    old, new = before.measures[measure][left], after.measures[measure][right]
    if left.size < 2 or not (np.ptp(old) > 0 and np.ptp(new) > 0):
        return int(left.size), 0.0
    together = left.size / math.sqrt(before.query_id.size * after.query_id.size)
    return int(left.size), float(np.clip(np.corrcoef(old, new)[0, 1], -1, 1)) * together
