"""What an exchange does: believe the replica, then grant. `redis_exchange.lua` does the same.

For every epoch that grants, after every exchange: ``spent + held <= limit + carried``, unless a
replica told more than it was granted. Only the store's own clock opens an epoch, so a replica whose
clock is wrong opens none early, and a clock that steps back opens none twice.
"""

from __future__ import annotations

import math

from profiles.errors import InputError
from runtime.ledger.opening import grants, open_epoch, opens
from runtime.ledger.overlapping import beside, counted_elsewhere, room
from runtime.ledger.records import Epoch, Records, Replica, Row, State
from runtime.ledger.rolling import charge, expire, refund, uncharge
from runtime.ledger.store import Exchange, Given, LogEntry, LogKind, StaleExchangeError, Truth

PRESSED_S = 2.0
"""For so long after a refusal every replica is asked to give back what lies idle."""
KEPT_S = 86_400
"""A replica that ended is remembered for so long, so that what it said late changes nothing."""
SHARES = 4
"""Beside what is short, a replica gets at most this part of its equal share."""


def check(exchange: Exchange, largest: int) -> None:
    """Refuse what no replica should say.

    Args:
        exchange: What is said.
        largest: Most that the store counts.

    Raises:
        InputError: A rule of `Exchange` or `Truth` is broken.
    """
    if not exchange.replica or not 0 < exchange.number <= largest:
        _refuse("an exchange needs a replica and a number above 0", exchange, str(exchange.number))
    if not (math.isfinite(exchange.ttl_s) and exchange.ttl_s > 0):
        _refuse("ttl_s is a time above 0", exchange, str(exchange.ttl_s))
    seen = set()
    for truth in exchange.truths:
        if (truth.account, truth.epoch) in seen:
            _refuse("an epoch is told twice", exchange, f"{truth.account} {truth.epoch}")
        seen.add((truth.account, truth.epoch))
        _check_truth(truth, exchange, largest)


def _check_truth(truth: Truth, exchange: Exchange, largest: int) -> None:
    amounts = {
        "limit": (truth.limit or 0) + truth.carry_over,
        "carry_over": truth.carry_over,
        "leased": truth.leased,
        "spent": truth.spent,
        "requests": truth.requests,
        "short": truth.short,
        "wish": truth.wish,
    }
    for name, amount in amounts.items():
        if not 0 <= amount <= largest:
            where = f"{truth.account}: {name}"
            raise InputError(
                "the ledger store cannot count this",
                where=where,
                expected=f"0 to {largest}",
                got=str(amount),
            )
    spans = truth.ends_s is None or truth.ends_s > truth.epoch
    rolls = truth.window_s is None or (truth.window_s > 0 and not truth.epoch and not truth.ends_s)
    if not (truth.account and spans and rolls and truth.epoch >= 0):
        _refuse("this is no account's span", exchange, f"{truth.account!r} {truth.epoch}")


def _refuse(what: str, exchange: Exchange, got: str) -> None:
    raise InputError(what, where=f"exchange of replica {exchange.replica!r}", got=got)


def perform(records: Records, exchange: Exchange, now_s: float) -> tuple[Given, ...]:
    """Do one exchange.

    Args:
        records: Of the store, in a transaction that is dropped where this raises.
        exchange: As `check` passed it.
        now_s: The store's clock.

    Raises:
        StaleExchangeError: The replica has exchanged under this number or a later one.
    """
    known = records.replica(exchange.replica)
    if known is not None and exchange.number <= known.number:
        raise StaleExchangeError(
            f"exchange {exchange.number} of replica {exchange.replica} comes after its exchange "
            f"{known.number}"
        )
    _clear(records, exchange, now_s)
    state = State.CLOSED if exchange.closing else State.LIVE
    due_s = now_s + (KEPT_S if exchange.closing else exchange.ttl_s)
    records.put_replica(Replica(exchange.replica, exchange.number, exchange.ttl_s, state, due_s))
    live = max(records.live(), 1)
    given = tuple(_hear(records, exchange, truth, live, now_s) for truth in exchange.truths)
    if exchange.closing:
        # Nobody vouches for what the last exchange did not tell.
        _charge_rows(records, exchange.replica, now_s, "closed without a word on it")
    return given


def _clear(records: Records, exchange: Exchange, now_s: float) -> None:
    """Sweep who was not heard of, forget who ended long ago."""
    heard = records.heard()
    # Where the store itself was away, silence proves nothing.
    was_away = heard is None or abs(now_s - heard[0]) > exchange.ttl_s
    awake_s = now_s if heard is None or was_away else heard[1]
    records.put_heard(now_s, awake_s)
    for replica in records.due(now_s):
        if replica.name == exchange.replica:
            continue
        if replica.state is not State.LIVE:
            records.forget(replica.name)
        elif now_s - awake_s > replica.ttl_s:
            replica.state, replica.due_s = State.SWEPT, now_s + KEPT_S
            records.put_replica(replica)
            _charge_rows(records, replica.name, now_s, f"not heard of for {replica.ttl_s:g} s")


