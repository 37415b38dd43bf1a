"""What became of one arm: the checks, and the figures to report."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.never_over import checks
from benchmarks.never_over.arms import Arm
from benchmarks.never_over.books import StoreSaid, check_charges, check_store
from benchmarks.never_over.policy import MAX_TOKENS, NANO_USD_PER_TOKEN
from benchmarks.never_over.records import FAULTS, LEAVES, TWICE
from benchmarks.never_over.refusals import false_refusals
from benchmarks.never_over.run import Run
from benchmarks.never_over.watch import Watch
from benchmarks.never_over.world import MOST_PROMPT_TOKENS, Account
from runtime.audit_sums import read_sums
from runtime.reconciliation import ReconciledEpoch, reconcile


def result_of(run: Run) -> dict[str, Any]:
    """Check a run that has ended, and say what was found."""
    arm, accounts, watch = run.arm, run.world.accounts, run.watch
    asked, bill = checks.read_asked(run.folder / "asked"), checks.read_bill(run.folder / "bill")
    link = checks.linked(asked, checks.read_audit(run.folder / "audit"))
    found = checks.Found()
    checks.check_bill(found, accounts, bill, link, _carried(run))
    check_charges(found, asked, bill, link)
    result: dict[str, Any] = {
        "arm": _said(arm),
        "requests": len(asked),
        "clients": _by_phase(asked, arm),
        "model_server": _faults(bill),
        "global_budget_usd": accounts[0].limit / 1e9,
        "billed_usd": int(bill["nano_usd"].sum()) / 1e9,
        **_harmed(run),
    }
    if watch is not None:
        check_store(found, accounts, bill, StoreSaid(watch.records, watch.kept), link)
        result |= _watched(watch, found) | {"audit": _audit(run, watch, found)}
    if not arm.windows:
        result["false_refusals"] = false_refusals(asked, link, accounts, _bounds())
    return result | found.said()


def _carried(run: Run) -> Mapping[tuple[str, int], int]:
    if run.watch is None:
        return _Most(run.world.accounts)
    return {key: record.carried for key, record in run.watch.records.items()}


def _harmed(run: Run) -> dict[str, Any]:
    harm = run.harm
    events = [f"{at} {what}" for at, what in harm.events] if harm else []
    return {
        "harm": dict(harm.done) if harm else {},
        "events": [*run.events, *events],
        "exits": run.said.get("exits"),
    }


def _watched(watch: Watch, found: checks.Found) -> dict[str, Any]:
    kind = "store: spent + held <= limit, at polls"
    found.checks[kind] = watch.compared
    if watch.broken:
        found.broken[kind] = watch.broken
    polls = {"answered": watch.polls, "failed": watch.failures}
    return {"polls": polls, "above_while_heard": watch.unheard, "course": watch.course}


def _audit(run: Run, watch: Watch, found: checks.Found) -> dict[str, Any]:
    """The books of store and audit log, to the nano-dollar."""
    epochs = reconcile(read_sums(run.folder / "audit"), watch.records.values(), watch.log)
    cut = run.harm is not None and run.harm.done["redis-cut"] > 0
    lost = 0
    for epoch in epochs:
        if "|in_flight" in epoch.account or (epoch.account, epoch.epoch) not in watch.kept:
            continue
        found.checks["audit balances"] += 1
        if epoch.balances:
            continue
        # What a power cut took of the server's last second nobody tells again where its replica
        # has ended meanwhile, or its window; the audit log has it.
        if cut and all(part.difference <= 0 for part in epoch.parts):
            lost += 1
            continue
        found.broken["audit balances"].append(
            f"{epoch.account} {epoch.epoch}: difference {epoch.difference}, spent {epoch.spent}"
        )
    whole = [epoch for epoch in epochs if epoch.account == "global"]
    limit = run.world.accounts[0].limit
    return {
        "swept_epochs": sum(entry.kind == "swept" for entry in watch.log),
        "returned_epochs": sum(entry.kind == "returned" for entry in watch.log),
        "of_the_global_budget": {
            name: round(sum(getattr(epoch, name) for epoch in whole) / limit, 6)
            for name in ("told", "proven", "unproven", "unlogged", "difference")
        },
        "epochs_that_lost_charges_in_power_cuts": lost,
        "stranded_share_of_what_was_charged": _stranded(epochs),
    }


class _Most(dict[tuple[str, int], int]):
    """Without a store nobody says what was inherited: at most all that may be."""

    def __init__(self, accounts: Sequence[Account]) -> None:
        super().__init__()
        self._most = {account.name: account.carry_over for account in accounts}

    def get(self, key: tuple[str, int], default: Any = None) -> Any:  # noqa: ARG002
        return self._most[key[0]]


def _stranded(epochs: Sequence[ReconciledEpoch]) -> float:
    """Of all money charged, what was charged for lost leases and never proven."""
    money = [epoch for epoch in epochs if "nano_usd" in epoch.account or epoch.account == "global"]
    spent = sum(epoch.spent or 0 for epoch in money)
    return round(sum(epoch.unproven for epoch in money) / max(spent, 1), 5)


def _bounds() -> dict[str, int]:
    """Upper bounds of the cheapest strategy for the clients' prompts, by unit."""
    into, out = NANO_USD_PER_TOKEN["small"]
    tokens = MOST_PROMPT_TOKENS + MAX_TOKENS
    return {
        "nano_usd": MOST_PROMPT_TOKENS * into + MAX_TOKENS * out,
        "tokens": tokens,
        "requests": 1,
    }


def _by_phase(asked: checks.Rows, arm: Arm) -> list[dict[str, Any]]:
    rows = []
    for number, (clients, _) in enumerate(arm.phases):
        mine = asked[asked["phase"] == number]
        took_ms = np.maximum(mine["done_us"].astype(np.int64) - mine["sent_us"], 0) / 1000
        refused = mine["budget"] == 1
        good = mine["status"] == 200
        statuses, counts = np.unique(mine["status"], return_counts=True)
        rows.append(
            {
                "clients": clients,
                "requests": len(mine),
                "answered": int(good.sum()),
                "left": int((mine["kind"] == LEAVES).sum()),
                "sent_twice": int((mine["kind"] == TWICE).sum()),
                "refused_by_a_budget": int(refused.sum()),
                "statuses": dict(zip(map(str, statuses.tolist()), counts.tolist(), strict=True)),
                "answer_ms": {} if arm.host_clock else _quantiles(took_ms[good]),
                "refusal_ms": {} if arm.host_clock else _quantiles(took_ms[refused]),
            }
        )
    return rows


def _quantiles(took_ms: Any) -> dict[str, float]:
    if len(took_ms) < 2:
        return {}
    cuts = statistics.quantiles(took_ms.tolist(), n=100)
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "most": round(max(took_ms), 1)}


def _faults(bill: checks.Rows) -> dict[str, int]:
    numbers, counts = np.unique(bill["fault"], return_counts=True)
    return {
        FAULTS[number]: count
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    }


def _said(arm: Arm) -> dict[str, Any]:
    return {name: value for name, value in asdict(arm).items() if name != "phases"}
