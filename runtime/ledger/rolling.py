"""What was charged in the last window, in buckets of a 64th of it.

A bucket counts until its youngest charge has left the window, so every window of that length holds
at most the limit. Charges fall into the bucket of the exchange that tells them; until then they
were held. What is taken away is taken where it was charged, or from the oldest: a younger bucket
would count for longer than the charge that it makes up for.
"""

from __future__ import annotations

from math import floor

from runtime.ledger.records import Epoch, Records, Row

BUCKETS = 64
"""Parts of a window; one more can be counted in part."""


def bucket_at(now_s: float, window_s: int) -> int:
    """The bucket of a moment."""
    return floor(now_s * BUCKETS / window_s)


def counted(buckets: dict[int, int], now_s: float, window_s: int) -> dict[int, int]:
    """The buckets that can hold a charge of the last window; of a clock that stepped back, all."""
    oldest = bucket_at(now_s, window_s) - BUCKETS
    return {bucket: amount for bucket, amount in buckets.items() if bucket >= oldest}


def expire(records: Records, epoch: Epoch, now_s: float) -> None:
    """Drop what has left the window."""
    if epoch.window_s is None:
        return
    buckets = records.buckets(epoch.account)
    kept = counted(buckets, now_s, epoch.window_s)
    for bucket in buckets.keys() - kept.keys():
        records.put_bucket(epoch.account, bucket, 0)
    epoch.spent = sum(kept.values())


def charge(records: Records, epoch: Epoch, amount: int, now_s: float) -> int:
    """Add to what was spent; returns the bucket, 0 where none is needed.

    A rolling window never takes back what a replica told: the charge leaves by itself.
    """
    if epoch.window_s is None:
        epoch.spent += amount
        return 0
    buckets = records.buckets(epoch.account)
    # A clock that steps back must not let a charge leave before those that came earlier.
    bucket = max([bucket_at(now_s, epoch.window_s), *buckets])
    if amount > 0:
        records.put_bucket(epoch.account, bucket, buckets.get(bucket, 0) + amount)
        epoch.spent += amount
    return bucket


def uncharge(records: Records, epoch: Epoch, row: Row) -> None:
    """Take back what was charged for a replica that was lost, where it still counts."""
    if epoch.window_s is None:
        epoch.spent -= row.swept
        return
    there = records.buckets(epoch.account).get(row.swept_bucket, 0)
    records.put_bucket(epoch.account, row.swept_bucket, max(there - row.swept, 0))
    epoch.spent -= min(there, row.swept)


def refund(records: Records, epoch: Epoch, amount: int) -> None:
    """Take from the oldest buckets."""
    for bucket, there in sorted(records.buckets(epoch.account).items()):
        taken = min(there, amount)
        records.put_bucket(epoch.account, bucket, there - taken)
        epoch.spent -= taken
        amount -= taken
