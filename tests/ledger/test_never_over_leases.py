"""Leases that outlive what the store believes of them, and exchanges that fail in odd ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from planner.spec import Window
from profiles.errors import BudgetRefusedError, InferbudgetError, InputError
from runtime.ledger import Scope, Unit
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.sqlite_store import SqliteStore
from runtime.ledger.store import Exchange, Reply

TTL_S = 0.3
LIMIT = 100


@dataclass
class CutStore:
    """A real store whose replica is stopped by a test: its exchanges stand still like its process.

    Attributes:
        inner: The store.
        runs: Set while the process runs.
    """

    inner: SqliteStore
    runs: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.runs.set()

    @property
    def largest(self) -> int:
        return self.inner.largest

    async def now(self) -> float:
        return await self.inner.now()

    async def exchange(self, exchange: Exchange) -> Reply:
        await self.runs.wait()
        return await self.inner.exchange(exchange)

    accounts = property(lambda self: self.inner.accounts)
    adjust = property(lambda self: self.inner.adjust)
    log = property(lambda self: self.inner.log)

    async def close(self) -> None:
        await self.inner.close()


def leased(path: Path, *scopes: Scope) -> tuple[LeasedLedger, CutStore]:
    store = CutStore(SqliteStore(path, synchronous="normal"))
    ledger = LeasedLedger(scopes, store, exchange_s=0.02, ttl_s=TTL_S, patience_s=0.05)  # type: ignore[arg-type]
    return ledger, store


async def admitted(ledger: LeasedLedger, prefix: str, worth: int = 1) -> int:
    """How much a ledger admits until it refuses, each request settled at once."""
    number = 0
    while True:
        try:
            hold = await ledger.admit(f"{prefix}{number}", worth)
        except InferbudgetError:
            return number * worth
        hold.call(worth).settle(worth)
        hold.close()
        number += 1


def at_once(ledger: LeasedLedger, prefix: str) -> int:
    """The same of the lease in hand, without a word to the store."""
    number = 0
    while True:
        try:
            hold = ledger.hold(f"{prefix}{number}", 1)
        except BudgetRefusedError:
            return number
        hold.call(1).settle(1)
        hold.close()
        number += 1


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await happened():
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_lease_whose_charge_has_left_a_rolling_window_admits_nothing(
    tmp_path: Path,
) -> None:
    """It was swept, and the sweep's charge has left the window: others have had it all again."""
    scope = Scope("org", LIMIT, Window.SECOND, rolling=True)
    one, line = leased(tmp_path / "ledger.db", scope)
    other, _ = leased(tmp_path / "ledger.db", scope)
    async with one, other:
        hold = await one.admit("first", LIMIT // 2)
        line.runs.clear()  # before the next exchange gives back what lies idle
        hold.call(0).not_sent()
        hold.close()

        async def is_free_again() -> bool:
            swept = any(entry.kind == "swept" for entry in await line.log())
            try:
                (await other.admit("probe", LIMIT)).close()
            except BudgetRefusedError:
                return False
            return swept

        await until(is_free_again)
        # The process goes on, and serves requests before it exchanges.
        billed = await admitted(other, "other") + at_once(one, "one")
        line.runs.set()
        assert billed <= LIMIT


@pytest.mark.asyncio
async def test_a_user_who_is_forgotten_while_a_request_waits_stops_nobody_else(
    tmp_path: Path,
) -> None:
    """The exchange goes on, and so do the others' requests."""
    ledger, _ = leased(tmp_path / "ledger.db", Scope("org", LIMIT))
    async with ledger:
        hold = await ledger.admit("all", LIMIT)
        ledger.add(Scope("user", LIMIT))
        waiting = asyncio.create_task(ledger.admit("waits", 1, ("org", "user")))
        await asyncio.sleep(0)
        ledger.remove("user")
        hold.call(0).not_sent()
        hold.close()
        async with asyncio.timeout(5):
            (await ledger.admit("after", 1, ("org",))).close()
            await asyncio.gather(waiting, return_exceptions=True)
            ledger.add(Scope("fresh", LIMIT))
            (await ledger.admit("asks the store", 1, ("fresh",))).close()


@pytest.mark.asyncio
async def test_a_limit_that_the_store_cannot_count_is_an_error_and_no_silence(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="cannot count up to such a limit"):
        leased(tmp_path / "ledger.db", Scope("org", 2**70), Scope("few", 5, unit=Unit.TOKENS))
