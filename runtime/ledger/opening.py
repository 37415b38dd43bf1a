"""When a window is opened, what it inherits, and whether it grants."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.ledger.overlapping import beside, is_moved, is_replaced, room
from runtime.ledger.records import Epoch, Records
from runtime.ledger.store import Truth

KEPT_EPOCHS = 60
"""An epoch that ended is kept for so many times its length."""


def opens(records: Records, epoch: Epoch, others: Sequence[Epoch], now_s: float) -> bool:
    """Whether it is opened now."""
    return not epoch.order and _is_current(records, epoch, others, now_s)


def grants(records: Records, epoch: Epoch, others: Sequence[Epoch], now_s: float) -> bool:
    """Whether it is open, and the one that grants among those that run."""
    is_current = epoch.order > 0 and _is_current(records, epoch, others, now_s)
    return is_current and not is_replaced(epoch, others, now_s)


def _is_current(records: Records, epoch: Epoch, others: Sequence[Epoch], now_s: float) -> bool:
    """Whether it runs, and no window began after its end: a clock may have stepped back."""
    newest = records.newest(epoch.account)
    is_last = newest is None or epoch.epoch >= newest
    return epoch.holds(now_s) and (is_last or any(each.epoch == newest for each in others))


def open_epoch(
    records: Records, epoch: Epoch, others: Sequence[Epoch], truth: Truth, now_s: float
) -> None:
    """It inherits from the epoch that ended as it began, or what the one has that it continues."""
    epoch.order = 1 + max((each.order for each in others), default=0)
    moved = [each.carried for each in others if is_moved(each, epoch)]
    if moved:
        epoch.carried = min(truth.carry_over, max(moved))
    else:
        epoch.carried = min(truth.carry_over, max(_left_before(records, epoch, now_s), 0))
    newest = records.newest(epoch.account)
    records.put_newest(epoch.account, max(epoch.epoch, newest or 0))
    for past in records.past(epoch.account, epoch.epoch):
        if past.ends_s is None or past.held:
            continue
        if past.ends_s + KEPT_EPOCHS * (past.ends_s - past.epoch) <= now_s:
            records.drop_epoch(past.account, past.epoch)


def _left_before(records: Records, epoch: Epoch, now_s: float) -> int:
    """What the window left that ended as this one began; of one that was never opened nothing."""
    number = records.newest(epoch.account)
    newest = None if number is None else records.epoch(epoch.account, number)
    if newest is None:
        return 0
    for before in (newest, *beside(records, newest)):
        of_now = before is newest or is_moved(before, newest)
        if of_now and before.ends_s == epoch.epoch and before.limit is not None:
            return room(records, before, beside(records, before), now_s)
    return 0