def _charge_rows(records: Records, replica: str, now_s: float, reason: str) -> None:
    """Charge what a replica holds, in the accounts of its own rows."""
    for row in records.rows(replica):
        epoch = records.epoch(row.account, row.epoch)
        if epoch is None or not row.held:
            continue
        expire(records, epoch, now_s)
        amount = row.held
        epoch.held -= amount
        kind = LogKind.LAPSED if epoch.lapses else LogKind.SWEPT
        if epoch.lapses:
            row.leased = row.spent
        else:
            row.swept_bucket = charge(records, epoch, amount, now_s)
            row.spent, row.swept = row.leased, amount
        records.put_row(row)
        records.put_epoch(epoch)
        records.add_log(LogEntry(now_s, kind, row.account, row.epoch, amount, replica, reason))


def _hear(records: Records, exchange: Exchange, truth: Truth, live: int, now_s: float) -> Given:
    """Believe one truth, and grant what it asks."""
    found = records.epoch(truth.account, truth.epoch)
    epoch = found or Epoch(
        truth.account, truth.epoch, truth.ends_s, truth.window_s, truth.limit, truth.lapses
    )
    others = beside(records, epoch)
    is_opening = opens(records, epoch, others, now_s)
    if found is None and not (truth.leased or truth.spent or is_opening):
        return Given(truth.account, truth.epoch, 0, _nothing(truth), 0, 0, 0, 0, pressed=False)
    epoch.limit, epoch.lapses = truth.limit, truth.lapses
    expire(records, epoch, now_s)
    if is_opening:
        open_epoch(records, epoch, others, truth, now_s)
    row = records.row(exchange.replica, truth.account, truth.epoch)
    row = row or Row(exchange.replica, truth.account, truth.epoch)
    lacks = _believe(records, epoch, row, truth, now_s)
    if exchange.closing:
        epoch.held -= row.held
        row.leased = row.spent
    left = room(records, epoch, others, now_s) if grants(records, epoch, others, now_s) else None
    if left is not None and not exchange.closing and lacks > 0 and epoch.limit is not None:
        amount = _granted(left, lacks, min(truth.wish, left // (SHARES * live)))
        row.leased += amount
        epoch.held += amount
        left -= amount
        if amount < lacks:
            epoch.pressed_at_s = now_s
    records.put_row(row)
    records.put_epoch(epoch)
    return Given(
        account=epoch.account,
        epoch=epoch.epoch,
        leased=row.leased,
        remaining=None if epoch.limit is None else max(left or 0, 0),
        spent=epoch.spent,
        held=epoch.held,
        requests=epoch.requests,
        carried=epoch.carried - counted_elsewhere(epoch, others),
        pressed=abs(now_s - epoch.pressed_at_s) < PRESSED_S,
    )


def _nothing(truth: Truth) -> int | None:
    return None if truth.limit is None else 0


def _believe(records: Records, epoch: Epoch, row: Row, truth: Truth, now_s: float) -> int:
    """Take what the replica says; returns what its requests lack beyond what it overspent."""
    if row.swept:
        uncharge(records, epoch, row)
        reason = "the replica is back"
        records.add_log(
            LogEntry(
                now_s,
                LogKind.RETURNED,
                row.account,
                row.epoch,
                -row.swept,
                row.replica,
                reason,
            )
        )
        row.leased, row.spent, row.swept = row.spent, row.spent - row.swept, 0
        epoch.held += row.held
    charge(records, epoch, truth.spent - row.spent, now_s)
    epoch.requests += truth.requests - row.requests
    leased = max(truth.leased, truth.spent)
    epoch.held += leased - truth.spent - row.held
    row.leased, row.spent, row.requests = leased, truth.spent, truth.requests
    return truth.short - (leased - truth.leased)


def _granted(left: int, lacks: int, ahead: int) -> int:
    """Less than is lacked helps nobody: several replicas would sit on parts of one request."""
    return max(lacks, ahead) if lacks <= left else 0


def correct(
    records: Records, account: str, epoch: int, amount: int, *, reason: str, now_s: float
) -> None:
    """Add an operator's correction to what was spent.

    Raises:
        InputError: As for `Store.adjust`.
    """
    found = records.epoch(account, epoch)
    if found is None:
        raise no_such_epoch(account, epoch)
    expire(records, found, now_s)
    if found.window_s is not None and amount < -found.spent:
        raise too_much(account, found.spent, amount)
    if found.window_s is not None and amount < 0:
        refund(records, found, -amount)
    else:
        charge(records, found, amount, now_s)
    records.put_epoch(found)
    records.add_log(LogEntry(now_s, LogKind.ADJUSTED, account, epoch, amount, None, reason))


def check_correction(account: str, amount: int, reason: str, largest: int) -> None:
    """Refuse a correction without an amount or a reason."""
    if not amount or abs(amount) > largest or not reason.strip():
        raise InputError(
            "a correction needs an amount and a reason",
            where=f"account {account!r}",
            expected=f"an amount of at most {largest} but not 0, and words",
            got=f"{amount} {reason!r}",
        )


def no_such_epoch(account: str, epoch: int) -> InputError:
    """The error of a correction of what is not there."""
    return InputError(
        "the ledger store has no such account and epoch",
        where=f"account {account!r}",
        got=f"epoch {epoch}",
        next_step="inferbudget ledger show lists them",
    )


def too_much(account: str, spent: int, amount: int) -> InputError:
    """The error of a correction that takes more than there is."""
    return InputError(
        "a rolling window gives back at most what was charged in it",
        where=f"account {account!r}",
        expected=f"at least {-spent}",
        got=str(amount),
    )
