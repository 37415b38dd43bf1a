"""How accounts stand, from a store or from a gateway, and as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from app.cli.ledger.amounts import amount_text, scope_of, unit_of, unit_text
from app.cli.markdown import Written
from app.cli.options import share
from runtime.ledger.outlook import Outlook, Projection, projected
from runtime.ledger.windows import Span

if TYPE_CHECKING:
    from runtime.ledger import Unit
    from runtime.ledger.store import AccountRecord, LeaseRecord, LogEntry

ACCOUNT_HEAD = (
    "account", "unit", "limit", "carried", "spent", "held", "remaining", "spent of limit",
    "runs out", "requests", "replicas", "since", "until",
)  # fmt: skip
LEASE_HEAD = ("account", "since", "replica", "leased", "spent", "free", "requests", "swept")
LOG_HEAD = ("at", "what", "account", "since", "amount", "unit", "replica", "reason")


@dataclass(frozen=True, slots=True)
class Standing:
    """One epoch of an account. Amounts are in its unit.

    Attributes:
        account: Its name.
        unit: What it counts; None where its name does not say.
        epoch: Start of its window, Unix seconds; 0 for `total` and rolling ones.
        ends_s: Its end, None where it has none.
        window_s: Length of a rolling window; None for others, and where nobody said.
        limit: None without one.
        carried: Inherited; None where the limit has it already.
        spent: Charged.
        held: Reserved by requests in flight, or leased by replicas and not spent.
        remaining: Limit and inheritance less both; below 0, so much is spent beyond.
        requests: Holds granted.
        is_current: Its window is the running one.
        leases: By replica; None where nobody said.
        projection: What becomes of it, if it goes on as it went so far.
    """

    account: str
    unit: Unit | None
    epoch: int
    ends_s: int | None
    window_s: int | None
    limit: int | None
    carried: int | None
    spent: int
    held: int
    remaining: int | None
    requests: int
    is_current: bool
    leases: tuple[LeaseRecord, ...] | None
    projection: Projection

    @property
    def share_spent(self) -> float | None:
        """Of limit and inheritance; None where both are nothing."""
        most = (self.limit or 0) + (self.carried or 0)
        return self.spent / most if most else None


def standing(record: AccountRecord, now_s: float) -> Standing:
    """An epoch of the store's at a moment of its clock."""
    remaining = most = None
    if record.limit is not None:
        most = record.limit + record.carried
        remaining = most - record.spent - record.held
    span = Span(record.epoch, record.ends_s)
    return Standing(
        account=record.account,
        unit=unit_of(record.account),
        epoch=record.epoch,
        ends_s=record.ends_s,
        window_s=record.window_s,
        limit=record.limit,
        carried=record.carried,
        spent=record.spent,
        held=record.held,
        remaining=remaining,
        requests=record.requests,
        is_current=span.holds(now_s),
        leases=record.leases,
        projection=projected(most, record.spent, span, now_s),
    )


def matches(account: str, pattern: str | None) -> bool:
    """Whether its name or its scope has this pattern, as a shell has them; all have none."""
    return pattern is None or any(
        fnmatchcase(name, pattern) for name in (account, scope_of(account))
    )


def by_tree(one: Standing) -> tuple[list[str], str, int]:
    """Sorts an organisation before its teams."""
    return scope_of(one.account).split("/"), one.account, one.epoch


def accounts_table(found: Sequence[Standing], written: Written) -> str:
    """One line for each."""
    return written((account_row(one) for one in found), ACCOUNT_HEAD)


def telling_leases(one: Standing) -> list[LeaseRecord]:
    """Leases that hold something, and those of lost replicas."""
    return [lease for lease in one.leases or () if lease.leased > lease.spent or lease.swept]


def leases_table(found: Iterable[Standing], written: Written) -> str | None:
    """One line for each of `telling_leases`; None where there are none."""
    rows = [lease_row(one, lease) for one in found for lease in telling_leases(one)]
    return written(rows, LEASE_HEAD) if rows else None


def log_table(log: Iterable[LogEntry], written: Written) -> str:
    """One line for each entry, in order."""
    rows = [
        (
            moment(entry.at_s),
            entry.kind.value,
            entry.account,
            since(entry.epoch),
            amount_text(entry.amount, unit_of(entry.account)),
            unit_text(unit_of(entry.account)),
            entry.replica or "-",
            entry.reason,
        )
        for entry in log
    ]
    return written(rows, LOG_HEAD)


def moment(time_s: float) -> str:
    """A time of the store's clock, to the second."""
    try:
        found = datetime.fromtimestamp(time_s, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_s:.0f}"
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


def runs_out(found: Projection) -> str:
    """When nothing will be left, or that it is so now or never; a dash where nobody can say."""
    if found.runs_out_s is not None:
        return moment(found.runs_out_s)
    return "-" if found.outlook is Outlook.UNKNOWN else found.outlook.value


def since(epoch: int) -> str:
    """When a window began; a dash for one that has no beginning."""
    return moment(epoch) if epoch else "-"


def account_row(one: Standing) -> tuple[object, ...]:
    """Its cells under `ACCOUNT_HEAD`."""
    until = "-" if one.ends_s is None else moment(one.ends_s)
    if one.window_s is not None:
        until = f"rolling {one.window_s:,} s"
    return (
        one.account,
        unit_text(one.unit),
        amount_text(one.limit, one.unit),
        amount_text(one.carried, one.unit),
        amount_text(one.spent, one.unit),
        amount_text(one.held, one.unit),
        amount_text(one.remaining, one.unit),
        share(one.share_spent),
        runs_out(one.projection),
        f"{one.requests:,}",
        "-" if one.leases is None else len(one.leases),
        since(one.epoch),
        until if one.is_current else f"{until}, over",
    )


def lease_row(one: Standing, lease: LeaseRecord) -> tuple[object, ...]:
    """Its cells under `LEASE_HEAD`."""
    amounts = lease.leased, lease.spent, lease.leased - lease.spent
    return (
        one.account,
        since(one.epoch),
        lease.replica,
        *(amount_text(amount, one.unit) for amount in amounts),
        f"{lease.requests:,}",
        amount_text(lease.swept, one.unit),
    )
