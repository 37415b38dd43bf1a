"""A budget whose time zone changes while a window runs: never over, and never dead."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_servers import START_S, Shelf, Speaker, SqliteShelf, asks, leased, truth

from planner.spec import Window
from profiles.errors import BudgetRefusedError
from runtime.ledger import Scope
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.store import Truth

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
# Noon in UTC.
NOON_S = START_S // DAY_S * DAY_S + DAY_S / 2
LIMIT = 100


def day(now_s: float, ahead_h: float = 0, **more: object) -> Truth:
    """Of the day that runs where clocks are so many hours ahead of UTC."""
    start = int((now_s + ahead_h * HOUR_S) // DAY_S * DAY_S - ahead_h * HOUR_S)
    return truth("day", epoch=start, ends_s=start + DAY_S, limit=LIMIT, **more)  # type: ignore[arg-type]


@pytest.mark.asyncio
@pytest.mark.parametrize("ahead_h", [1, -5, 11.5])
async def test_a_window_of_another_time_zone_goes_on_with_what_the_running_one_has_spent(
    shelf: Shelf, ahead_h: float
) -> None:
    store = shelf.open()
    shelf.set_clock(NOON_S)
    await asks(store, "old", 1, day(NOON_S, short=70))
    await asks(store, "old", 2, day(NOON_S, leased=70, spent=60))
    given = (await asks(store, "new", 1, day(NOON_S, ahead_h, short=31))).given[0]
    assert (given.leased, given.remaining, given.carried) == (0, 30, -70)
    assert await leased(store, "new", 2, day(NOON_S, ahead_h, short=30)) == 30
    await store.close()


@pytest.mark.asyncio
async def test_what_the_old_window_gives_back_the_new_one_can_grant(shelf: Shelf) -> None:
    store = shelf.open()
    shelf.set_clock(NOON_S)
    await asks(store, "old", 1, day(NOON_S, short=100))
    assert await leased(store, "new", 1, day(NOON_S, 1, short=50)) == 0
    await asks(store, "old", 2, day(NOON_S, leased=50, spent=50))
    assert await leased(store, "new", 2, day(NOON_S, 1, short=50)) == 50
    await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("ahead_h", [1, -1])
async def test_gateways_of_both_time_zones_share_one_budget_and_may_change_back(
    shelf: Shelf, ahead_h: float
) -> None:
    store = shelf.open()
    shelf.set_clock(NOON_S)
    assert await leased(store, "old", 1, day(NOON_S, short=40)) == 40
    assert await leased(store, "new", 1, day(NOON_S, ahead_h, short=40)) == 40
    assert await leased(store, "old", 2, day(NOON_S, leased=40, short=20)) == 60
    assert await leased(store, "new", 2, day(NOON_S, ahead_h, leased=40, short=1)) == 40
    one, other = await store.accounts()
    for record in (one, other):
        assert record.limit is not None
        assert record.limit + record.carried - record.spent - record.held == 0
    await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(("early_h", "late_h"), [(1, 0), (0, -5)])
async def test_between_two_midnights_only_gateways_of_the_earlier_one_are_granted(
    shelf: Shelf, early_h: int, late_h: int
) -> None:
    store = shelf.open()
    shelf.set_clock(NOON_S)
    for name, ahead_h in (("late", late_h), ("early", early_h)):
        assert await leased(store, name, 1, day(NOON_S, ahead_h, short=1)) == 1
    between_s = NOON_S + (12 - early_h) * HOUR_S
    shelf.set_clock(between_s)
    assert await leased(store, "early", 2, day(between_s, early_h, short=1)) == 1
    assert await leased(store, "late", 2, day(between_s, late_h, leased=1, short=1)) == 1
    late_s = NOON_S + (12 - late_h) * HOUR_S
    shelf.set_clock(late_s)
    for name, ahead_h, had in (("late", late_h, 0), ("early", early_h, 1)):
        told = day(late_s, ahead_h, leased=had, short=1)
        assert await leased(store, name, 3, told) == had + 1
    await store.close()


@pytest.mark.asyncio
async def test_the_window_after_the_moved_one_begins_anew_and_inherits(shelf: Shelf) -> None:
    store = shelf.open()
    shelf.set_clock(NOON_S)
    await asks(store, "a", 1, day(NOON_S, leased=20, spent=20, carry_over=30))
    await asks(store, "a", 2, day(NOON_S, 1, leased=50, spent=50, carry_over=30))
    next_s = NOON_S + 11 * HOUR_S  # midnight in the new zone; in UTC an hour later
    shelf.set_clock(next_s)
    given = (await asks(store, "a", 3, day(next_s, 1, short=1, carry_over=30))).given[0]
    assert (given.carried, given.spent) == (30, 0)
    later_s = next_s + HOUR_S
    shelf.set_clock(later_s)
    given = (await asks(store, "a", 4, day(later_s, 1, leased=1, short=129, carry_over=30))).given[
        0
    ]
    assert given.leased == 130
    await store.close()


@pytest.mark.asyncio
async def test_until_the_old_window_is_over_what_is_granted_fits_into_it_too(shelf: Shelf) -> None:
    store = shelf.open()
    shelf.set_clock(NOON_S)
    await asks(store, "a", 1, day(NOON_S, leased=50, spent=50))
    await asks(store, "a", 2, day(NOON_S, 1, leased=20, spent=20))
    next_s = NOON_S + 11 * HOUR_S
    shelf.set_clock(next_s)
    given = (await asks(store, "a", 3, day(next_s, 1, short=31))).given[0]
    assert (given.leased, given.remaining, given.carried) == (0, 30, 0)
    assert await leased(store, "a", 4, day(next_s, 1, short=20)) == 20
    assert (await asks(store, "a", 5, day(next_s, 1, leased=20))).given[0].remaining == 10
    shelf.set_clock(next_s + HOUR_S)
    assert await leased(store, "a", 6, day(next_s, 1, leased=20, short=80)) == 100
    await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("ahead_h", [-11, -5, 1, 8, 14])
async def test_no_change_of_time_zone_at_any_hour_stops_a_budget_that_has_money(
    tmp_path: Path, ahead_h: int
) -> None:
    for hour in range(24):
        shelf = SqliteShelf(tmp_path / f"{hour}.db")
        store = shelf.open()
        now_s = NOON_S + hour * HOUR_S
        shelf.set_clock(now_s - DAY_S)
        await asks(store, "old", 1, day(now_s - DAY_S, leased=30, spent=30))
        shelf.set_clock(now_s)
        await asks(store, "old", 2, day(now_s, leased=30, spent=30))
        assert await leased(store, "new", 1, day(now_s, ahead_h, short=40)) == 40
        for passed_h in range(1, 60):
            shelf.set_clock(now_s + passed_h * HOUR_S)
            told = day(now_s + passed_h * HOUR_S, ahead_h, short=1)
            assert await leased(store, f"new{passed_h}", 1, told) == 1, (hour, passed_h)
        await store.close()


@pytest.mark.asyncio
async def test_a_window_of_another_kind_is_not_moved(shelf: Shelf) -> None:
    """Whose budgets keep their name (in a library) change what they are."""
    store = shelf.open()
    shelf.set_clock(NOON_S)
    start = int(NOON_S // DAY_S - 10) * DAY_S
    month = truth("day", epoch=start, ends_s=start + 30 * DAY_S, limit=1_000, spent=900, leased=900)
    await asks(store, "a", 1, month)
    assert await leased(store, "a", 2, day(NOON_S, short=100)) == 100
    await store.close()


@pytest.mark.asyncio
async def test_a_gateway_that_is_started_with_another_time_zone_goes_on_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = SqliteShelf(tmp_path / "ledger.db", NOON_S)
    old = Scope("org:acme", LIMIT, Window.MONTH)
    async with LeasedLedger([old], shelf.open(), exchange_s=0.02) as ledger:
        hold = await ledger.admit("first", 60)
        hold.call(60).settle(60)
        hold.close()
    assert not caplog.records
    new = replace(old, timezone="Europe/Berlin")
    async with LeasedLedger([new], shelf.open(), exchange_s=0.02, patience_s=0.1) as ledger:
        with pytest.raises(BudgetRefusedError, match="has no room"):
            await ledger.admit("too much", 41)
        (await ledger.admit("the rest", 40)).close()
        assert ledger.state("org:acme").remaining == 40
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "'org:acme'" in said[0]
    assert "time zone" in said[0]


@dataclass(frozen=True, eq=False)
class Paid:
    """One charge."""

    at_s: float
    amount: int
    window: tuple[int, int]


def part_shared(one: tuple[int, int], other: tuple[int, int]) -> float:
    return (min(one[1], other[1]) - max(one[0], other[0])) / DAY_S


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 30),
            st.sampled_from([0, 0, 1, -5, 8, 13, -11]),
            st.integers(1, 60),
        ),
        min_size=3,
        max_size=25,
    )
)
@settings(max_examples=40, deadline=None)
def test_no_window_of_any_time_zone_is_over_by_the_clock(steps: list[tuple[int, int, int]]) -> None:
    """But for what was paid before it began in windows of which it shares at most half."""
    asyncio.run(changing(steps))


async def changing(steps: list[tuple[int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shelf = SqliteShelf(Path(folder) / "ledger.db")
        store = shelf.open()
        now_s, paid, begun = NOON_S, list[Paid](), dict[tuple[int, int], int]()
        speaker, sums = Speaker(store, "a"), dict[int, int]()
        for passed_h, ahead_h, amount in steps:
            now_s += passed_h * HOUR_S
            shelf.set_clock(now_s)
            spent = sums.get(day(now_s, ahead_h).epoch, 0)
            told = day(now_s, ahead_h, leased=spent, spent=spent, short=amount)
            assert told.ends_s is not None
            window = (told.epoch, told.ends_s)
            begun.setdefault(window, len(paid))
            (given,) = (await store.exchange(speaker.says(told))).given
            sums[told.epoch] = given.leased
            paid.append(Paid(now_s, given.leased - spent, window))
            after = day(now_s, ahead_h, leased=given.leased, spent=given.leased)
            await store.exchange(speaker.says(after))
        await store.close()
    for window, place in begun.items():
        inside = [each for each in paid if window[0] <= each.at_s < window[1]]
        since = sum(each.amount for each in inside if each in paid[place:])
        before = [each for each in inside if each not in paid[place:]]
        counted = sum(each.amount for each in before if part_shared(each.window, window) > 0.5)
        assert since == 0 or since + counted <= LIMIT
