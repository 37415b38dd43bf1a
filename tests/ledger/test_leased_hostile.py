"""A leased ledger under what no schedule promises: stops, late replies, turns and errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from planner.spec import Window
from profiles.errors import BudgetRefusedError, InputError
from runtime.ledger import Scope, Unit
from runtime.ledger import leased_accounts as module
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.sqlite_store import SqliteStore
from runtime.ledger.store import Exchange, Reply, StoreError, StoreForgotError, StoreLostError

pytestmark = pytest.mark.asyncio


class Hindered(SqliteStore):
    """A store whose exchanges wait for a word, and fail where one says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.open = asyncio.Event()
        self.open.set()
        self.entered = asyncio.Event()
        self.fails: Exception | None = None
        self.loses: Exception | None = None  # the reply
        self.heard: list[Exchange] = []
        self.closed = False
        self.largest = 2**53 - 1  # as of Redis

    async def now(self) -> float:
        if self.fails is not None:
            raise self.fails
        return await super().now()

    async def exchange(self, exchange: Exchange) -> Reply:
        self.entered.set()
        self.heard.append(exchange)
        await self.open.wait()
        if self.fails is not None:
            raise self.fails
        reply = await super().exchange(exchange)
        if self.loses is not None:
            raise self.loses
        return reply

    async def close(self) -> None:
        self.closed = True
        await super().close()


@asynccontextmanager
async def leased(
    path: Path, *scopes: Scope, **options: Any
) -> AsyncIterator[tuple[LeasedLedger, Hindered]]:
    store = Hindered(path)
    wanted: dict[str, Any] = {"exchange_s": 0.02, "patience_s": 0.3, "ttl_s": 5.0, **options}
    async with LeasedLedger(scopes, store, **wanted) as ledger:
        yield ledger, store
        store.open.set()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def asleep(ledger: LeasedLedger) -> None:
    """Stops a ledger's exchanges, as a frozen process."""
    assert ledger._pump is not None
    ledger._pump.cancel()
    await asyncio.gather(ledger._pump, return_exceptions=True)


def awake(ledger: LeasedLedger) -> None:
    ledger._pump = asyncio.create_task(ledger._run())


async def test_a_replica_that_slept_past_its_time_brings_no_idle_lease_of_a_rolling_window(
    tmp_path: Path,
) -> None:
    """Its lease was charged while it slept, and the charge has left the window again."""
    scope = Scope("all", 1_000, Window.SECOND, rolling=True)
    async with (
        leased(tmp_path / "l", scope, ttl_s=0.3) as (sleeper, sleeping),
        leased(tmp_path / "l", scope, ttl_s=0.3) as (other, _),
    ):
        for number in range(10):
            (await sleeper.admit(str(number), 40)).close()
        await until(lambda: bool(sleeper._live) and (_room(sleeper) or 0) > 0)
        await asleep(sleeper)
        await asyncio.sleep(0.4)
        await other.admit("sweeps", 1)
        await asyncio.sleep(1.2)
        free = other.state("all").limit or 0
        async with asyncio.timeout(10):
            hold = await other.admit("most of it", free - 1)
        account = sleeper._books["all"].account
        assert account is not None
        account.wish = 200  # type: ignore[attr-defined] # asked for much just before it slept
        assert account.room() == 0
        awake(sleeper)
        last = sleeper._number
        await until(lambda: sleeper._number > last)
        truth = sleeping.heard[-1].truths[0]
        assert (truth.leased, truth.account) == (truth.spent, "all")
        hold.close()


def _room(ledger: LeasedLedger) -> int | None:
    account = ledger._books["all"].account
    return account.room() if account is not None else None


async def test_a_reply_that_comes_after_the_lease_lapsed_revives_none_of_it(tmp_path: Path) -> None:
    scope = Scope("busy", 10, unit=Unit.IN_FLIGHT)
    async with leased(tmp_path / "l", scope, ttl_s=0.3) as (ledger, store):
        for number in range(20):
            (await ledger.admit(str(number), 0)).close()
        account = ledger._books["busy"].account
        assert account is not None
        await until(lambda: (account.room() or 0) > 0)
        store.open.clear()
        store.entered.clear()
        ledger._wake.set()
        await store.entered.wait()
        await asyncio.sleep(0.4)
        told = store.heard[-1].truths[0]
        assert told.leased > told.spent
        store.open.set()
        number = ledger._number
        while ledger._number == number:
            assert not account.room()
            await asyncio.sleep(0)
        truth = store.heard[-1].truths[0]
        assert truth.leased == truth.spent


