"""What a shared store remembers, and how the exchange reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from runtime.ledger.store import LogEntry


class State(StrEnum):
    """What became of a replica."""

    LIVE = "live"
    SWEPT = "swept"
    CLOSED = "closed"


@dataclass(slots=True)
class Replica:
    """One process.

    Attributes:
        name: Its name.
        number: Of its last exchange.
        ttl_s: Seconds that it may be silent.
        state: Whether it is there.
        due_s: When it is swept, or forgotten where it is not live.
    """

    name: str
    number: int
    ttl_s: float
    state: State
    due_s: float


@dataclass(slots=True)
class Row:
    """One replica's lease in one epoch of an account.

    Attributes:
        replica: Its name.
        account: Name of the scope.
        epoch: Start of the span.
        leased: Cumulative, at least `spent`.
        spent: Cumulative, `swept` included.
        requests: Holds granted.
        swept: Charged when the replica was lost.
        swept_bucket: Where that was charged, in a rolling window.
    """

    replica: str
    account: str
    epoch: int
    leased: int = 0
    spent: int = 0
    requests: int = 0
    swept: int = 0
    swept_bucket: int = 0

    @property
    def held(self) -> int:
        """Leased and not spent."""
        return self.leased - self.spent


@dataclass(slots=True)
class Epoch:
    """One epoch of an account: the sums of its rows, and of those that were forgotten.

    Attributes:
        account: Name of the scope.
        epoch: Start of the span.
        ends_s: Its end, None where it has none.
        window_s: Length of a rolling window, else None.
        limit: As told last.
        lapses: As told last.
        carried: Inherited when it was opened.
        spent: Charged; the sum of the buckets where the window rolls.
        held: Leased and not spent.
        requests: Holds granted.
        pressed_at_s: When somebody was refused last.
        order: Counts the openings of epochs that overlap, from 1; 0 where it was never opened.
    """

    account: str
    epoch: int
    ends_s: int | None
    window_s: int | None
    limit: int | None
    lapses: bool
    carried: int = 0
    spent: int = 0
    held: int = 0
    requests: int = 0
    pressed_at_s: float = 0.0
    order: int = 0

    def holds(self, now_s: float) -> bool:
        """Whether the moment lies in the span."""
        return self.epoch <= now_s and (self.ends_s is None or now_s < self.ends_s)

    def left(self) -> int:
        """Limit and inheritance less all that is spent and held; below 0 where it is over."""
        return (self.limit or 0) + self.carried - self.spent - self.held


class Records(Protocol):
    """The records of one store, within one transaction."""

    def heard(self) -> tuple[float, float] | None:
        """When the last exchange was, and since when the store hears; None before the first."""
        ...

    def put_heard(self, last_s: float, awake_s: float) -> None:
        """Keep both."""
        ...

    def replica(self, name: str) -> Replica | None:
        """One replica."""
        ...

    def due(self, now_s: float) -> Sequence[Replica]:
        """Replicas whose `due_s` has passed, the longest due first, then by name."""
        ...

    def live(self) -> int:
        """How many replicas are live."""
        ...

    def put_replica(self, replica: Replica) -> None:
        """Keep it."""
        ...

    def forget(self, name: str) -> None:
        """Drop a replica and its rows."""
        ...

    def rows(self, replica: str) -> Sequence[Row]:
        """All rows of a replica, by account and epoch."""
        ...

    def row(self, replica: str, account: str, epoch: int) -> Row | None:
        """One row."""
        ...

    def put_row(self, row: Row) -> None:
        """Keep it."""
        ...

    def newest(self, account: str) -> int | None:
        """The newest epoch that was opened."""
        ...

    def put_newest(self, account: str, epoch: int) -> None:
        """Keep it."""
        ...

    def epoch(self, account: str, epoch: int) -> Epoch | None:
        """One epoch."""
        ...

    def put_epoch(self, epoch: Epoch) -> None:
        """Keep it."""
        ...

    def past(self, account: str, newest: int) -> Sequence[Epoch]:
        """Epochs of an account before this one, the oldest first."""
        ...

    def between(self, account: str, after: int, before: int) -> Sequence[Epoch]:
        """Epochs of an account that began after one moment and before another, in order."""
        ...

    def drop_epoch(self, account: str, epoch: int) -> None:
        """Drop an epoch and its rows."""
        ...

    def buckets(self, account: str) -> dict[int, int]:
        """Charges of a rolling window by bucket."""
        ...

    def put_bucket(self, account: str, bucket: int, amount: int) -> None:
        """Keep one; 0 drops it."""
        ...

    def add_log(self, entry: LogEntry) -> None:
        """Append."""
        ...
