"""What must hold after a run: the upstream's bill against budgets, store and audit.

The bill is the upstream's own; `ACCOUNTS` say whose each line is. A line belongs to the calendar
window in which the gateway held its money: it is certain where the client had not sent the request
before that window and the upstream received it within; the audit log settles the rest, and what
stays open (a replica was killed at a border) is counted for neither.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.never_over.records import ASKED, FREE, HANG, LINE
from benchmarks.never_over.world import Account
from planner.spec import Window
from runtime.ledger.windows import span

Rows: TypeAlias = npt.NDArray[Any]
MICRO = 1_000_000
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_DISTANT = 2**62


class _Entry(msgspec.Struct, gc=False):
    request: str
    time_s: float
    charges: tuple[tuple[str, int, int, int], ...]


_entry = msgspec.json.Decoder(_Entry)


def read_audit(folder: Path) -> dict[str, _Entry]:
    """All entries by request; lines that a kill cut off are left out."""
    found = {}
    for file in sorted(folder.glob("*.jsonl")):
        with file.open("rb") as lines:
            for line in lines:
                try:
                    entry = _entry.decode(line)
                except ValueError:  # of msgspec
                    continue
                found[entry.request] = entry
    return found


def read_bill(path: Path) -> Rows:
    """The upstream's lines."""
    return np.fromfile(path, LINE)


def read_asked(path: Path) -> Rows:
    """The clients' records."""
    return np.fromfile(path, ASKED)


def of(account: Account, bill: Rows) -> Rows:
    """Lines of the bill that an account is about."""
    mine = np.isin(bill["key"], sorted(account.keys))
    if account.user is not None:
        mine &= bill["user"] == account.user
    if account.class_index is not None:
        mine &= bill["class_index"] == account.class_index
    return bill[mine]


def amounts(account: Account, bill: Rows) -> npt.NDArray[np.int64]:
    """What each line takes of it, but for admitted requests and those at work."""
    return bill[account.unit].astype(np.int64)


@dataclass(slots=True)
class Found:
    """What was checked, and what was wrong.

    Attributes:
        checks: How many comparisons were made, by kind.
        broken: What was wrong, by kind: the worst first.
        figures: Numbers to report.
    """

    checks: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    figures: dict[str, Any] = field(default_factory=dict)

    def at_most(self, kind: str, what: str, found: int, limit: int) -> None:
        """One comparison."""
        self.checks[kind] += 1
        if found > limit:
            self.broken[kind].append(f"{what}: {found} of {limit} ({found / max(limit, 1):.4f})")

    def said(self) -> dict[str, Any]:
        """For the result's file."""
        return {
            "checks": dict(self.checks),
            "broken": {kind: [len(them), *them[:5]] for kind, them in self.broken.items()},
            **self.figures,
        }


def epoch_of(account: Account, at_us: int) -> int:
    """The calendar window of a moment."""
    return span(Window(account.window), at_us / MICRO, account.timezone).start_s


