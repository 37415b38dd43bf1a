"""The shared store against the audit log, per account and epoch, to the unit.

What the store says is spent is the sum of what settled requests were charged, what was charged for
the leases of lost replicas, and what operators corrected. A lost replica's own log proves a part of
the charge for its lease: what it settled and had no time to tell. The rest is unproven: requests
that it had in flight, and what lay idle in its lease.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from runtime.audit_sums import Sums
from runtime.ledger.store import AccountRecord, LogEntry, LogKind

FORGOTTEN = "(forgotten)"
"""Stands for all replicas that ended so long ago that the store has dropped their names."""


@dataclass(frozen=True, slots=True)
class ReplicaPart:
    """What one replica has to do with an epoch of an account. Amounts are in the account's unit.

    Attributes:
        replica: Its name.
        settled: Its settled requests, by its log.
        swept: Charged for its lease when it was lost.
        unproven: The part of that which its log does not show.
        unlogged: What a lost replica told the store and its log does not show: entries that were
            not on its disk yet when it was killed (`runtime.audit.COMMIT_S`).
        difference: In the store beyond all that; negative: in its log and not in the store.
        missing_entries: Entries that its log itself says are missing.
    """

    replica: str
    settled: int
    swept: int
    unproven: int
    unlogged: int
    difference: int
    missing_entries: int

    @property
    def proven(self) -> int:
        """The part of `swept` that its log shows."""
        return self.swept - self.unproven


@dataclass(frozen=True, slots=True)
class ReconciledEpoch:
    """One epoch of an account.

    ``spent = told + proven + unproven + unlogged + adjusted + difference``

    Attributes:
        account: Name of the scope.
        epoch: Start of the span.
        is_rolling: The window rolls: then this is about all that its replicas ever told, since the
            store's sum forgets.
        spent: In the store; None where it does not know this epoch (any more).
        adjusted: By operators.
        parts: By replica.
    """

    account: str
    epoch: int
    is_rolling: bool
    spent: int | None
    adjusted: int
    parts: tuple[ReplicaPart, ...]

    @property
    def told(self) -> int:
        """Settled requests that were told by their replicas."""
        return sum(part.settled - part.proven for part in self.parts)

    @property
    def proven(self) -> int:
        """Charged for leases of lost replicas, and known from their logs."""
        return sum(part.proven for part in self.parts)

    @property
    def unproven(self) -> int:
        """Charged for leases of lost replicas, and known from nowhere."""
        return sum(part.unproven for part in self.parts)

    @property
    def unlogged(self) -> int:
        """Told by lost replicas, and no longer in their logs."""
        return sum(part.unlogged for part in self.parts)

    @property
    def difference(self) -> int:
        """What nothing explains, 0 where the books balance."""
        return sum(part.difference for part in self.parts)

    @property
    def balances(self) -> bool:
        """Whether every replica's books do: differences of two may not cancel each other."""
        return self.spent is not None and not any(part.difference for part in self.parts)


def reconcile(
    sums: Sums, accounts: Iterable[AccountRecord], log: Iterable[LogEntry]
) -> tuple[ReconciledEpoch, ...]:
    """Explain what the store says is spent.

    While replicas run, requests that have charged a call and are not settled yet are in the store
    and not in the log, and what a replica settled since its last exchange is in the log alone. So
    is, for good, what a lost replica had not told of an account without a limit: nothing is leased
    there that could be charged for it.

    Args:
        sums: What the audit logs of all replicas add up to.
        accounts: Of the store.
        log: Of the store.

    Returns:
        Every epoch of every account that either side knows, by account and epoch.
    """
    records = {(record.account, record.epoch): record for record in accounts}
    ordered = tuple(log)
    entries: dict[tuple[str, int], list[LogEntry]] = {}
    for entry in ordered:
        entries.setdefault((entry.account, entry.epoch), []).append(entry)
    books = _Books(sums, _lost(ordered))
    settled = _by_epoch(sums)
    return tuple(
        _reconciled(key, records.get(key), entries.get(key, ()), settled.get(key, {}), books)
        for key in sorted(records.keys() | settled.keys())
    )


@dataclass(frozen=True, slots=True)
class _Books:
    """What all epochs are reconciled with."""

    sums: Sums
    lost: frozenset[str]

    def part(
        self, name: str, settled: int, spent: int = 0, swept: int = 0, names: Iterable[str] = ()
    ) -> ReplicaPart:
        """A replica's books: what the store has of it, beside what its log says.

        Args:
            name: Of the replica, or of several as one.
            settled: By its log.
            spent: By the store.
            swept: Of it, charged when it was lost.
            names: Of the several.
        """
        replicas = tuple(names) or (name,)
        beyond = spent - settled
        unproven = min(max(beyond, 0), swept)
        is_lost = swept > 0 or not self.lost.isdisjoint(replicas)
        unlogged = max(beyond - unproven, 0) if is_lost else 0
        return ReplicaPart(
            replica=name,
            settled=settled,
            swept=swept,
            unproven=unproven,
            unlogged=unlogged,
            difference=beyond - unproven - unlogged,
            missing_entries=sum(
                self.sums.replicas[found].missing
                for found in replicas
                if found in self.sums.replicas
            ),
        )


def _lost(log: Iterable[LogEntry]) -> frozenset[str]:
    """Replicas that were swept and have not come back."""
    last = {
        entry.replica: entry.kind
        for entry in log
        if entry.replica is not None and entry.kind in {LogKind.SWEPT, LogKind.RETURNED}
    }
    return frozenset(name for name, kind in last.items() if kind is LogKind.SWEPT)


def _by_epoch(sums: Sums) -> dict[tuple[str, int], dict[str, int]]:
    """What each replica settled, by account and epoch."""
    ordered = sorted(sums.charged.items())
    return {
        key: {replica: amount for (_, _, replica), amount in group}
        for key, group in groupby(ordered, key=lambda item: item[0][:2])
    }


def _reconciled(
    key: tuple[str, int],
    record: AccountRecord | None,
    entries: Iterable[LogEntry],
    settled: dict[str, int],
    books: _Books,
) -> ReconciledEpoch:
    if record is None:
        parts = tuple(books.part(name, amount) for name, amount in settled.items())
        return ReconciledEpoch(*key, is_rolling=False, spent=None, adjusted=0, parts=parts)
    known = tuple(
        books.part(lease.replica, settled.get(lease.replica, 0), lease.spent, lease.swept)
        for lease in record.leases
    )
    in_leases = sum(lease.spent for lease in record.leases)
    if record.window_s is not None:  # its sum forgets, so it says nothing of what came before
        return ReconciledEpoch(*key, is_rolling=True, spent=in_leases, adjusted=0, parts=known)
    found = list(entries)
    adjusted = sum(entry.amount for entry in found if entry.kind is LogKind.ADJUSTED)
    leasing = {lease.replica for lease in record.leases}
    rest = {name: amount for name, amount in settled.items() if name not in leasing}
    swept = sum(
        entry.amount
        for entry in found
        if entry.kind in {LogKind.SWEPT, LogKind.RETURNED} and entry.replica not in leasing
    )
    spent = record.spent - adjusted - in_leases
    forgotten = (
        (books.part(FORGOTTEN, sum(rest.values()), spent, swept, rest),)
        if rest or spent or swept
        else ()
    )
    return ReconciledEpoch(
        *key, is_rolling=False, spent=record.spent, adjusted=adjusted, parts=(*known, *forgotten)
    )
