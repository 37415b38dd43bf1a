"""The shared store: where several processes lease parts of the same budgets.

A replica, one gateway process, exchanges with the store, one exchange at a time: it tells its whole
truth of some accounts, the store believes it, then grants. All amounts are cumulative and every
exchange is numbered, so a retry or a lost reply never counts twice, and a store that lost what it
heard last is healed by the next exchange.

What a replica must keep to, so that no limit is ever passed:

- Its name is drawn anew in every process: two processes under one name overwrite each other.
- What an exchange gives back is given back when it is sent, whatever becomes of the reply.
- A grant counts only if the reply to the latest exchange brought it.
- What it leases of a rolling window, or of an account that lapses, it has no more once `ttl_s` has
  passed since it sent the last exchange that was answered: the sweep's charge leaves the window, or
  there is none.
- Where `Reply.run` changes, it tells every account whose current epoch it ever used.
- A closing exchange tells every account that it still leases.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from profiles.errors import ExitCode, InferbudgetError, InputError

_SCHEMES = ("redis", "rediss", "unix")
_EXPECTED = "sqlite:///path/ledger.db, redis://host:6379/0, rediss://... or unix:///path/socket"


class StoreError(InferbudgetError):
    """The shared store did not do what it was asked."""

    exit_code = ExitCode.UPSTREAM


class StoreLostError(StoreError):
    """The store does not answer, or cannot write. What was asked may have happened or not."""


class StaleExchangeError(StoreError):
    """The exchange is not newer than the replica's last one. Nothing was changed."""


class StoreForgotError(StoreError):
    """The store is not the one that was there before: what it knew is lost. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What one replica knows of one account's epoch, and what it asks.

    Amounts are in the account's unit, at least 0.

    Attributes:
        account: Name of the scope.
        epoch: Start of the span, Unix seconds; 0 for total and rolling windows.
        ends_s: End of the span, None where it has none.
        window_s: Length of a rolling window in seconds, else None.
        limit: None where the account is only counted.
        carry_over: Most that this epoch inherits of what the one before left.
        leased: Granted to this replica and kept, since it first used the epoch. It gives back by
            saying less.
        spent: Charged by this replica on this lease.
        requests: Holds granted by this replica, for information.
        short: What the smallest of the requests that wait lacks now, granted whole or not at all; 0
            only reports.
        wish: What it would like beside, so as not to ask again at once.
        lapses: What a lost replica held comes back instead of being charged: requests in flight
            end with their process.
    """

    account: str
    epoch: int
    ends_s: int | None
    window_s: int | None
    limit: int | None
    carry_over: int
    leased: int
    spent: int
    requests: int
    short: int = 0
    wish: int = 0
    lapses: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a replica says at once.

    Attributes:
        replica: Its name, unique among all processes that ever were.
        number: Rises with every exchange, those that got lost included.
        ttl_s: Not heard of for so many seconds, it is charged what it holds.
        truths: At most one for each epoch of an account.
        closing: It is about to end: what it did not spend is free again.
    """

    replica: str
    number: int
    ttl_s: float
    truths: tuple[Truth, ...]
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """How an account's epoch stands after an exchange, over all replicas.

    Attributes:
        account: Name of the scope.
        epoch: Start of the span.
        leased: The replica's new lease, cumulative; at least what it spent.
        remaining: What could be granted still, at least 0 and 0 where the epoch is not the current
            one; None where the account is only counted.
        spent: Charged, in the last window where it rolls.
        held: Leased and not spent.
        requests: Holds granted.
        carried: Inherited from the epoch before, less what counts here and stands in an epoch of
            another time zone.
        pressed: Somebody was refused within the last 2 seconds: give back what lies idle.
    """

    account: str
    epoch: int
    leased: int
    remaining: int | None
    spent: int
    held: int
    requests: int
    carried: int
    pressed: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What the store answers.

    Attributes:
        now_s: The store's clock, Unix seconds.
        generation: Names what the store remembers; another one has forgotten everything.
        given: One for each truth, in order.
        run: Names this run of the server. Where it changes, what the server heard last may be
            lost: tell every account again.
        waits_s: Seconds until the store grants again; it has restarted and hears everybody first.
    """

    now_s: float
    generation: str
    given: tuple[Given, ...]
    run: str = ""
    waits_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One replica's part of an account's epoch.

    Attributes:
        replica: Its name.
        leased: Its lease, cumulative.
        spent: Charged, what was charged for it when it was lost included.
        requests: Holds granted.
        swept: The part of `spent` that was charged because the replica was lost.
    """

    replica: str
    leased: int
    spent: int
    requests: int
    swept: int


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """One epoch of an account, as the store knows it.

    Attributes:
        account: Name of the scope.
        epoch: Start of the span.
        ends_s: Its end, None where it has none.
        window_s: Length of a rolling window, else None.
        limit: As a replica told it last.
        carried: Inherited from the epoch before, less what counts here and stands in an epoch of
            another time zone.
        spent: Charged over all replicas and corrections, in the last window where it rolls.
        held: Leased and not spent, over all replicas.
        requests: Holds granted.
        leases: By replica's name. Replicas that ended a day ago are left out; `spent` has them.
    """

    account: str
    epoch: int
    ends_s: int | None
    window_s: int | None
    limit: int | None
    carried: int
    spent: int
    held: int
    requests: int
    leases: tuple[LeaseRecord, ...]


class LogKind(StrEnum):
    """Why the store changed an account without a replica's word."""

    ADJUSTED = "adjusted"
    SWEPT = "swept"
    LAPSED = "lapsed"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One change that no replica told.

    Attributes:
        at_s: The store's clock.
        kind: What happened.
        account: Name of the scope.
        epoch: Start of the span.
        amount: Added to what was spent; for `lapsed`, what is free again.
        replica: Whose lease it was, None for an adjustment.
        reason: In words.
    """

    at_s: float
    kind: LogKind
    account: str
    epoch: int
    amount: int
    replica: str | None
    reason: str


class Store(Protocol):
    """A shared store. All methods but `close` raise `StoreLostError` and `StoreForgotError`.

    What an operator has to mend (an address, a password, a file of another program) is an
    `InputError` at the first contact; later it is a lost store, since traffic is running.

    Attributes:
        largest: Most that it counts; limits above it are refused by the exchange.
    """

    largest: int

    async def now(self) -> float:
        """The store's clock, Unix seconds."""
        ...

    async def exchange(self, exchange: Exchange) -> Reply:
        """Believe, then grant.

        Raises:
            StaleExchangeError: The replica has exchanged under this number or a later one.
            InputError: The exchange breaks a rule of `Exchange` or `Truth`, or has an amount that
                the store cannot count.
        """
        ...

    async def accounts(self, *, latest: bool = False) -> tuple[AccountRecord, ...]:
        """All epochs of all accounts, by account and epoch.

        Args:
            latest: Of each account the one that began last, alone: much less to read, where many
                windows are over.
        """
        ...

    async def adjust(self, account: str, epoch: int, amount: int, reason: str) -> None:
        """Add an operator's correction to what was spent; below 0 gives budget back.

        Raises:
            InputError: No such epoch, nothing to change, no reason, or more is taken from a rolling
                window than was charged in it.
        """
        ...

    async def log(self) -> tuple[LogEntry, ...]:
        """Adjustments and sweeps, in order."""
        ...

    async def close(self) -> None:
        """Let go of the store; what it knows stays."""
        ...


