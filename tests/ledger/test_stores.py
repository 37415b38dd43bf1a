"""What every shared store does, each on a real file or server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from store_servers import START_S, Shelf, Speaker, minute, truth

from profiles.errors import InputError
from runtime.ledger.redis_store import LARGEST as REDIS_LARGEST
from runtime.ledger.store import (
    AccountRecord,
    Given,
    LeaseRecord,
    LogKind,
    StaleExchangeError,
    Store,
    StoreLostError,
    Truth,
)

DAY_S = 86_400


class Table:
    """One shared store and its replicas."""

    def __init__(self, shelf: Shelf, store: Store) -> None:
        self.shelf, self.store = shelf, store
        self.speakers: dict[str, Speaker] = {}

    def speaker(self, name: str) -> Speaker:
        return self.speakers.setdefault(name, Speaker(self.store, name))

    async def says(self, name: str, *truths: Truth, closing: bool = False) -> tuple[Given, ...]:
        exchange = self.speaker(name).says(*truths, closing=closing)
        return (await self.store.exchange(exchange)).given

    async def asks(self, name: str, truth: Truth) -> Given:
        return (await self.says(name, truth))[0]

    async def record(self, account: str = "org", epoch: int = 0) -> AccountRecord:
        found = await self.store.accounts()
        return next(each for each in found if (each.account, each.epoch) == (account, epoch))

    async def beat(self, seconds: float, *names: str, start_s: float = START_S) -> None:
        """Time passes, and these replicas go on talking."""
        for step in range(1, int(seconds // 10) + 1):
            self.shelf.set_clock(start_s + step * 10)
            for name in names:
                await self.says(name)
        self.shelf.set_clock(start_s + seconds)


@asynccontextmanager
async def opened(shelf: Shelf) -> AsyncIterator[Table]:
    store = shelf.open()
    try:
        yield Table(shelf, store)
    finally:
        await store.close()


@pytest.mark.asyncio
async def test_what_is_short_is_granted_and_held(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        given = await table.asks("a", truth(short=30))
        assert given == Given("org", 0, 30, 70, 0, 30, 0, 0, pressed=False)
        given = await table.asks("a", truth(leased=30, spent=10, requests=2, short=5))
        assert given == Given("org", 0, 35, 65, 10, 25, 2, 0, pressed=False)


@pytest.mark.asyncio
async def test_a_report_is_granted_nothing(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        given = await table.asks("a", truth(wish=50))
        assert (given.leased, given.remaining) == (0, 100)


@pytest.mark.asyncio
async def test_a_wish_is_granted_up_to_a_quarter_of_the_equal_share(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        assert (await table.asks("a", truth(short=1, wish=90))).leased == 25
        given = await table.asks("b", truth(short=1, wish=90))
        assert given.leased == 75 // (4 * 2)


@pytest.mark.asyncio
async def test_what_is_short_is_granted_whole_or_everybody_is_asked_to_give_back(
    shelf: Shelf,
) -> None:
    async with opened(shelf) as table:
        assert not (await table.asks("a", truth(short=70))).pressed
        given = await table.asks("b", truth(short=31, wish=10))
        assert (given.leased, given.remaining, given.pressed) == (0, 30, True)
        assert (await table.asks("b", truth(short=30))).leased == 30
        assert (await table.asks("a", truth(leased=70, spent=20))).pressed
        shelf.set_clock(START_S + 2)
        assert not (await table.asks("a", truth(leased=70, spent=20))).pressed


@pytest.mark.asyncio
async def test_what_is_given_back_can_be_granted_to_others(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=100))
        await table.asks("a", truth(leased=40, spent=40))
        assert (await table.asks("b", truth(short=60))).leased == 60


@pytest.mark.asyncio
async def test_a_grant_whose_reply_was_lost_comes_back_with_the_next_exchange(
    shelf: Shelf,
) -> None:
    async with opened(shelf) as table:
        await table.says("a", truth(short=100))  # the reply is lost
        given = await table.asks("a", truth(leased=0, short=60))
        assert (given.leased, given.held, given.remaining) == (60, 60, 40)


@pytest.mark.asyncio
async def test_a_late_duplicate_changes_nothing(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        early = table.speaker("a").says(truth(short=10))
        await table.store.exchange(early)
        await table.says("a", truth(leased=10, spent=10))
        before = await table.record()
        for late in (early, table.speaker("a").says()):
            if late.number == 3:
                await table.store.exchange(late)
            with pytest.raises(StaleExchangeError):
                await table.store.exchange(late)
        assert await table.record() == before


@pytest.mark.asyncio
async def test_an_account_without_a_limit_is_counted(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        given = await table.asks("a", truth(leased=9, spent=4, limit=None, short=5))
        assert given == Given("org", 0, 9, None, 4, 5, 0, 0, pressed=False)


@pytest.mark.asyncio
async def test_truth_counts_where_a_cap_was_broken(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=60))
        given = await table.asks("a", truth(leased=60, spent=110, short=60))
        assert (given.leased, given.spent, given.held, given.remaining) == (110, 110, 0, 0)
        assert (await table.asks("b", truth(short=1))).leased == 0


@pytest.mark.asyncio
async def test_what_was_overspent_is_not_asked_for_twice(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=60))
        given = await table.asks("a", truth(leased=60, spent=70, short=30))
        assert (given.leased, given.held, given.remaining) == (90, 20, 10)


@pytest.mark.asyncio
async def test_a_lease_that_the_store_does_not_know_is_believed(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        given = await table.asks("a", truth(leased=80, spent=30))
        assert (given.leased, given.spent, given.held, given.remaining) == (80, 30, 50, 20)


@pytest.mark.asyncio
async def test_a_silent_replica_is_charged_its_lease_in_its_own_accounts(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.says("dead", truth("org", short=60), truth("team", short=5))
        await table.says("dead", truth("org", 60, 20), truth("team", 5, 5))
        await table.beat(16, "b")
        await table.says("b", truth("other"))
        record = await table.record()
        assert (record.spent, record.held) == (60, 0)
        assert record.leases == (LeaseRecord("dead", 60, 60, 0, swept=40),)
        log = await table.store.log()
        assert [(e.kind, e.account, e.amount, e.replica) for e in log] == [
            (LogKind.SWEPT, "org", 40, "dead")
        ]


@pytest.mark.asyncio
async def test_nobody_is_swept_at_its_ttl_but_after_it(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.says("quiet", truth(short=60))
        await table.beat(15, "b")
        await table.says("b")
        assert not await table.store.log()


@pytest.mark.asyncio
async def test_a_late_replica_that_speaks_before_it_is_swept_is_not(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=60))
        await table.beat(16, "b")
        assert (await table.asks("a", truth(leased=60, spent=1))).held == 59
        assert not await table.store.log()


@pytest.mark.asyncio
async def test_a_swept_replica_that_comes_back_tells_its_truth(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=60))
        await table.beat(20, "b")
        assert (await table.asks("b", truth(short=40))).leased == 40
        given = await table.asks("a", truth(leased=60, spent=25))
        assert (given.leased, given.spent, given.held, given.remaining) == (60, 25, 75, 0)
        kinds = [(entry.kind, entry.amount) for entry in await table.store.log()]
        assert kinds == [(LogKind.SWEPT, 60), (LogKind.RETURNED, -60)]


@pytest.mark.asyncio
async def test_only_what_a_returned_replica_tells_is_put_right(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.says("a", truth("org", short=60), truth("team", short=50))
        await table.beat(20, "b")
        await table.says("a", truth("org", leased=60))
        assert ((await table.record("org")).spent, (await table.record("team")).spent) == (0, 50)
        await table.says("a", truth("team", leased=50, spent=1))
        assert (await table.record("team")).spent == 1


@pytest.mark.asyncio
async def test_silence_proves_nothing_where_the_store_was_away(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.says("a", truth(short=60))
        await table.says("b", truth(short=10))
        shelf.set_clock(START_S + 600)
        await table.says("b", truth(leased=10))
        await table.says("b", truth(leased=10))
        assert not await table.store.log()
        await table.beat(16, "b", start_s=START_S + 600)
        await table.says("b")
        assert [entry.replica for entry in await table.store.log()] == ["a"]


@pytest.mark.asyncio
async def test_requests_in_flight_end_with_their_process(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.says("dead", truth(short=30, lapses=True))
        await table.beat(20, "b")
        given = await table.asks("b", truth(short=100, lapses=True))
        assert (given.leased, given.spent) == (100, 0)
        assert [(e.kind, e.amount) for e in await table.store.log()] == [(LogKind.LAPSED, 30)]


@pytest.mark.asyncio
async def test_a_replica_that_closes_gives_back_what_it_did_not_spend(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=60))
        (given,) = await table.says("a", truth(leased=60, spent=25), closing=True)
        assert (given.leased, given.spent, given.held) == (25, 25, 0)
        assert (await table.asks("b", truth(short=1, wish=99))).leased == 75 // 4


@pytest.mark.asyncio
async def test_closing_twice_counts_once(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=60))
        early = table.speaker("a").says(truth(leased=60, spent=25))
        for _ in range(2):
            await table.says("a", truth(leased=60, spent=25), closing=True)
        with pytest.raises(StaleExchangeError):
            await table.store.exchange(early)
        record = await table.record()
        assert (record.spent, record.held) == (25, 0)


@pytest.mark.asyncio
async def test_what_a_closing_replica_does_not_mention_is_charged(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.says("a", truth("org", short=60), truth("team", short=50))
        await table.says("a", truth("org", leased=60), closing=True)
        assert ((await table.record("org")).spent, (await table.record("team")).spent) == (0, 50)
        assert [(e.kind, e.account) for e in await table.store.log()] == [(LogKind.SWEPT, "team")]


@pytest.mark.asyncio
async def test_ended_replicas_are_forgotten_after_a_day_and_their_charges_stay(
    shelf: Shelf,
) -> None:
    async with opened(shelf) as table:
        await table.says("a", truth(leased=60, spent=25), closing=True)
        shelf.set_clock(START_S + DAY_S)
        await table.says("b")
        assert len((await table.record()).leases) == 1
        shelf.set_clock(START_S + DAY_S + 1)
        await table.says("b")
        record = await table.record()
        assert (record.leases, record.spent) == ((), 25)


@pytest.mark.asyncio
async def test_only_the_stores_clock_opens_an_epoch(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        early = minute(START_S + 60, short=10)
        given = await table.asks("a", early)
        assert given == Given("minute", early.epoch, 0, 0, 0, 0, 0, 0, pressed=False)
        assert not await table.store.accounts()
        shelf.set_clock(early.epoch - 0.000001)
        assert (await table.asks("a", early)).leased == 0
        shelf.set_clock(early.epoch)
        assert (await table.asks("a", early)).leased == 10


@pytest.mark.asyncio
async def test_an_epoch_that_ended_grants_nothing_and_takes_truths(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        told = minute(START_S, short=10)
        await table.asks("a", told)
        shelf.set_clock(told.epoch + 60)
        given = await table.asks("a", minute(START_S, leased=10, spent=7, short=10))
        assert (given.leased, given.remaining, given.spent, given.pressed) == (10, 0, 7, False)


@pytest.mark.asyncio
async def test_a_clock_that_steps_back_opens_no_old_epoch_again(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", minute(START_S, short=10))
        shelf.set_clock(START_S + 60)
        await table.asks("a", minute(START_S + 60, short=10))
        shelf.set_clock(START_S)
        assert (await table.asks("b", minute(START_S, short=10))).leased == 0


@pytest.mark.asyncio
async def test_what_the_epoch_before_left_is_carried_over(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", minute(START_S, short=80, carry_over=30))
        await table.asks("a", minute(START_S, leased=80, spent=50, carry_over=30))
        shelf.set_clock(START_S + 60)
        given = await table.asks("a", minute(START_S + 60, short=120, carry_over=30))
        assert (given.carried, given.leased) == (20, 120)
        await table.asks("a", minute(START_S, leased=50, spent=50, carry_over=30))
        assert (await table.asks("b", minute(START_S + 60, short=1, carry_over=30))).leased == 0


@pytest.mark.asyncio
async def test_carrying_over_has_a_cap_and_no_gap(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", minute(START_S, carry_over=30))
        shelf.set_clock(START_S + 60)
        assert (await table.asks("a", minute(START_S + 60, carry_over=30))).carried == 30
        shelf.set_clock(START_S + 180)
        assert (await table.asks("a", minute(START_S + 180, carry_over=30))).carried == 0


@pytest.mark.asyncio
async def test_a_lost_opening_is_mended_by_who_still_knows(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", minute(START_S, carry_over=30))
        told = minute(START_S + 60, leased=40, spent=5, carry_over=30)
        await table.asks("a", told)  # of an epoch that the store has not opened
        shelf.set_clock(START_S + 60)
        given = await table.asks("b", minute(START_S + 60, short=90, carry_over=30))
        assert (given.carried, given.leased, given.spent, given.held) == (30, 90, 5, 125)


@pytest.mark.asyncio
async def test_a_rolling_window_renews_bucket_by_bucket(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        start = 1_700_000_000.0  # a multiple of the 64 seconds of the window
        for second, spent in ((0.0, 40), (10.5, 90)):
            shelf.set_clock(start + second)
            await table.asks("a", truth(leased=spent, spent=spent, window_s=64))
        for second, left in ((64.9, 10), (65.0, 50), (74.9, 50), (75.0, 100)):
            shelf.set_clock(start + second)
            given = await table.asks("a", truth(leased=90, spent=90, window_s=64))
            assert given.remaining == left, second
            assert (await table.record()).spent == 100 - left


@pytest.mark.asyncio
async def test_what_is_leased_of_a_rolling_window_does_not_expire(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=100, window_s=60))
        for step in range(1, 20):
            shelf.set_clock(START_S + step * 10)
            await table.says("a")
        assert (await table.asks("b", truth(short=1, window_s=60))).leased == 0


@pytest.mark.asyncio
async def test_a_sweep_of_a_rolling_window_is_taken_back_only_where_it_counts(
    shelf: Shelf,
) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(short=80, window_s=64))
        await table.beat(20, "b")
        await table.says("b")
        assert (await table.record()).spent == 80
        given = await table.asks("a", truth(leased=80, spent=10, window_s=64))
        assert (given.spent, given.held) == (10, 70)
        await table.beat(40, "b", start_s=START_S + 20)
        await table.says("b")  # swept again
        await table.beat(100, "b", start_s=START_S + 60)
        given = await table.asks("a", truth(leased=80, spent=30, window_s=64))
        assert (given.spent, given.held, given.remaining) == (20, 50, 30)


@pytest.mark.asyncio
async def test_reading_changes_nothing_where_the_clock_steps_back_afterwards(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(leased=40, spent=40, window_s=64))
        shelf.set_clock(START_S + 70)
        assert (await table.record()).spent == 0
        with pytest.raises(InputError, match="at most what was charged"):
            await table.store.adjust("org", 0, -1, "nothing is there any more")
        shelf.set_clock(START_S)
        assert (await table.record()).spent == 40
        shelf.set_clock(START_S + 70)
        await table.asks("a", truth(leased=40, spent=40, window_s=64))
        shelf.set_clock(START_S)
        assert (await table.record()).spent == 0


@pytest.mark.asyncio
async def test_what_outlives_its_lost_replica_and_a_rolling_window_counts_when_it_is_told(
    shelf: Shelf,
) -> None:
    """Until then it is unknown; what others have got meanwhile is not asked back."""
    async with opened(shelf) as table:
        await table.asks("a", truth(short=80, window_s=64))
        await table.beat(90, "b")
        assert (await table.asks("b", truth(short=100, window_s=64))).leased == 100
        given = await table.asks("a", truth(leased=80, spent=80, window_s=64))
        assert (given.spent, given.held, given.remaining) == (80, 100, 0)


@pytest.mark.asyncio
async def test_a_rolling_window_takes_no_charge_back(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(leased=50, spent=50, window_s=64))
        assert (await table.asks("a", truth(leased=50, spent=20, window_s=64))).spent == 50


@pytest.mark.asyncio
async def test_old_epochs_are_dropped_when_nothing_is_held_there(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", minute(START_S, leased=10, spent=10))
        await table.asks("b", minute(START_S + 60, leased=10, spent=5))
        for step in (60, 120, 61 * 60, 62 * 60):
            shelf.set_clock(START_S + step)
            await table.asks("a", minute(START_S + step))
        kept = [record.epoch for record in await table.store.accounts()]
        first = minute(START_S).epoch
        assert kept == [first + 60 * step for step in (1, 2, 61, 62)]


@pytest.mark.asyncio
async def test_an_operator_corrects_what_was_spent(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(leased=50, spent=50))
        await table.store.adjust("org", 0, -20, "refunded by the provider")
        await table.store.adjust("org", 0, 5, "and some of it not")
        assert (await table.record()).spent == 35
        log = [(e.kind, e.amount, e.replica, e.reason) for e in await table.store.log()]
        assert log == [
            (LogKind.ADJUSTED, -20, None, "refunded by the provider"),
            (LogKind.ADJUSTED, 5, None, "and some of it not"),
        ]
        assert (await table.asks("a", truth(leased=50, spent=60))).spent == 45


@pytest.mark.asyncio
async def test_a_correction_of_a_rolling_window_takes_the_oldest_charges(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth(leased=40, spent=40, window_s=64))
        shelf.set_clock(START_S + 10)
        await table.asks("a", truth(leased=90, spent=90, window_s=64))
        await table.store.adjust("org", 0, -45, "refunded")
        assert (await table.record()).spent == 45
        shelf.set_clock(START_S + 66)
        assert (await table.record()).spent == 45
        with pytest.raises(InputError, match="at most what was charged"):
            await table.store.adjust("org", 0, -46, "too much")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("account", "epoch", "amount", "reason"),
    [("org", 0, 0, "why"), ("org", 0, 5, " "), ("org", 1, 5, "why"), ("who", 0, 5, "why")],
)
async def test_a_correction_of_nothing_is_refused(
    shelf: Shelf, account: str, epoch: int, amount: int, reason: str
) -> None:
    async with opened(shelf) as table:
        await table.asks("a", truth())
        with pytest.raises(InputError):
            await table.store.adjust(account, epoch, amount, reason)
        assert not await table.store.log()


@pytest.mark.asyncio
async def test_several_processes_share_one_store(shelf: Shelf) -> None:
    async with opened(shelf) as one, opened(shelf) as other:
        assert (await one.asks("a", truth(short=70))).leased == 70
        assert (await other.asks("b", truth(short=30))).leased == 30
        assert await one.store.accounts() == await other.store.accounts()
        assert await one.store.now() == await other.store.now() == START_S


@pytest.mark.asyncio
async def test_replicas_at_once_never_get_more_than_there_is(shelf: Shelf) -> None:
    stores = [shelf.open() for _ in range(8)]
    speakers = [Speaker(store, f"r{index}") for index, store in enumerate(stores)]

    async def greedy(speaker: Speaker) -> int:
        leased = 0
        for _ in range(20):
            asked = speaker.says(truth(leased=leased, spent=leased, limit=1000, short=7, wish=20))
            leased = (await speaker.store.exchange(asked)).given[0].leased
        return leased

    leases = await asyncio.gather(*map(greedy, speakers))
    assert 1000 - 7 < sum(leases) <= 1000
    for store in stores:
        await store.close()


@pytest.mark.asyncio
async def test_any_words_name_accounts_and_replicas(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        names = ["org:acme/team:a b|nano_usd|month", "été 12|3", "a'b\"c{d}", "\U0001f4b0 %s"]
        await table.says("réplica 1 2", *(truth(name, short=5) for name in names))
        records = await table.store.accounts()
        assert sorted(record.account for record in records) == sorted(names)
        assert {record.leases[0].replica for record in records} == {"réplica 1 2"}
        await table.store.adjust(names[1], 0, 1, "ça \U0001f4b0")
        assert (await table.store.log())[0].reason == "ça \U0001f4b0"


@pytest.mark.asyncio
async def test_the_largest_amounts_are_counted_to_the_last_unit(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        largest = table.store.largest
        given = await table.asks("a", truth(limit=largest, short=largest - 1))
        assert (given.leased, given.remaining) == (largest - 1, 1)
        await table.asks("a", truth(limit=largest, leased=largest - 1, spent=largest - 2))
        record = await table.record()
        assert (record.spent, record.held, record.limit) == (largest - 2, 1, largest)
        with pytest.raises(InputError, match="cannot count this"):
            await table.asks("a", truth(limit=largest + 1))


@pytest.mark.asyncio
async def test_sums_without_a_limit_stay_exact(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        for name in "abc":
            spent = REDIS_LARGEST - 1
            given = await table.asks(name, truth(limit=None, leased=spent, spent=spent))
        assert given.spent == 3 * (REDIS_LARGEST - 1)
        assert (await table.record()).spent == given.spent


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "told",
    [
        truth(limit=2**62),
        truth(limit=-1),
        truth(limit=2**62 - 10, carry_over=20),
        truth(leased=-1),
        truth(spent=2**63),
        truth(short=-5),
        truth(wish=2**64),
        truth(epoch=60, ends_s=60),
        truth(epoch=60, window_s=60),
        truth(epoch=-60, ends_s=60),
        truth(window_s=0),
        truth(""),
    ],
)
async def test_a_truth_that_nobody_should_tell_is_refused(shelf: Shelf, told: Truth) -> None:
    async with opened(shelf) as table:
        with pytest.raises(InputError):
            await table.says("a", told)
        assert not await table.store.accounts()


@pytest.mark.asyncio
async def test_an_exchange_that_nobody_should_send_is_refused(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        with pytest.raises(InputError, match="told twice"):
            await table.says("a", truth(), truth(short=5))
        table.speaker("").ttl_s = 15
        with pytest.raises(InputError, match="a replica and a number"):
            await table.says("", truth())
        for ttl_s in (0.0, -1.0, float("nan"), float("inf")):
            table.speaker("b").ttl_s = ttl_s
            with pytest.raises(InputError, match="ttl_s"):
                await table.says("b", truth())


@pytest.mark.asyncio
async def test_a_closed_store_is_a_lost_store(shelf: Shelf) -> None:
    store = shelf.open()
    await store.now()
    await store.close()
    await store.close()
    with pytest.raises(StoreLostError, match="closed"):
        await store.now()


@pytest.mark.asyncio
async def test_a_cancelled_exchange_leaves_the_store_usable(shelf: Shelf) -> None:
    async with opened(shelf) as table:
        await table.store.now()
        for number in range(20):
            step = asyncio.create_task(table.asks("a", truth(short=number)))
            for _ in range(number):
                await asyncio.sleep(0)
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
        given = await table.asks("a", truth(short=60))
        assert (given.account, given.leased, given.held) == ("org", 60, 60)
