"""What every ledger does: in process, and over each shared store."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_servers import RedisServer

from planner.spec import Window
from profiles.errors import BudgetRefusedError, InputError
from runtime.ledger import Ledger, Scope, Unit
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.sqlite_store import SqliteStore
from runtime.ledger.store import AccountRecord, LogKind, StoreLostError, open_store

pytestmark = pytest.mark.asyncio

OPTIONS = {"exchange_s": 0.02, "patience_s": 0.3, "ttl_s": 5.0}


@dataclass
class Ledgers:
    """Replicas that share one set of budgets; an in-process ledger has only one."""

    url: str | None
    stack: AsyncExitStack

    async def open(self, *scopes: Scope, **options: float) -> Ledger:
        if self.url is None:
            return Ledger(scopes)
        ledger = LeasedLedger(scopes, open_store(self.url), **{**OPTIONS, **options})
        return await self.stack.enter_async_context(ledger)

    async def accounts(self) -> dict[str, AccountRecord]:
        assert self.url is not None
        store = open_store(self.url)
        try:
            return {found.account: found for found in await store.accounts()}
        finally:
            await store.close()


@asynccontextmanager
async def ledgers(url: str | None) -> AsyncIterator[Ledgers]:
    async with AsyncExitStack() as stack:
        yield Ledgers(url, stack)


def url_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str | None:
    if kind == "in process":
        return None
    if kind == "sqlite":
        return f"sqlite:///{folder / 'ledger.db'}"
    server: RedisServer = request.getfixturevalue("redis_server")
    return f"redis://127.0.0.1:{server.port}/0?namespace={random.SystemRandom().getrandbits(64):x}"


@pytest.fixture(params=["in process", "sqlite", "redis"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=["sqlite", "redis"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = url_of(request.param, request, tmp_path)
    assert found is not None
    return found


async def spend(ledger: Ledger, name: str, bound: int, actual: int) -> None:
    hold = await ledger.admit(name, bound)
    hold.call(bound).settle(actual)
    hold.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_hold_is_on_all_scopes_or_on_none(any_url: str | None) -> None:
    async with ledgers(any_url) as found:
        ledger = await found.open(Scope("wide", 1_000), Scope("tight", 100))
        hold = await ledger.admit("first", 80)
        with pytest.raises(BudgetRefusedError, match="tight"):
            await ledger.admit("second", 50)
        assert await ledger.admit("third", 50, ["wide"])
        assert ledger.state("tight").held == 80
        hold.call(80).settle(30)
        hold.close()
        assert (ledger.state("tight").spent, ledger.state("wide").spent) == (30, 30)
        assert await ledger.admit("second", 70)


async def test_all_units_are_held_together(any_url: str | None) -> None:
    async with ledgers(any_url) as found:
        ledger = await found.open(
            Scope("usd", 1_000),
            Scope("tokens", 100, Window.DAY, Unit.TOKENS),
            Scope("requests", 2, Window.DAY, Unit.REQUESTS),
            Scope("busy", 1, unit=Unit.IN_FLIGHT),
        )
        hold = await ledger.admit("first", 10, tokens=60)
        with pytest.raises(BudgetRefusedError, match="busy"):
            await ledger.admit("second", 10, tokens=10)
        hold.call(10, tokens=60).settle(5, tokens=40)
        hold.close()
        with pytest.raises(BudgetRefusedError, match="tokens"):
            await ledger.admit("second", 10, tokens=61)
        (await ledger.admit("second", 10, tokens=60)).close()
        with pytest.raises(BudgetRefusedError, match="requests"):
            await ledger.admit("third", 10, tokens=10)


async def test_a_charge_above_its_bound_is_charged_all_the_same(any_url: str | None) -> None:
    async with ledgers(any_url) as found:
        ledger = await found.open(Scope("all", 100))
        hold = await ledger.admit("first", 60)
        hold.call(60).settle(130)
        hold.close()
        assert ledger.state("all").spent == 130
        assert ledger.state("all").remaining == 0
        assert (ledger.snapshot().alarms, ledger.snapshot().overrun_nano_usd) == (1, 70)
        with pytest.raises(BudgetRefusedError):
            await ledger.admit("second", 1)


async def test_what_never_fits_is_refused_at_once_and_for_good(any_url: str | None) -> None:
    async with ledgers(any_url) as found:
        ledger = await found.open(Scope("all", 100, Window.DAY), patience_s=30.0)
        async with asyncio.timeout(10):
            with pytest.raises(BudgetRefusedError) as refusal:
                await ledger.admit("first", 101)
        assert refusal.value.retry_after_s is None


async def test_a_spent_window_says_when_it_renews(any_url: str | None) -> None:
    async with ledgers(any_url) as found:
        ledger = await found.open(Scope("all", 100, Window.MONTH))
        await spend(ledger, "first", 100, 100)
        with pytest.raises(BudgetRefusedError) as refusal:
            await ledger.admit("second", 1)
        assert refusal.value.retry_after_s is not None
        assert 0 < refusal.value.retry_after_s <= 31 * 86_400


async def test_an_unknown_scope_or_amount_is_an_error(any_url: str | None) -> None:
    async with ledgers(any_url) as found:
        ledger = await found.open(Scope("tokens", 100, unit=Unit.TOKENS))
        with pytest.raises(InputError, match="unknown scope"):
            await ledger.admit("first", 1, ["nobody"])
        with pytest.raises(InputError, match="nobody said"):
            await ledger.admit("first", 1)
        assert ledger.snapshot().open_holds == 0


async def test_a_passing_scope_comes_and_goes(any_url: str | None) -> None:
    async with ledgers(any_url) as found:
        ledger = await found.open(Scope("all", 1_000))
        ledger.add(Scope("user:ann", 50))
        hold = await ledger.admit("first", 40, ["all", "user:ann"])
        with pytest.raises(BudgetRefusedError, match="user:ann"):
            await ledger.admit("second", 20, ["all", "user:ann"])
        hold.close()
        await until(lambda: ledger.state("user:ann").held == 0)
        ledger.remove("user:ann")
        with pytest.raises(InputError, match="unknown scope"):
            await ledger.admit("third", 20, ["user:ann"])
        ledger.add(Scope("user:ann", 50))
        assert await ledger.admit("third", 50, ["all", "user:ann"])


@given(seed=st.integers(0, 2**32), limit=st.integers(0, 4_000), replicas=st.integers(1, 4))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_many_requests_of_many_replicas_never_spend_more_than_there_is(
    seed: int, limit: int, replicas: int, shared_url: str
) -> None:
    """And leave less unspent than two of them need."""
    draws = random.Random(seed)
    name = f"all-{seed}-{limit}-{replicas}-{time.time_ns()}"
    scopes = (Scope(name, limit, Window.DAY), Scope(f"{name}-counted"))
    billed = refused = 0

    async def client(ledger: Ledger, number: int) -> None:
        nonlocal billed, refused
        for each in range(6):
            bound = draws.randint(0, 100)
            try:
                hold = await ledger.admit(f"{number}-{each}", bound)
            except BudgetRefusedError:
                refused += 1
                continue
            call = hold.call(bound)
            await asyncio.sleep(draws.choice((0, 0, 0.003)))
            actual = draws.randint(0, bound)
            if draws.random() < 0.2:
                actual = bound
                call.unknown()
            else:
                call.settle(actual)
            billed += actual
            hold.close()
            for state in ledger.snapshot().scopes[:1]:
                assert state.limit is not None
                assert billed <= limit

    async with ledgers(shared_url) as found:
        own = [await found.open(*scopes) for _ in range(replicas)]
        await asyncio.gather(*(client(ledger, number) for ledger in own for number in range(6)))
    async with ledgers(shared_url) as found:
        records = await found.accounts()
    if billed:
        assert (records[name].spent, records[name].held) == (billed, 0)
        assert (records[f"{name}-counted"].spent, records[f"{name}-counted"].held) == (billed, 0)
    assert billed <= limit
    if refused:
        assert limit - billed < 200


async def test_replicas_give_back_what_lies_idle(shared_url: str) -> None:
    async with ledgers(shared_url) as found:
        first = await found.open(Scope("all", 1_000))
        second = await found.open(Scope("all", 1_000))
        for number in range(20):
            await spend(first, str(number), 25, 25)
        async with asyncio.timeout(10):
            whole = await second.admit("whole", 500)
        assert whole.left_nano_usd == 500


async def test_a_replica_that_ends_leaves_nothing_held(shared_url: str) -> None:
    async with ledgers(shared_url) as found:
        ledger = await found.open(Scope("all", 1_000), Scope("counted"))
        await spend(ledger, "first", 100, 60)
        await ledger.admit("open", 100)
    async with ledgers(shared_url) as found:
        records = await found.accounts()
    assert (records["all"].spent, records["all"].held) == (60, 0)  # no call of it had begun
    assert (records["counted"].spent, records["counted"].held) == (60, 0)


async def test_a_replica_that_is_lost_is_charged_what_it_leased(shared_url: str) -> None:
    async with ledgers(shared_url) as found:
        lost = await found.open(Scope("all", 1_000), ttl_s=0.3)
        await spend(lost, "first", 100, 60)
        await lost.admit("in flight", 200)
        assert isinstance(lost, LeasedLedger)
        assert lost._pump is not None
        lost._pump.cancel()  # it says nothing any more
        other = await found.open(Scope("all", 1_000), ttl_s=0.3)
        await asyncio.sleep(0.5)
        await spend(other, "second", 10, 10)
        records = await found.accounts()
        store = open_store(shared_url)
        (swept,) = [entry for entry in await store.log() if entry.kind is LogKind.SWEPT]
        await store.close()
        assert swept.replica == lost.replica
        assert 200 <= swept.amount <= 1_000 - 60
        assert records["all"].spent - 60 - swept.amount in {0, 10}
        # It was only asleep: what it knows replaces what was charged for it.
        lost._pump = asyncio.create_task(lost._run())
        await until(lambda: lost.lost is None and lost.state("all").spent == 70)


async def test_a_lost_store_is_outlived_by_the_lease_and_then_refuses(tmp_path: Path) -> None:
    class Breakable(SqliteStore):
        broken = False

        async def exchange(self, exchange):  # type: ignore[no-untyped-def]
            if self.broken:
                raise StoreLostError("the store does not answer")
            return await super().exchange(exchange)

    store = Breakable(tmp_path / "ledger.db")
    async with LeasedLedger([Scope("all", 10_000)], store, **OPTIONS) as ledger:
        for number in range(50):
            await spend(ledger, str(number), 20, 20)
        store.broken = True
        await until(lambda: ledger.lost is not None)
        room = ledger._books["all"].current(0.0).room()
        assert room is not None
        if room:
            await spend(ledger, "of the lease", room, room)
        with pytest.raises(StoreLostError):
            await ledger.admit("beyond it", 1)
        store.broken = False
        await until(lambda: ledger.lost is None)
        await spend(ledger, "again", 20, 20)


async def test_a_request_that_is_given_up_while_it_waits_holds_nothing(shared_url: str) -> None:
    async with ledgers(shared_url) as found:
        first = await found.open(Scope("all", 100), patience_s=30.0)
        second = await found.open(Scope("all", 100), patience_s=30.0)
        hold = await first.admit("first", 90)
        waiting = asyncio.create_task(second.admit("second", 50))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        hold.close()
        async with asyncio.timeout(10):
            assert await second.admit("third", 100)


async def test_another_limit_counts_for_all_replicas_that_read_it(shared_url: str) -> None:
    async with ledgers(shared_url) as found:
        first = await found.open(Scope("all", 100, Window.DAY))
        second = await found.open(Scope("all", 100, Window.DAY))
        await spend(first, "first", 80, 80)
        for ledger in (first, second):
            ledger.redefine([Scope("all", 200, Window.DAY)])
        assert (await second.admit("second", 120)).left_nano_usd == 120
        with pytest.raises(BudgetRefusedError):
            await first.admit("third", 1)


async def test_two_scopes_of_one_name_are_refused_when_they_are_redefined_too(
    any_url: str | None,
) -> None:
    """The one that came last would count, and nobody had said which that is."""
    async with ledgers(any_url) as found:
        ledger = await found.open(Scope("all", 100))
        for twice in (
            [Scope("all", 200), Scope("all", 300)],
            [Scope("all", 200), Scope("new", 1), Scope("new", 2)],
        ):
            with pytest.raises(InputError, match="two scopes share a name"):
                ledger.redefine(twice)
        assert ledger.state("all").limit == 100
        with pytest.raises(InputError, match="unknown scope"):
            ledger.state("new")


async def test_a_request_waits_once_whatever_may_answer_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with ledgers(url) as found:
        first = await found.open(Scope("all", 100), patience_s=30.0)
        second = await found.open(Scope("all", 100), patience_s=30.0)
        await first.admit("first", 90)
        async with asyncio.timeout(10):
            with pytest.raises(BudgetRefusedError):
                await second.admit("substitute", 50, patient=False)