async def test_holds_beyond_a_broken_cap_are_told_in_full(tmp_path: Path) -> None:
    """What the store does not know of, it would grant to others."""
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        first, second = await ledger.admit("first", 100), await ledger.admit("second", 100)
        await asleep(ledger)
        first.call(100).settle(900)
        account = ledger._books["all"].account
        assert account is not None
        account.give_back(0)  # type: ignore[attr-defined]
        awake(ledger)
        ledger._wake.set()
        await until(lambda: store.heard[-1].truths != () and store.heard[-1].truths[0].spent == 900)
        truth = store.heard[-1].truths[0]
        assert truth.leased - truth.spent == second.left_nano_usd
        with pytest.raises(BudgetRefusedError):
            await ledger.admit("third", 1)


async def test_a_limit_that_comes_during_an_exchange_forgets_no_hold(tmp_path: Path) -> None:
    async with leased(tmp_path / "l", Scope("all")) as (ledger, store):
        await ledger.admit("before", 10)
        store.open.clear()
        store.entered.clear()
        ledger._wake.set()
        await store.entered.wait()
        await ledger.admit("meanwhile", 500)
        ledger.redefine([Scope("all", 1_000)])
        store.open.set()
        number = ledger._number
        await until(lambda: ledger._number > number + 1)
        (record,) = await store.accounts()
        assert record.held >= 510


@pytest.mark.parametrize("meanwhile", [False, True])
async def test_a_limit_that_is_lowered_holds_for_what_lies_idle_too(
    tmp_path: Path,
    meanwhile: bool,  # noqa: FBT001
) -> None:
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        for number in range(10):
            (await ledger.admit(str(number), 40)).close()
        await until(lambda: (_room(ledger) or 0) >= 40)
        if meanwhile:
            store.open.clear()
            store.entered.clear()
            ledger._wake.set()
            await store.entered.wait()
        assert (_room(ledger) or 0) >= 40
        ledger.redefine([Scope("all", 10)])
        store.open.set()
        number = ledger._number
        while ledger._number == number:
            with pytest.raises(BudgetRefusedError):
                ledger.hold("after", 11)
            await asyncio.sleep(0)


async def test_nobody_is_refused_who_was_not_asked_for(tmp_path: Path) -> None:
    """He came while an exchange was under way that did not speak of him."""
    async with leased(tmp_path / "l", Scope("all", 1_000), patience_s=0.0) as (ledger, store):
        (await ledger.admit("first", 10)).close()
        store.open.clear()
        store.entered.clear()
        ledger._wake.set()
        waiting = asyncio.create_task(ledger.admit("second", 10))
        await store.entered.wait()
        third = asyncio.create_task(ledger.admit("third", 900))
        await asyncio.sleep(0.05)
        store.open.set()
        async with asyncio.timeout(10):
            (await waiting).close()
            assert (await third).left_nano_usd == 900


async def test_an_error_that_nobody_foresaw_refuses_and_heals(tmp_path: Path) -> None:
    """A request that waits for ever is worse than one that is refused."""
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        store.fails = RuntimeError("a defect")
        async with asyncio.timeout(10):
            with pytest.raises(StoreError):
                await ledger.admit("first", 10)
            store.fails = None
            await until(lambda: ledger.lost is None)
            assert (await ledger.admit("second", 10)).left_nano_usd == 10


async def test_a_ledger_that_ends_grants_nothing_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with leased(tmp_path / "l", Scope("all", 1_000), Scope("counted")) as (ledger, _):
        (await ledger.admit("first", 10)).close()
    async with asyncio.timeout(10):
        with pytest.raises(StoreLostError):
            await ledger.admit("second", 10)
        with pytest.raises(StoreLostError):
            await ledger.admit("third", 10, ["counted"])
        with pytest.raises(StoreLostError):
            ledger.hold("fourth", 10, ["counted"])


async def test_a_limit_that_the_store_cannot_count_changes_nothing(tmp_path: Path) -> None:
    async with leased(tmp_path / "l", Scope("all", 1_000), Scope("other", 500)) as (ledger, store):
        for scopes in (
            [Scope("other", 600), Scope("all", 2**53)],
            [Scope("other", 600), Scope("fresh", 2**53 - 1, Window.DAY, carry_over=1)],
        ):
            with pytest.raises(InputError, match="cannot count"):
                ledger.redefine(scopes)
        with pytest.raises(InputError, match="cannot count"):
            ledger.add(Scope("user", 2**53 - 1, Window.DAY, carry_over=1))
        ledger.add(Scope("user", 10))
        with pytest.raises(InputError, match="cannot count"):
            ledger.add(Scope("user", 2**53))
        assert (ledger.state("other").limit, ledger.state("all").limit) == (500, 1_000)
        (await ledger.admit("first", 1)).close()
        assert ledger.lost is None
        assert store.heard


