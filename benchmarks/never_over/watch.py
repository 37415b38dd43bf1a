"""Asks a store again and again, while everything fails, whether its invariant holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from runtime.ledger.store import AccountRecord, Exchange, LogEntry, StoreError, open_store

POLL_S = 1.0
Records: TypeAlias = dict[tuple[str, int], AccountRecord]


@dataclass(slots=True)
class Watch:
    """Asks the store whether its invariant holds.

    Attributes:
        url: Of the store.
        records: The last that was seen of every epoch.
        polls: That were answered.
        failures: That were not.
        compared: Epochs compared.
        broken: Where the invariant did not hold.
        unheard: Where it did not while a server that had restarted heard its replicas: one had told
            what it leased, another not yet what it gave back. Nothing is granted meanwhile.
        hears_until_s: Monotonic time until which it hears them.
        log: Of the store.
        kept: Epochs that the store still knew at the end.
        course: Of the global budget: seconds, spent and held, as shares of it.
    """

    url: str
    records: Records = field(default_factory=dict)
    polls: int = 0
    failures: int = 0
    compared: int = 0
    broken: list[str] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)
    hears_until_s: float = 0.0
    log: tuple[LogEntry, ...] = ()
    kept: set[tuple[str, int]] = field(default_factory=set)
    course: list[tuple[float, float, float]] = field(default_factory=list)
    _began_s: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        """Until cancelled."""
        store = open_store(self.url)
        while True:
            try:
                self.take(await store.accounts())
                self.polls += 1
            except StoreError:
                self.failures += 1
                await store.close()
                store = open_store(self.url)
            await asyncio.sleep(POLL_S)

    def take(self, records: Sequence[AccountRecord]) -> None:
        """Compare, and remember."""
        for record in records:
            self.records[record.account, record.epoch] = record
            if record.limit is None:
                continue
            self.compared += 1
            if record.account == "global":
                spent, held = record.spent / record.limit, record.held / record.limit
                at_s = time.monotonic() - self._began_s
                self.course.append((round(at_s, 1), round(spent, 5), round(held, 5)))
            above = record.spent + record.held - record.limit - record.carried
            if above > 0:
                hears = time.monotonic() < self.hears_until_s
                (self.unheard if hears else self.broken).append(
                    f"{time.time():.2f} {record.account} {record.epoch}: {record.spent} + "
                    f"{record.held} > {record.limit} + {record.carried}"
                )

    async def settle(self, ttl_s: float) -> None:
        """Until every lost replica is swept; then look a last time."""
        store = open_store(self.url)
        number, until_s = 0, time.monotonic() + 10 * ttl_s
        while time.monotonic() < until_s:
            number += 1
            await store.exchange(Exchange("observer", number, ttl_s, ()))
            records = await store.accounts()
            if not any(record.held for record in records):
                break
            await asyncio.sleep(0.2)
        await store.exchange(Exchange("observer", number + 1, ttl_s, (), closing=True))
        records = await store.accounts()
        self.take(records)
        self.kept = {(record.account, record.epoch) for record in records}
        self.log = await store.log()
        await store.close()
