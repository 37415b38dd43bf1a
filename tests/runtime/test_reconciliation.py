"""What the store says is spent is explained to the unit, or what is missing is named."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.audit_sums import ReplicaLog, Sums, read_sums
from runtime.ledger.store import AccountRecord, LeaseRecord, LogEntry, LogKind, open_store
from runtime.reconciliation import FORGOTTEN, reconcile

ACME = "org:acme|nano_usd|month"


def record(
    spent: int, *leases: LeaseRecord, epoch: int = 7, window_s: int | None = None
) -> AccountRecord:
    return AccountRecord(ACME, epoch, None, window_s, 1_000, 0, spent, 0, 9, leases)


def sums(epoch: int = 7, **settled: int) -> Sums:
    return Sums(
        charged={(ACME, epoch, name): amount for name, amount in settled.items()},
        replicas={name: ReplicaLog(entries=3, last=3) for name in settled},
    )


def swept(replica: str, amount: int, kind: LogKind = LogKind.SWEPT) -> LogEntry:
    return LogEntry(1.0, kind, ACME, 7, amount, replica, "lost")


def adjusted(amount: int) -> LogEntry:
    return LogEntry(1.0, LogKind.ADJUSTED, ACME, 7, amount, None, "a refund")


def test_spent_is_settled_requests_charged_leases_and_adjustments() -> None:
    found = sums(a=400, b=130)
    leases = (LeaseRecord("a", 500, 400, 4, 0), LeaseRecord("b", 250, 250, 3, 150))
    (epoch,) = reconcile(found, [record(620, *leases)], [swept("b", 150), adjusted(-30)])
    assert (epoch.account, epoch.epoch, epoch.spent) == (ACME, 7, 620)
    assert (epoch.told, epoch.proven, epoch.unproven) == (500, 30, 120)
    assert (epoch.adjusted, epoch.difference) == (-30, 0)
    assert epoch.balances


@pytest.mark.parametrize(
    ("in_log", "in_store", "difference"), [(400, 390, -10), (400, 410, 10), (0, 5, 5), (5, 0, -5)]
)
def test_what_only_one_side_knows_is_the_difference(
    in_log: int, in_store: int, difference: int
) -> None:
    lease = LeaseRecord("a", 500, in_store, 4, 0)
    (epoch,) = reconcile(sums(a=in_log), [record(in_store, lease)], [])
    assert epoch.difference == difference
    assert not epoch.balances


def test_differences_of_two_replicas_do_not_cancel_each_other() -> None:
    leases = (LeaseRecord("a", 10, 10, 1, 0), LeaseRecord("b", 10, 10, 1, 0))
    (epoch,) = reconcile(sums(a=9, b=11), [record(20, *leases)], [])
    assert epoch.difference == 0
    assert not epoch.balances
    assert {part.replica: part.difference for part in epoch.parts} == {"a": 1, "b": -1}


def test_a_log_of_a_lost_replica_that_exceeds_its_lease_is_a_difference() -> None:
    lease = LeaseRecord("a", 100, 100, 3, 60)
    (epoch,) = reconcile(sums(a=101), [record(100, lease)], [swept("a", 60)])
    assert (epoch.proven, epoch.unproven, epoch.difference) == (60, 0, -1)


def test_what_a_killed_replica_told_and_had_no_time_to_log_is_said_apart() -> None:
    lease = LeaseRecord("a", 100, 100, 3, 20)
    other = replace(record(50, LeaseRecord("a", 50, 50, 3, 0)), account="tag:x|nano_usd|month")
    found = sums(a=70)
    found.charged["tag:x|nano_usd|month", 7, "a"] = 40
    epochs = reconcile(found, [record(100, lease), other], [swept("a", 20)])
    assert [(epoch.unproven, epoch.unlogged) for epoch in epochs] == [(20, 10), (0, 10)]
    assert all(epoch.balances for epoch in epochs)
    back = [swept("a", 20), swept("a", -20, LogKind.RETURNED)]
    assert not reconcile(found, [other], back)[-1].balances


def test_entries_that_a_log_lost_are_named_where_it_lacks_them() -> None:
    found = sums(a=90)
    found.replicas["a"].gaps.append((4, 5))
    (epoch,) = reconcile(found, [record(100, LeaseRecord("a", 100, 100, 3, 0))], [])
    (part,) = epoch.parts
    assert (part.difference, part.missing_entries) == (10, 2)


def test_an_epoch_that_the_store_does_not_know_is_said() -> None:
    (epoch,) = reconcile(sums(a=5), [], [])
    assert epoch.spent is None
    assert not epoch.balances
    assert epoch.difference == -5


def test_an_account_that_no_log_knows_is_a_difference() -> None:
    (epoch,) = reconcile(Sums(), [record(5, LeaseRecord("a", 5, 5, 1, 0))], [])
    assert (epoch.difference, epoch.told) == (5, 0)


def test_replicas_that_the_store_has_forgotten_are_reconciled_as_one() -> None:
    lease = LeaseRecord("a", 10, 10, 1, 0)
    log = [swept("old", 50), swept("old", -20, LogKind.RETURNED), adjusted(7)]
    (epoch,) = reconcile(sums(a=10, old=25, older=5), [record(10 + 40 + 7, lease)], log)
    part = next(part for part in epoch.parts if part.replica == FORGOTTEN)
    assert (part.settled, part.swept, part.unproven, part.difference) == (30, 30, 10, 0)
    assert epoch.balances


def test_a_rolling_window_is_reconciled_over_all_that_its_replicas_told() -> None:
    lease = LeaseRecord("a", 900, 900, 5, 0)
    found = sums(epoch=0, a=900, gone=50)
    (epoch,) = reconcile(found, [record(120, lease, epoch=0, window_s=60)], [])
    assert (epoch.is_rolling, epoch.spent, epoch.difference) == (True, 900, 0)
    assert epoch.balances


def test_what_lapsed_was_never_spent() -> None:
    log = [swept("a", 5, LogKind.LAPSED)]
    (epoch,) = reconcile(sums(a=0), [record(0, LeaseRecord("a", 0, 0, 1, 0))], log)
    assert epoch.balances


@dataclass(frozen=True)
class Lived:
    """One replica as it truly was: settled, told of it, and what its lease left beside."""

    settled: int
    untold: int
    idle: int
    lost: bool
    forgotten: bool


LIVES = st.lists(
    st.builds(
        Lived,
        settled=st.integers(0, 1000),
        untold=st.integers(0, 1000),
        idle=st.integers(0, 1000),
        lost=st.booleans(),
        forgotten=st.booleans(),
    ),
    max_size=6,
)


def world(lives: list[Lived], corrections: list[int]) -> tuple[Sums, AccountRecord, list[LogEntry]]:
    """What store and logs say after these lives; a replica that ended well has told all."""
    found, leases, log, spent = Sums(), [], [adjusted(amount) for amount in corrections], 0
    for number, life in enumerate(lives):
        name = f"r{number}"
        told = life.settled - min(life.untold, life.settled) if life.lost else life.settled
        charged = life.settled - told + life.idle if life.lost else 0
        if life.settled:
            found.charged[ACME, 7, name] = life.settled
        if charged:
            log.append(swept(name, charged))
        if not life.forgotten:
            leases.append(LeaseRecord(name, told + charged, told + charged, 1, charged))
        spent += told + charged
    return found, record(spent + sum(corrections), *leases), log


@given(LIVES, st.lists(st.integers(-500, 500).filter(bool), max_size=3))
def test_true_books_balance_and_every_charged_lease_is_told_apart(
    lives: list[Lived], corrections: list[int]
) -> None:
    found, account, log = world(lives, corrections)
    (epoch,) = reconcile(found, [account], log)
    assert epoch.balances
    lost = [life for life in lives if life.lost]
    assert epoch.unproven == sum(life.idle for life in lost)
    assert epoch.proven == sum(min(life.untold, life.settled) for life in lost)
    assert epoch.adjusted == sum(corrections)
    assert epoch.unlogged == 0
    parts = epoch.told + epoch.proven + epoch.unproven + epoch.adjusted
    assert epoch.spent == parts


@given(LIVES, st.integers(1, 1000))
def test_money_that_the_store_lost_never_goes_unnoticed(lives: list[Lived], amount: int) -> None:
    found, account, log = world([*lives, Lived(0, 0, 0, lost=False, forgotten=False)], [])
    last = account.leases[-1]
    found.charged[ACME, 7, last.replica] = amount
    (epoch,) = reconcile(found, [account], log)
    assert not epoch.balances
    assert epoch.difference == -amount


@given(LIVES, st.integers(1, 1000))
def test_money_that_no_log_knows_is_at_most_that_of_lost_replicas(
    lives: list[Lived], amount: int
) -> None:
    found, account, log = world(lives, [])
    (true,) = reconcile(found, [account], log)
    (epoch,) = reconcile(found, [replace(account, spent=account.spent + amount)], log)
    beyond = (epoch.unproven, epoch.unlogged, epoch.difference)
    assert sum(beyond) == sum((true.unproven, true.unlogged, true.difference)) + amount
    if not any(life.lost and life.forgotten for life in lives):
        assert epoch.difference == amount


REPLICA = """
import asyncio, random, sys, time
from pathlib import Path
from runtime.audit import AuditLog, AuditSettings, Charge
from runtime.ledger import Scope
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.store import open_store

