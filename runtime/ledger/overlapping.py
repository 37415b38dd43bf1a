"""Windows of one budget that overlap, as they do where its time zone changed while one of them ran.

Nobody knows when in its window money was spent. So, that no window gets beyond its limit:

- What is granted fits into every window that runs, not only into the one that was asked for.
- Two windows that share more than half of their time are one that was moved: what either has spent
  and holds counts in both.
- Of two that share less, what the one has that was opened last counts in both, and the other one
  grants nothing before that is over.

So what a window had spent before another one of less shared time was opened counts there only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from runtime.ledger.records import Epoch, Records
from runtime.ledger.store import AccountRecord


def is_moved(one: Epoch | AccountRecord, other: Epoch | AccountRecord) -> bool:
    """Whether they share more than half of their time; never where one has no end."""
    shared_s, _, longer_s = _compared(one, other)
    return 2 * shared_s > longer_s


def beside(records: Records, epoch: Epoch) -> list[Epoch]:
    """Other windows of its account and kind that overlap it: a month is another budget."""
    if epoch.ends_s is None:
        return []
    since = epoch.epoch - 2 * (epoch.ends_s - epoch.epoch)
    found = []
    for each in records.between(epoch.account, since, epoch.ends_s):
        shared_s, shorter_s, longer_s = _compared(each, epoch)
        if each.epoch != epoch.epoch and shared_s > 0 and longer_s < 2 * shorter_s:
            found.append(each)
    return found


def is_replaced(epoch: Epoch, others: Iterable[Epoch], now_s: float) -> bool:
    """Whether one was opened after it that is not over and does not count what it grants."""
    return any(
        each.order > epoch.order and not is_moved(each, epoch) and now_s < (each.ends_s or 0)
        for each in others
    )


def counted_elsewhere(epoch: Epoch, others: Iterable[Epoch]) -> int:
    """What others have spent and hold that lies in this window."""
    counted = (each for each in others if _lies_in(epoch, each, epoch.order, each.order))
    return sum(each.spent + each.held for each in counted)


def room(records: Records, epoch: Epoch, others: Sequence[Epoch], now_s: float) -> int:
    """What may still be granted, below 0 where it is over.

    Args:
        records: Of the store.
        epoch: A window that grants, as it is now.
        others: Those `beside` it.
        now_s: The store's clock.
    """
    found = _left(epoch, others)
    for each in others:
        if each.holds(now_s):
            theirs = [it for it in beside(records, each) if it.epoch != epoch.epoch]
            # Of two limits the one that is told now counts, as where no time zone changes.
            found = min(found, _left(replace(each, limit=epoch.limit), [*theirs, epoch]))
    return found


def as_shown(
    records: Iterable[AccountRecord], orders: Mapping[tuple[str, int], int]
) -> Iterator[AccountRecord]:
    """Less of what they inherited, by what lies in them and stands in another window.

    Args:
        records: By account and epoch.
        orders: `Epoch.order` by account and epoch.
    """
    for account, windows in groupby(records, key=attrgetter("account")):
        epochs = list(windows)
        beyond = [0] * len(epochs)
        for index, one in enumerate(epochs):
            for place, other in enumerate(epochs[index + 1 :], index + 1):
                if one.ends_s is None or other.epoch >= one.ends_s:
                    break
                order, theirs = orders[account, one.epoch], orders[account, other.epoch]
                beyond[index] += (other.spent + other.held) * _lies_in(one, other, order, theirs)
                beyond[place] += (one.spent + one.held) * _lies_in(other, one, theirs, order)
        for one, amount in zip(epochs, beyond, strict=True):
            yield replace(one, carried=one.carried - amount)


def latest_of(records: Iterable[AccountRecord]) -> Iterator[AccountRecord]:
    """Of every account its last epoch.

    Args:
        records: By account and epoch.
    """
    for _, epochs in groupby(records, key=attrgetter("account")):
        *_, last = epochs
        yield last


def _left(epoch: Epoch, others: Iterable[Epoch]) -> int:
    """Of a window that runs: less what others have got since it was opened, moved ones before."""
    counted = (each for each in others if each.order > epoch.order or is_moved(each, epoch))
    return epoch.left() - sum(each.spent + each.held for each in counted)


def _lies_in(
    window: Epoch | AccountRecord, other: Epoch | AccountRecord, order: int, theirs: int
) -> bool:
    """Whether all that the other one has spent counts here for good."""
    shared_s, shorter_s, longer_s = _compared(window, other)
    if shared_s <= 0 or longer_s >= 2 * shorter_s:
        return False
    ends_here = (other.ends_s or 0) <= (window.ends_s or 0)
    return 2 * shared_s > longer_s or (theirs > order and ends_here)


def _compared(one: Epoch | AccountRecord, other: Epoch | AccountRecord) -> tuple[int, int, int]:
    """Shared time, the shorter length and the longer one, seconds; 0 where one has no end."""
    if one.ends_s is None or other.ends_s is None:
        return 0, 0, 0
    lengths = one.ends_s - one.epoch, other.ends_s - other.epoch
    shared_s = min(one.ends_s, other.ends_s) - max(one.epoch, other.epoch)
    return shared_s, min(lengths), max(lengths)