def open_store(url: str) -> Store:
    """The store at an address; nothing is reached before its first use.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db?synchronous=normal``,
            ``redis://host:6379/0?namespace=prod``, ``rediss://``, ``unix:///run/redis.sock?db=0``.

    Raises:
        InputError: Not such an address, or the packages for it are missing.
    """
    scheme = address_parts(url).scheme
    if scheme == "sqlite":
        from runtime.ledger.sqlite_store import SqliteStore, sqlite_options  # noqa: PLC0415 lazy

        path, synchronous = sqlite_options(url)
        return SqliteStore(Path(path), synchronous=synchronous)
    if scheme in _SCHEMES:
        try:
            from runtime.ledger.redis_store import RedisStore, redis_options  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise InputError(
                f"the package {error.name!r} is missing",
                where="ledger store",
                next_step="pip install 'inferbudget[serve]'",
            ) from error
        return RedisStore(redis_options(url))
    raise InputError("no such ledger store", expected=_EXPECTED, got="another scheme")


def address_parts(url: str) -> SplitResult:
    """The parts of an address, of which everything behind the last ``@`` may be shown.

    Raises:
        InputError: It cannot be taken apart, or a password in it is not encoded and would end up
            in another part. Nothing of it is quoted, nor are the errors of the parser, which do.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if not parts.scheme or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise InputError(
            "this is no address of a ledger store",
            expected=f"{_EXPECTED}; in a password, and wherever they stand for themselves, %2F for "
            "/, %3F for ?, %23 for #, %5B for [ and %40 for @",
        )
    return parts