def epochs_of(account: Account, at_us: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Likewise of many."""
    if account.window in _SECONDS:
        length = _SECONDS[account.window]
        seconds = (at_us // MICRO).astype(np.int64)
        return seconds - seconds % length
    if account.window == "total" or not len(at_us):
        return np.zeros(len(at_us), np.int64)
    known: dict[int, int] = {}
    hours = (at_us // (MICRO * 900)).astype(np.int64)  # no zone changes within a quarter
    for quarter in np.unique(hours):
        known[int(quarter)] = epoch_of(account, int(quarter) * 900 * MICRO)
    return np.array([known[int(quarter)] for quarter in hours], np.int64)


def requests_of(bill: Rows) -> Rows:
    """The first line of each request that was admitted, as many as admitted requests at least."""
    order = np.argsort(bill["received_us"], kind="stable")
    _, first = np.unique(bill["request"][order], return_index=True)
    return bill[order][np.sort(first)]


@dataclass(slots=True)
class Linked:
    """How bill, clients and audit belong together.

    Attributes:
        entries: Of the audit log, by the gateway's id.
        by_request: Ids by number of the request; those that were sent twice have two.
    """

    entries: Mapping[str, _Entry]
    by_request: Mapping[int, list[str]]


def linked(asked: Rows, entries: Mapping[str, _Entry]) -> Linked:
    """Link by what clients were told; those who left were told nothing."""
    known = asked[asked["id"] != b""]
    found: dict[int, list[str]] = defaultdict(list)
    for number, name in zip(known["request"].tolist(), known["id"].tolist(), strict=True):
        found[number].append(name.decode())
    return Linked(entries, found)


def check_bill(
    found: Found,
    accounts: Sequence[Account],
    bill: Rows,
    link: Linked,
    carried: Mapping[tuple[str, int], int],
    *,
    rolls: bool = True,
) -> None:
    """The upstream's bill is at most the budget, in every window of every scope."""
    paid = bill[~np.isin(bill["fault"], sorted(FREE))]
    worst: dict[str, float] = {}
    for account in accounts:
        mine = of(account, bill if account.unit == "requests" else paid)
        if account.unit == "in_flight":
            most = _most_at_once(mine[mine["fault"] != HANG])
            found.at_most("in flight", account.name, most, account.limit)
            continue
        if account.unit == "requests":
            mine = requests_of(mine)
        worth = (
            np.ones(len(mine), np.int64) if account.unit == "requests" else amounts(account, mine)
        )
        if account.rolling:
            if not rolls:
                continue
            length = _SECONDS[account.window] * MICRO
            if (
                account.unit == "requests"
            ):  # they count as they are admitted, not as they are billed
                most = _most_surely_within(mine, length)
                found.at_most("rolling window, admitted", account.name, most, account.limit)
                continue
            for when in ("received_us", "ends_us"):
                most = most_in_window(mine[when].astype(np.int64), worth, length)
                kind = f"rolling window, by {when.removesuffix('_us')}"
                found.at_most(kind, account.name, most, account.limit)
                worst[kind] = max(worst.get(kind, 0.0), most / account.limit)
            continue
        kind = "total" if account.window == "total" else "calendar window"
        for epoch, most in _by_epoch(account, mine, worth, link).items():
            limit = account.limit + carried.get((account.name, epoch), 0)
            found.at_most(kind, f"{account.name} {epoch}", most, limit)
            worst[kind] = max(worst.get(kind, 0.0), most / limit)
    found.figures["most_of_a_budget_that_was_billed"] = {
        kind: round(share, 4) for kind, share in worst.items()
    }


def _by_epoch(
    account: Account, mine: Rows, worth: npt.NDArray[np.int64], link: Linked
) -> dict[int, int]:
    sent, received = (epochs_of(account, mine[name]) for name in ("sent_us", "received_us"))
    certain = sent == received
    sums: dict[int, int] = defaultdict(int)
    for epoch in np.unique(sent[certain]):
        sums[int(epoch)] = int(worth[certain & (sent == epoch)].sum())
    for place in np.flatnonzero(~certain):
        epochs = _audited(account, int(mine["request"][place]), link)
        if len(epochs) == 1:
            sums[epochs.pop()] += int(worth[place])
    return sums


def _audited(account: Account, number: int, link: Linked) -> set[int]:
    names = link.by_request.get(number, [])
    return {
        charge[1]
        for name in names
        if name in link.entries
        for charge in link.entries[name].charges
        if charge[0] == account.name
    }


def most_in_window(
    at_us: npt.NDArray[np.int64], worth: npt.NDArray[np.int64], length_us: int
) -> int:
    """The most in any half-open window of a length."""
    if not len(at_us):
        return 0
    order = np.argsort(at_us, kind="stable")
    at_us, worth = at_us[order], worth[order]
    sums = np.concatenate(([0], np.cumsum(worth)))
    first = np.searchsorted(at_us, at_us, "left")
    after = np.searchsorted(at_us, at_us + length_us, "left")
    return int((sums[after] - sums[first]).max())


def _most_surely_within(mine: Rows, length_us: int) -> int:
    """The most requests that were sent and received within one window, so admitted in it."""
    mine = mine[np.argsort(mine["sent_us"], kind="stable")]
    sent, received = mine["sent_us"].astype(np.int64), mine["received_us"].astype(np.int64)
    after = np.searchsorted(sent, sent + length_us, "left")
    most = 0
    for first, last in enumerate(after.tolist()):
        if last - first > most:
            most = max(most, int((received[first:last] < sent[first] + length_us).sum()))
    return most


def _most_at_once(mine: Rows) -> int:
    """Requests that the upstream had at one time, each from its first call to its last reply."""
    if not len(mine):
        return 0
    order = np.argsort(mine["request"], kind="stable")
    mine = mine[order]
    numbers, starts = np.unique(mine["request"], return_index=True)
    del numbers
    begins = np.minimum.reduceat(mine["received_us"], starts).astype(np.int64)
    ends = np.maximum.reduceat(mine["ends_us"], starts).astype(np.int64)
    moments = np.concatenate((begins, ends))
    steps = np.concatenate((np.ones(len(begins), np.int64), -np.ones(len(ends), np.int64)))
    # who ends at a moment is gone before the next begins
    order = np.lexsort((steps, moments))
    return int(np.cumsum(steps[order]).max())


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """A result's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
