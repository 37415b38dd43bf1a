"""Honest replicas before each store, while exchanges are lost, late and repeated: never over."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

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
from store_servers import START_S, RedisServer, RedisShelf, Shelf, SqliteShelf, truth

from runtime.ledger.store import Exchange, Reply, StaleExchangeError, Store, Truth

LIMIT, CARRY, WINDOW_S, TTL_S = 1_000, 300, 50, 15.0
Key = tuple[str, int]


@dataclass
class Lease:
    """What a replica keeps of one epoch."""

    template: Truth
    leased: int = 0
    spent: int = 0

    @property
    def free(self) -> int:
        return self.leased - self.spent


@dataclass
class Replica:
    """Tells the truth, spends what it leased, and believes only the latest reply."""

    name: str
    number: int = 0
    leases: dict[Key, Lease] = field(default_factory=dict)
    silent_s: float = 0.0

    def waits(self, seconds: float) -> None:
        """A lease of a rolling window is no more once the store may have swept it."""
        self.silent_s += seconds
        for (account, _), lease in self.leases.items():
            if account == "rolls" and self.silent_s >= TTL_S:
                lease.leased = lease.spent

    def tells(self, asks: Truth | None, back: int, *, closing: bool = False) -> Exchange:
        """Its whole truth. What it gives back it has no more, whatever comes of it."""
        self.number += 1
        if asks is not None:
            self.leases.setdefault((asks.account, asks.epoch), Lease(asks))
        told = []
        for key, lease in self.leases.items():
            lease.leased -= lease.free if closing else min(back, lease.free)
            here = replace(lease.template, leased=lease.leased, spent=lease.spent, short=0, wish=0)
            if asks is not None and key == (asks.account, asks.epoch):
                here = replace(here, short=asks.short, wish=asks.wish)
            told.append(here)
        return Exchange(self.name, self.number, TTL_S, tuple(told), closing=closing)

    def believes(self, reply: Reply) -> None:
        self.silent_s = 0.0
        for given in reply.given:
            self.leases[given.account, given.epoch].leased = given.leased


class HonestReplicas(RuleBasedStateMachine):
    """The bill is what the replicas spent; a store never lets it above a limit."""

    kind = "sqlite"
    server: RedisServer
    monkeypatch: pytest.MonkeyPatch

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.shelf: Shelf = (
            SqliteShelf(self.folder / "ledger.db")
            if self.kind == "sqlite"
            else RedisShelf(self.server, self.monkeypatch)
        )
        self.store = self.runner.run(self.open())
        self.now_s = self.latest_s = START_S
        self.names = itertools.count()
        self.replicas = [self.newcomer() for _ in range(3)]
        self.bill: dict[Key, list[tuple[float, int]]] = defaultdict(list)
        self.late: list[Exchange] = []
        self.all_ended_well = True

    async def open(self) -> Store:
        return self.shelf.open()

    def newcomer(self) -> Replica:
        return Replica(f"r{next(self.names)}")

    def asks(self, account: str, short: int, wish: int) -> Truth:
        start = int(self.now_s // 60) * 60 if account != "rolls" else 0
        return truth(
            account,
            epoch=start,
            ends_s=start + 60 if account != "rolls" else None,
            window_s=WINDOW_S if account == "rolls" else None,
            limit=LIMIT,
            carry_over=CARRY if account == "carries" else 0,
            short=short,
            wish=wish,
        )

    @rule(
        which=st.integers(0, 2),
        account=st.sampled_from(["minute", "carries", "rolls"]),
        short=st.sampled_from([0, 1, 100, 600, 1_000, 1_200]),
        wish=st.sampled_from([0, 100, 2_000]),
        back=st.sampled_from([0, 0, 50, 2_000]),
        fate=st.sampled_from(["answered", "answered", "answered", "unsent", "reply lost", "late"]),
    )
    def exchange(
        self, which: int, account: str, short: int, wish: int, back: int, fate: str
    ) -> None:
        replica = self.replicas[which]
        asked = replica.tells(self.asks(account, short, wish), back)
        if fate == "late":
            self.late.append(asked)
        elif fate != "unsent":
            reply = self.runner.run(self.store.exchange(asked))
            if fate == "answered":
                replica.believes(reply)

    @rule(data=st.data(), again=st.booleans())
    def what_was_late_arrives(self, data: st.DataObject, again: bool) -> None:  # noqa: FBT001
        if not self.late:
            return
        asked = data.draw(st.sampled_from(self.late))
        if not again:
            self.late.remove(asked)
        try:
            self.runner.run(self.store.exchange(asked))
        except StaleExchangeError:
            pass
        else:
            # Had its replica ended in the meantime, nobody would tell more.
            self.all_ended_well &= any(each.name == asked.replica for each in self.replicas)

    @rule(which=st.integers(0, 2), share=st.floats(0, 1))
    def spend(self, which: int, share: float) -> None:
        for key, lease in self.replicas[which].leases.items():
            amount = round(lease.free * share)
            lease.spent += amount
            self.bill[key].append((self.now_s, amount))

    @rule(step=st.sampled_from([0.5, 3.0, 10.0, 16.0, 40.0, 60.0, 200.0, -0.5, -45.0]))
    def time_passes(self, step: float) -> None:
        self.now_s += step
        self.shelf.set_clock(self.now_s)
        for replica in self.replicas:
            replica.waits(max(step, 0.0))

    @rule(which=st.integers(0, 2), beats=st.sampled_from([2, 3, 8]))
    def one_is_silent(self, which: int, beats: int) -> None:
        """The others go on, and sweep it."""
        for _ in range(beats):
            self.time_passes(10.0)
            for replica in self.replicas[:which] + self.replicas[which + 1 :]:
                replica.believes(self.runner.run(self.store.exchange(replica.tells(None, 0))))

    @rule(which=st.integers(0, 2))
    def die(self, which: int) -> None:
        self.replicas[which] = self.newcomer()
        self.all_ended_well = False

    @rule(which=st.integers(0, 2), deaf=st.booleans())
    def close(self, which: int, deaf: bool) -> None:  # noqa: FBT001
        replica = self.replicas[which]
        if deaf:
            self.runner.run(self.store.exchange(replica.tells(None, 0, closing=True)))
        self.runner.run(self.store.exchange(replica.tells(None, 0, closing=True)))
        self.replicas[which] = self.newcomer()

    @invariant()
    def no_bill_is_over(self) -> None:
        if not hasattr(self, "replicas"):
            return
        carried = {
            (each.account, each.epoch): each.carried
            for each in self.runner.run(self.store.accounts())
        }
        for key in self.keys():
            used = self.billed(key) + self.free(key)
            if key[0] != "rolls":
                assert used <= LIMIT + carried.get(key, 0), key
            before = key[0], key[1] - 60
            if carried.get(key):
                unspent = LIMIT + carried[before] - self.billed(before) - self.free(before)
                assert carried[key] <= min(CARRY, unspent)
        if self.now_s < self.latest_s:
            self.went_back = True
        self.latest_s = max(self.now_s, self.latest_s)
        # Of a clock that stepped back no window can be told.
        if not getattr(self, "went_back", False):
            recent = [paid for at, paid in self.bill["rolls", 0] if at > self.now_s - WINDOW_S]
            assert sum(recent) + self.free(("rolls", 0)) <= LIMIT

    def keys(self) -> set[Key]:
        return set(self.bill) | {key for each in self.replicas for key in each.leases}

    def billed(self, key: Key) -> int:
        return sum(paid for _, paid in self.bill[key])

    def free(self, key: Key) -> int:
        """What living replicas may still spend."""
        return sum(each.leases[key].free for each in self.replicas if key in each.leases)

    def teardown(self) -> None:
        if not hasattr(self, "replicas"):
            return
        for replica in self.replicas:
            self.runner.run(self.store.exchange(replica.tells(None, 0, closing=True)))
        if self.all_ended_well:
            self.nothing_is_charged_that_nobody_spent()
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def nothing_is_charged_that_nobody_spent(self) -> None:
        for record in self.runner.run(self.store.accounts()):
            assert record.held == 0
            if record.window_s is None:
                assert record.spent == self.billed((record.account, record.epoch))


@pytest.fixture(params=["sqlite", "redis"])
def machine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> type[HonestReplicas]:
    HonestReplicas.kind = request.param
    if request.param == "redis":
        HonestReplicas.server = request.getfixturevalue("redis_server")
        HonestReplicas.monkeypatch = monkeypatch
    return HonestReplicas


@pytest.mark.slow
def test_honest_replicas_never_spend_more_than_the_limit(machine: type[HonestReplicas]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=30, stateful_step_count=40, deadline=None)
    )
