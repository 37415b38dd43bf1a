"""Random exchanges, good and bad, on both stores and on plain sums: all three answer alike."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from store_model import Model
from store_servers import START_S, RedisServer, RedisShelf, Shelf, SqliteShelf, truth

from profiles.errors import InputError
from runtime.ledger.store import AccountRecord, Exchange, StaleExchangeError, Store, Truth

ACCOUNTS = ("total", "minute", "carries", "moves", "rolls", "flight", "counted")
TTL_S = 15.0


@st.composite
def truths(draw: st.DrawFn, now_s: float) -> tuple[Truth, ...]:
    """Of some accounts, of epochs before, at and after now."""
    found = []
    for account in draw(st.lists(st.sampled_from(ACCOUNTS), unique=True, max_size=4)):
        amount = st.integers(0, 60)
        spent = draw(amount)
        said: dict[str, Any] = {
            "leased": max(spent + draw(st.integers(-20, 60)), 0),
            "spent": spent,
            "requests": draw(st.integers(0, 9)),
            "short": draw(st.sampled_from([0, 0, 1, 10, 90])),
            "wish": draw(st.sampled_from([0, 5, 80])),
            "limit": draw(st.sampled_from([100, 100, 100, 40])),
        }
        if account in ("minute", "carries"):
            start = (int(now_s // 60) + draw(st.sampled_from([0, 0, 0, -1, 1]))) * 60
            said |= {"epoch": start, "ends_s": start + 60}
        if account == "moves":  # as in time zones that are seconds apart
            shift = draw(st.sampled_from([0, 0, 0, 10, 30, 50]))
            start = (int((now_s - shift) // 60) + draw(st.sampled_from([0, 0, 0, -1]))) * 60 + shift
            said |= {"epoch": start, "ends_s": start + 60}
        if account in ("carries", "moves"):
            said["carry_over"] = 30
        if account == "rolls":
            said["window_s"] = 50
        if account == "counted":
            said["limit"] = None
        found.append(truth(account, lapses=account == "flight", **said))
    return tuple(found)


class StoresAndModel(RuleBasedStateMachine):
    """Both stores and the model, step by step."""

    server: RedisServer
    monkeypatch: pytest.MonkeyPatch

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.shelves: tuple[Shelf, ...] = (
            SqliteShelf(self.folder / "ledger.db"),
            RedisShelf(self.server, self.monkeypatch),
        )
        self.stores = self.runner.run(self.open())
        self.model = Model()
        self.now_s = START_S
        self.sent: list[Exchange] = []

    async def open(self) -> tuple[Store, ...]:
        return tuple(shelf.open() for shelf in self.shelves)

    @rule(
        step=st.one_of(
            st.sampled_from(
                [0.0, 1.0, 6.0, 6.0, 6.0, 10.0, 14.0, 16.0, 60.0, 90_000.0, -1.0, -70.0, -3_000.0]
            ),
            st.floats(0, 120),
        )
    )
    def time_passes(self, step: float) -> None:
        # Whole microseconds, as Redis has them.
        self.now_s = round(self.now_s + step) + 0.25
        for shelf in self.shelves:
            shelf.set_clock(self.now_s)

    @rule(
        data=st.data(),
        replica=st.sampled_from("abc"),
        skips=st.sampled_from([1, 1, 1, 3]),
        closing=st.sampled_from([False] * 5 + [True]),
    )
    def exchange(self, data: st.DataObject, replica: str, skips: int, closing: bool) -> None:  # noqa: FBT001
        last = [each.number for each in self.sent if each.replica == replica]
        number = max(last, default=0) + skips
        told = data.draw(truths(self.now_s))
        asked = Exchange(replica, number, TTL_S, told, closing=closing)
        self.sent.append(asked)
        self.deliver(asked)

    @rule(data=st.data())
    def late_duplicate(self, data: st.DataObject) -> None:
        if self.sent:
            self.deliver(data.draw(st.sampled_from(self.sent)))

    def deliver(self, asked: Exchange) -> None:
        expected = self.model.exchange(asked, self.now_s)
        for store in self.stores:
            try:
                reply = self.runner.run(store.exchange(asked))
            except StaleExchangeError:
                assert expected is None, store
            else:
                assert reply.given == expected, store
                assert reply.now_s == self.now_s

    @rule(
        account=st.sampled_from(ACCOUNTS),
        minutes=st.sampled_from([0, 0, -1]),
        amount=st.integers(-40, 40).filter(bool),
    )
    def adjust(self, account: str, minutes: int, amount: int) -> None:
        calendar = account in ("minute", "carries", "moves")
        epoch = (int(self.now_s // 60) + minutes) * 60 if calendar else 0
        done = self.model.correct((account, epoch), amount, self.now_s)
        for store in self.stores:
            try:
                self.runner.run(store.adjust(account, epoch, amount, "because"))
            except InputError:
                assert not done, store
            else:
                assert done, store

    @rule()
    def reopen(self) -> None:
        """A process ends, and another one begins."""
        self.runner.run(self.close())
        self.stores = self.runner.run(self.open())

    @invariant()
    def stores_remember_alike(self) -> None:
        if not hasattr(self, "stores"):
            return
        mine, theirs = (self.runner.run(store.accounts()) for store in self.stores)
        assert mine == theirs
        for record in mine:
            self.reconciles(record)
        log, other = (self.runner.run(store.log()) for store in self.stores)
        assert log == other
        assert [(e.kind, e.account, e.epoch, e.amount, e.replica) for e in log] == self.model.log

    def reconciles(self, record: AccountRecord) -> None:
        """The sums are those of the rows."""
        span = self.model.spans[record.account, record.epoch]
        assert record.spent == self.model.spent(span, self.now_s)
        assert record.held == sum(lease.leased - lease.spent for lease in record.leases)
        assert record.held == self.model.held(span)
        elsewhere = self.model.elsewhere((record.account, record.epoch), self.now_s)
        assert record.carried == span.carried - elsewhere

    async def close(self) -> None:
        for store in self.stores:
            await store.close()

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            self.runner.run(self.close())
            self.runner.close()
            shutil.rmtree(self.folder)


@pytest.fixture
def machine(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[StoresAndModel]]:
    StoresAndModel.server, StoresAndModel.monkeypatch = redis_server, monkeypatch
    yield StoresAndModel
    del StoresAndModel.server, StoresAndModel.monkeypatch


@pytest.mark.slow
def test_both_stores_answer_as_plain_sums_do(machine: type[StoresAndModel]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=30, stateful_step_count=40, deadline=None)
    )