async def main(store, folder, count, seed):
    draws = random.Random(seed)
    scopes = [Scope("org:acme|nano_usd|total", 10_000_000), Scope("tag:x|nano_usd|total")]
    ledger = LeasedLedger(scopes, open_store(store), exchange_s=0.02, ttl_s=1.0)
    async with ledger:
        log = AuditLog(AuditSettings(folder=Path(folder)), ledger.replica)
        for number in range(count):
            hold = await ledger.admit(f"{seed}-{number}", 1_000)
            call = hold.call(1_000)
            if number % 10 == 0:
                await asyncio.sleep(0)
            call.settle(draws.randrange(1_000))
            hold.close()
            charges = tuple(
                Charge(account.book.scope.name, account.span.start_s, held, charged)
                for account, held, charged in hold.charges()
            )
            log.put(hold.request_id, time.time(), charges)
            if number % 50 == 0:
                await asyncio.sleep(0.01)
                print(number, flush=True)
    log.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


def replica(store: str, folder: Path, count: int, seed: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", REPLICA, store, str(folder), str(count), str(seed)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_real_replicas_on_a_real_store_reconcile_when_one_of_them_was_killed(
    tmp_path: Path,
) -> None:
    store, folder = f"sqlite:///{tmp_path}/ledger.db?synchronous=normal", tmp_path / "audit"
    folder.mkdir()
    with replica(store, folder, 1_000_000, 1) as killed, replica(store, folder, 600, 2) as well:
        assert killed.stdout is not None
        while killed.stdout.readline() != b"300\n":
            pass
        killed.send_signal(signal.SIGKILL)
        well.communicate()
        assert well.returncode == 0
    opened = open_store(store)
    silent = threading.Event()
    while not [entry for entry in await opened.log() if entry.kind is LogKind.SWEPT]:
        await asyncio.to_thread(silent.wait, 0.1)
        with replica(store, folder, 1, 3) as sweeper:
            sweeper.communicate()
    found = read_sums(folder)
    epochs = reconcile(found, await opened.accounts(), await opened.log())
    await opened.close()
    assert not found.unreadable_lines
    limited, counted = epochs
    assert limited.balances, limited
    assert limited.proven + limited.unproven > 0
    parts = limited.told + limited.proven + limited.unproven + limited.unlogged
    assert limited.spent == parts
    # Nothing is leased of a budget that only counts, so what was never told is in the log alone.
    assert [part for part in counted.parts if part.difference > 0] == []
    assert len([part for part in counted.parts if part.difference]) <= 1
