"""Refusals that nobody had to suffer: what was really left would have held the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.never_over.checks import MICRO, Linked, Rows
from benchmarks.never_over.world import Account


def false_refusals(
    asked: Rows, link: Linked, accounts: Sequence[Account], bound: Mapping[str, int]
) -> dict[str, Any]:
    """Requests that a budget refused though their bound would have fitted what was really left.

    What is left of an account is its limit less what was charged until then and what requests that
    were at work held. Only for accounts without an end, in a run without faults.
    """
    refused = asked[(asked["budget"] == 1)]
    timelines = {account.name: _timeline(account, asked, link) for account in accounts}
    false = 0
    for row in refused:
        moment = int(row["done_us"])
        fits = all(
            _left_at(account, timelines[account.name], int(row["sent_us"]), moment)
            >= bound[account.unit]
            for account in accounts
            if account.unit in bound and _concerns(account, row)
        )
        false += fits
    answered = int((asked["status"] == 200).sum())
    total = len(asked)
    return {
        "requests": total,
        "answered": answered,
        "refused": len(refused),
        "refused_share": round(len(refused) / max(total, 1), 5),
        "false_refusals": int(false),
        "false_refusal_share": round(false / max(total, 1), 5),
    }


def _concerns(account: Account, row: Any) -> bool:
    return (
        int(row["key"]) in account.keys
        and account.user in (None, int(row["user"]))
        and account.class_index in (None, int(row["class_index"]))
    )


def _timeline(
    account: Account, asked: Rows, link: Linked
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Moments, and what is used from each on."""
    known = asked[asked["id"] != b""]
    began = dict(zip(known["id"].tolist(), known["sent_us"].tolist(), strict=True))
    moments: list[int] = []
    steps: list[int] = []
    for request, entry in link.entries.items():
        end = int(entry.time_s * MICRO)
        for name, _, held, charged in entry.charges:
            if name == account.name:
                moments += [began.get(request.encode(), end), end]
                steps += [held, charged - held]
    order = np.argsort(np.array(moments, np.int64), kind="stable")
    return np.array(moments, np.int64)[order], np.cumsum(np.array(steps, np.int64)[order])


def _left_at(
    account: Account,
    timeline: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    begin_us: int,
    end_us: int,
) -> int:
    """The least that was left in the time in which a request was refused."""
    moments, used = timeline
    first, last = np.searchsorted(moments, (begin_us, end_us), "right")
    window = used[max(first - 1, 0) : max(last, first)]
    return account.limit - (int(window.max()) if len(window) else 0)
