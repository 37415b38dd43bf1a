"""What a reconciliation finds: which windows balance, which do not, and which cannot any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from runtime.audit_sums import Sums
from runtime.ledger.opening import KEPT_EPOCHS
from runtime.ledger.store import AccountRecord, LogEntry, LogKind
from runtime.reconciliation import FORGOTTEN, ReconciledEpoch, reconcile


class Verdict(StrEnum):
    """What an audit says of one window of an account."""

    BALANCES = "balances"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    """The store does not know it, and should."""
    FORGOTTEN = "forgotten"
    """The store keeps no window that is over for so long."""
    COUNTED = "counted"
    """Nothing is leased of an account without a limit, so what lost replicas had not told of it
    was charged to nobody: their logs alone have it."""

    @property
    def is_finding(self) -> bool:
        """Whether somebody has to look at it."""
        return self in {Verdict.DIFFERS, Verdict.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Judged:
    """One window of an account, and what is to be said of it."""

    epoch: ReconciledEpoch
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Store:
    """What a store says of itself.

    Attributes:
        records: All epochs.
        log: All entries.
        now_s: Its clock.
    """

    records: tuple[AccountRecord, ...]
    log: tuple[LogEntry, ...]
    now_s: float

    @property
    def holding(self) -> int:
        """Replicas that hold a lease: they are at work, or lost and not charged yet."""
        return len(
            {
                lease.replica
                for record in self.records
                for lease in record.leases
                if lease.leased > lease.spent
            }
        )


def judge(sums: Sums, store: Store) -> tuple[Judged, ...]:
    """Hold a store against what the audit logs of all its replicas add up to."""
    records = {(record.account, record.epoch): record for record in store.records}
    shortest = _shortest_windows(store.records)
    lost = _ever_lost(store.log)
    settled_by: dict[tuple[str, int], set[str]] = {}
    for account, start, replica in sums.charged:
        settled_by.setdefault((account, start), set()).add(replica)

    def verdict(epoch: ReconciledEpoch) -> Verdict:
        key = epoch.account, epoch.epoch
        record = records.get(key)
        if epoch.balances:
            return Verdict.BALANCES
        if record is None:
            length = shortest.get(epoch.account)
            old = length and epoch.epoch + (KEPT_EPOCHS + 1) * length <= store.now_s
            return Verdict.FORGOTTEN if old else Verdict.UNKNOWN
        counts = record.limit is None
        untold = counts and _is_untold(epoch, settled_by.get(key, set()), lost)
        return Verdict.COUNTED if untold else Verdict.DIFFERS

    found = reconcile(sums, store.records, store.log)
    return tuple(Judged(epoch, verdict(epoch)) for epoch in found)


def ended(judged: Iterable[Judged], store: Store) -> Iterator[Judged]:
    """Windows that have ended and hold nothing; one that the store lacks has a later one."""
    records = {(record.account, record.epoch): record for record in store.records}
    newest: dict[str, int] = {}
    for account, start in records:
        newest[account] = max(start, newest.get(account, start))
    for one in judged:
        account, start = one.epoch.account, one.epoch.epoch
        record = records.get((account, start))
        if record is None:
            is_over = 0 < start < newest.get(account, start + 1)
        else:
            is_over = record.ends_s is not None and record.ends_s <= store.now_s and not record.held
        if is_over:
            yield one


def _shortest_windows(records: Iterable[AccountRecord]) -> dict[str, int]:
    """Seconds of each account's windows, by its calendar windows that the store knows."""
    found: dict[str, int] = {}
    for record in records:
        if record.ends_s is not None:
            length = record.ends_s - record.epoch
            found[record.account] = min(length, found.get(record.account, length))
    return found


def _ever_lost(log: Iterable[LogEntry]) -> frozenset[str]:
    return frozenset(
        entry.replica for entry in log if entry.kind is LogKind.SWEPT and entry.replica is not None
    )


def _is_untold(epoch: ReconciledEpoch, settled_by: set[str], lost: frozenset[str]) -> bool:
    """Whether only lost replicas can have it in their logs and not in the store."""
    leasing = {part.replica for part in epoch.parts}
    for part in epoch.parts:
        names = {part.replica} if part.replica != FORGOTTEN else settled_by - leasing
        if part.difference > 0 or (part.difference and names.isdisjoint(lost)):
            return False
    return True
