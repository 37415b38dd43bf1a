"""The bill against what was charged: in the store, and request by request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.never_over.checks import Found, Linked, Rows, amounts, of, requests_of
from benchmarks.never_over.records import FREE
from benchmarks.never_over.world import Account
from runtime.ledger.store import AccountRecord


def _audited_sums(link: Linked) -> dict[tuple[str, int], int]:
    sums: dict[tuple[str, int], int] = defaultdict(int)
    for entry in link.entries.values():
        for account, epoch, _, charged in entry.charges:
            sums[account, epoch] += charged
    return sums


@dataclass(frozen=True, slots=True)
class StoreSaid:
    """What the store said.

    Attributes:
        records: The last that was seen of every epoch.
        kept: Epochs that were seen at the very end; of others the store has forgotten what came
            last, and the audit log says it.
    """

    records: Mapping[tuple[str, int], AccountRecord]
    kept: Set[tuple[str, int]]

    def spent(self, audited: Mapping[tuple[str, int], int]) -> dict[str, int]:
        """Charged by account, over all that it ever was."""
        sums: dict[str, int] = defaultdict(int)
        for key, record in self.records.items():
            told = sum(lease.spent for lease in record.leases)
            last = told if record.window_s is not None else record.spent
            sums[record.account] += last if key in self.kept else max(last, audited.get(key, 0))
        for key in audited.keys() - self.records.keys():
            sums[key[0]] += audited[key]
        return sums


def check_store(
    found: Found, accounts: Sequence[Account], bill: Rows, said: StoreSaid, link: Linked
) -> None:
    """Nothing was billed that was not charged; nothing is held any more."""
    paid = bill[~np.isin(bill["fault"], sorted(FREE))]
    spent = said.spent(_audited_sums(link))
    for key, record in said.records.items():
        if key in said.kept:
            what = f"{record.account} {record.epoch}"
            found.at_most("held after the run", what, record.held, 0)
        if record.limit is not None:
            limit = record.limit + record.carried
            found.at_most("store: spent <= limit", f"{record.account}", record.spent, limit)
    for account in accounts:
        if account.unit == "in_flight":
            continue
        mine = of(account, bill if account.unit == "requests" else paid)
        billed = (
            len(requests_of(mine))
            if account.unit == "requests"
            else int(amounts(account, mine).sum())
        )
        found.at_most(
            "bill <= charged in the store", account.name, billed, spent.get(account.name, 0)
        )


def check_charges(found: Found, asked: Rows, bill: Rows, link: Linked) -> None:
    """No request was billed more than its gateway charged, request by request."""
    order = np.argsort(bill["request"], kind="stable")
    numbers, starts = np.unique(bill["request"][order], return_index=True)
    sums: dict[str, Any] = {
        name: np.add.reduceat(bill[name][order].astype(np.int64), starts) if len(starts) else []
        for name in ("nano_usd", "tokens")
    }
    sendings = dict(
        zip(*map(np.ndarray.tolist, np.unique(asked["request"], return_counts=True)), strict=True)
    )
    covered = 0
    for place, number in enumerate(numbers.tolist()):
        names = link.by_request.get(number, [])
        entries = [link.entries[name] for name in names if name in link.entries]
        if len(entries) != sendings.get(number, 1):
            continue  # a client who left, or a replica that was killed
        charged = sum(
            charge[3] for entry in entries for charge in entry.charges if charge[0] == "global"
        )
        covered += 1
        found.at_most("request: bill <= charge", f"{number}", int(sums["nano_usd"][place]), charged)
    found.figures["requests_linked_to_their_charge"] = covered
    found.figures["requests_billed"] = len(numbers)