async def test_what_waits_and_is_wished_never_exceeds_what_the_store_counts(tmp_path: Path) -> None:
    most = 2**53 - 1
    async with leased(tmp_path / "l", Scope("all", most), patience_s=0.1) as (ledger, _):
        found = await asyncio.gather(
            *(ledger.admit(str(number), most // 2 + 1) for number in range(5)),
            return_exceptions=True,
        )
        assert ledger.lost is None
        assert [type(one) for one in found].count(BudgetRefusedError) == 4


async def test_a_user_of_a_rolling_window_is_forgotten_once_it_has_passed(tmp_path: Path) -> None:
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, _):
        user = Scope("user", 100, Window.SECOND, rolling=True)
        ledger.add(user)
        hold = await ledger.admit("first", 60, ["user"])
        hold.call(60).settle(60)
        hold.close()
        await until(lambda: ledger.state("user").spent == 0)
        ledger.remove("user")
        ledger.add(user)
        hold = await ledger.admit("second", 100, ["user"])
        hold.call(100).settle(100)
        hold.close()
        with pytest.raises(BudgetRefusedError):
            await ledger.admit("third", 1, ["user"])


async def test_what_others_held_a_while_ago_keeps_no_user_of_requests_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = Scope("user", 10, unit=Unit.IN_FLIGHT)
    async with leased(tmp_path / "l") as (ledger, _), leased(tmp_path / "l") as (other, _):
        for each in (ledger, other):
            each.add(user)
        flying = await other.admit("flying", 0, ["user"])
        (await ledger.admit("first", 0, ["user"])).close()
        await until(lambda: not ledger._live)
        flying.close()
        await until(lambda: not other._live)
        assert ledger.state("user").held > 0
        monkeypatch.setattr(module, "_FLIGHT_S", 0.01)
        await asyncio.sleep(0.02)
        ledger.remove("user")
        other.remove("user")


async def test_what_was_granted_in_a_reply_that_got_lost_goes_back(tmp_path: Path) -> None:
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        store.loses = StoreLostError("the reply is lost")
        with pytest.raises(StoreLostError):
            await ledger.admit("first", 700)
        store.loses = None
        await until(lambda: ledger.lost is None and not ledger._live)
        (record,) = await store.accounts()
        assert record.held == 0


async def test_a_user_to_whom_the_operator_gave_back_is_charged_once_all_the_same(
    tmp_path: Path,
) -> None:
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        user = Scope("user", 100, Window.TOTAL)
        ledger.add(user)
        hold = await ledger.admit("first", 60, ["user"])
        hold.call(60).settle(60)
        hold.close()
        await until(lambda: not ledger._live or ledger._live["user", 0].is_told)
        await store.adjust("user", 0, -60, "a gift")
        (await ledger.admit("second", 90, ["user"])).close()
        await until(lambda: ledger.state("user").spent == 0)
        ledger.remove("user")
        ledger.add(user)
        hold = await ledger.admit("third", 50, ["user"])
        hold.call(50).settle(50)
        hold.close()
        number = ledger._number
        await until(lambda: ledger._number > number + 2)
        (record,) = [one for one in await store.accounts() if one.account == "user"]
        assert record.spent == 50


async def test_a_request_that_grows_late_is_told_to_the_store(tmp_path: Path) -> None:
    """Its hold was all charged, so that there was nothing more to tell for a while."""
    async with leased(tmp_path / "l", Scope("counted")) as (ledger, store):
        hold = await ledger.admit("first", 100)
        hold.call(100).settle(100)
        await until(lambda: not ledger._live)
        hold.call(70).settle(70)
        hold.close()
        await until(lambda: store.heard[-1].truths != () and store.heard[-1].truths[0].spent == 170)


async def test_a_store_that_is_not_there_is_let_go_of(tmp_path: Path) -> None:
    store = Hindered(tmp_path / "l")
    store.fails = StoreLostError("not there")
    with pytest.raises(StoreLostError):
        async with LeasedLedger([Scope("all", 10)], store):
            raise AssertionError
    assert store.closed


async def test_a_store_that_is_away_for_a_moment_hears_the_end_of_a_replica(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else its leases would be others' only after the time to live, and charged."""
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        (await ledger.admit("first", 100)).call(100).settle(60)
        store.fails = StoreLostError("away")
        ending = asyncio.create_task(ledger.__aexit__())
        await until(lambda: sum(each.closing for each in store.heard) > 2)
        assert not ending.done()
        store.fails = None
        await ending
        assert not [line for line in caplog.records if "did not hear" in line.message]
        ledger._store = SqliteStore(tmp_path / "l")
        (record,) = await ledger._store.accounts()
    assert (record.spent, record.held) == (60, 0)


async def test_a_closing_exchange_whose_reply_was_lost_is_repeated_and_counts_once(
    tmp_path: Path,
) -> None:
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        (await ledger.admit("first", 100)).call(100).settle(60)
        store.loses = StoreLostError("no reply")
        ending = asyncio.create_task(ledger.__aexit__())
        await until(lambda: sum(each.closing for each in store.heard) > 2)
        store.loses = None
        await ending
        ledger._store = SqliteStore(tmp_path / "l")
        (record,) = await ledger._store.accounts()
        assert await ledger._store.log() == ()
    assert (record.spent, record.held, record.requests) == (60, 0, 1)


@pytest.mark.parametrize(
    ("error", "tries"), [(StoreLostError("gone"), 3), (StoreForgotError("another"), 1)]
)
async def test_a_ledger_that_ends_does_not_try_for_ever(
    error: StoreError,
    tries: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("runtime.ledger.leased._FAREWELL_S", 0.2)
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        await ledger.admit("first", 100)
        store.fails = error
    told = sum(each.closing for each in store.heard)
    assert told >= tries if tries > 1 else told == 1
    assert sum("did not hear the end" in line.message for line in caplog.records) == 1
    assert store.closed


async def test_a_ledger_whose_end_is_cancelled_closes_its_store(tmp_path: Path) -> None:
    async with leased(tmp_path / "l", Scope("all", 1_000)) as (ledger, store):
        await ledger.admit("first", 100)
        store.fails = StoreLostError("away")
        ending = asyncio.create_task(ledger.__aexit__())
        await until(lambda: any(each.closing for each in store.heard))
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert store.closed
        store.fails = None
        ledger._store = SqliteStore(tmp_path / "l")


async def test_requests_that_wait_when_the_ledger_ends_are_told(tmp_path: Path) -> None:
    started = time.monotonic()
    async with leased(tmp_path / "l", Scope("all", 100), patience_s=60.0) as (ledger, store):
        other = LeasedLedger([Scope("all", 100)], SqliteStore(tmp_path / "l"), exchange_s=0.02)
        async with other:
            await other.admit("all of it", 100)
            waiting = asyncio.create_task(ledger.admit("first", 10))
            await until(lambda: bool(ledger._waiting))
            await ledger.__aexit__()
            with pytest.raises(StoreLostError):
                await waiting
        ledger._store = SqliteStore(tmp_path / "l")
    assert time.monotonic() - started < 30
    assert store.closed


async def test_a_bill_beyond_what_the_store_counts_stops_its_own_budget_alone(
    tmp_path: Path,
) -> None:
    """An upstream says so; a truth that the store refuses would be refused for ever."""
    scopes = Scope("broken", 1_000), Scope("whole", 1_000), Scope("counted")
    async with leased(tmp_path / "l", *scopes) as (ledger, store):
        hold = await ledger.admit("first", 10, ["broken", "counted"])
        hold.call(10).settle(2**63)
        hold.close()
        number = ledger._number
        await until(lambda: ledger._number > number + 1)
        assert (await ledger.admit("second", 900, ["whole", "counted"])).left_nano_usd == 900
        assert ledger.lost is None
        with pytest.raises(BudgetRefusedError):
            await ledger.admit("third", 1, ["broken"])
        spent = {record.account: record.spent for record in await store.accounts()}
        assert spent["broken"] == spent["counted"] == store.largest


async def test_a_limit_that_is_raised_during_an_exchange_is_no_other_time_zone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with leased(tmp_path / "l", Scope("all", 100, Window.DAY)) as (ledger, store):
        store.open.clear()
        store.entered.clear()
        waiting = asyncio.create_task(ledger.admit("first", 10))
        await store.entered.wait()
        ledger.redefine([Scope("all", 1_000, Window.DAY)])
        store.open.set()
        (await waiting).close()
    assert not caplog.records


async def test_a_crowd_that_waits_for_one_budget_shuts_nobody_out_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.ledger.leased._MOST_WAITING", 50)
    scopes = Scope("busy", 10, unit=Unit.IN_FLIGHT), Scope("free", 1_000)
    async with (
        leased(tmp_path / "l", *scopes) as (other, _),
        leased(tmp_path / "l", *scopes, patience_s=60.0) as (ledger, _),
    ):
        for number in range(10):
            await other.admit(str(number), 0, ["busy"])
        waits = [ledger.admit(str(number), 0, ["busy"]) for number in range(60)]
        crowd = asyncio.gather(*waits, return_exceptions=True)
        await until(lambda: len(ledger._waiting) == 50 and ledger._waiting[-1].asked)
        assert (await ledger.admit("guest", 10, ["free"])).left_nano_usd == 10
        assert len(ledger._waiting) == 49  # who waited longest made place
        crowd.cancel()
        await asyncio.gather(crowd, return_exceptions=True)
