"""Accounts of which a replica leases a part: what is leased, what was told, and how all stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.ledger.accounts import BUCKETS, Account, Book, Standing
from runtime.ledger.scopes import Scope, Unit
from runtime.ledger.store import Given, Truth
from runtime.ledger.windows import ALWAYS, span

_FLIGHT_S = 60.0  # longer than most requests, whose replies are told to the store at once


@dataclass(slots=True)
class Validity:
    """Until when leases count that are not charged for good where this replica is silent."""

    until_s: float = 0.0  # monotonic

    @property
    def lapsed(self) -> bool:
        """Whether they count no more."""
        return time.monotonic() >= self.until_s


@dataclass(slots=True)
class LeasedAccount(Account):
    """One window of one scope: what this replica has leased of it, and how all of it stands.

    `allowed` is the lease: cumulative, like `spent`.

    Attributes:
        shared: What the store said last, None before.
        heard_s: When it said so; monotonic.
        told: Lease, charges and holds granted as the store knew them then.
        doubted: The store may know something else: it lost what it was told, or its reply got lost.
        asked: Granted to requests since the last exchange.
        wish: What should lie ready.
        was_warned: That the store keeps something of this window back.
        validity: Of its lease, where that passes: what is charged for a silent replica leaves a
            rolling window again, and its requests in flight come back; None where it stays charged.
        most: Amount that the store counts; of more it is told so much.
    """

    shared: Given | None = None
    heard_s: float = 0.0
    told: tuple[int, int, int] = (0, 0, 0)
    doubted: bool = False
    asked: int = 0
    wish: int = 0
    was_warned: bool = False
    validity: Validity | None = None
    most: int = field(kw_only=True)

    def room(self) -> int | None:
        """What may still be held."""
        if self.has_lapsed:
            return None if self.allowed is None else 0
        return Account.room(self)

    @property
    def has_lapsed(self) -> bool:
        """Whether what it leased and does not use has become others'."""
        return self.validity is not None and self.validity.lapsed

    @property
    def key(self) -> tuple[str, int]:
        """Its name in the store."""
        return self.book.scope.name, self.span.start_s

    @property
    def truth(self) -> tuple[int, int, int]:
        """Lease, charges and holds granted, as they are; what is used is leased in any case."""
        leased = max(self.spent + self.held, self.allowed or 0)
        return min(leased, self.most), min(self.spent, self.most), self.requests

    def tells(self, short: int, wish: int) -> Truth:
        """Its truth, and what is asked: what waiting requests lack, and what should lie ready."""
        scope = self.book.scope
        leased, spent, requests = self.truth
        return Truth(
            account=scope.name,
            epoch=self.span.start_s,
            ends_s=self.span.end_s,
            window_s=scope.rolling_s,
            limit=scope.limit,
            carry_over=scope.carry_over,
            leased=leased,
            spent=spent,
            requests=requests,
            short=short,
            wish=wish,
            lapses=scope.unit is Unit.IN_FLIGHT,
        )

    @property
    def is_told(self) -> bool:
        """Whether the store knows all."""
        return self.told == self.truth and not self.doubted

    def standing(self) -> Standing:
        """How it stands over all replicas, as far as the store has said."""
        limit = self.book.scope.limit
        if self.shared is None:
            return Standing(limit, self.spent, self.held, limit, self.requests)
        leased, spent, requests = self.told
        elsewhere, all_spent = 0, self.spent - spent
        if not self._is_outdated:
            elsewhere = self.shared.held - max(leased - spent, 0)
            all_spent += self.shared.spent
        held = max(elsewhere, 0) + self.held
        if limit is not None:
            limit += self.shared.carried
        remaining = None if limit is None else limit - all_spent - held
        return Standing(
            limit, all_spent, held, remaining, self.shared.requests + self.requests - requests
        )

    @property
    def _is_outdated(self) -> bool:
        """Whether what the store said then tells nothing of now: a window of it has passed.

        Of other accounts it does until their window is over; requests in flight have none.
        """
        scope = self.book.scope
        if scope.unit is Unit.IN_FLIGHT:
            lasts_s = _FLIGHT_S
        elif scope.rolling_s is not None:
            lasts_s = scope.rolling_s * (1 + 2 / BUCKETS)  # the store counts a part of it more
        else:
            return False
        return time.monotonic() - self.heard_s > lasts_s

    def is_kept_back(self, limit: int | None, now_s: float) -> bool:
        """Whether the store grants less of the running window than the limit told, less charges."""
        given = self.shared
        if given is None or given.remaining is None or limit is None:
            return False
        left = max(limit - given.spent - given.held, 0)
        return self.span.holds(now_s) and given.remaining < left

    @property
    def is_idle(self) -> bool:
        """Whether the store knows all, and nothing is leased that is not spent."""
        return self.is_told and not self.held and self.allowed in (None, self.spent)

    def relimit(self, before: int | None, limit: int | None) -> None:
        """Take another limit, of a lower one nothing that lies idle; the next truth tells it."""
        if limit is None:
            self.allowed = None
        elif before is None or limit < before:
            self.allowed = self.spent + self.held

    def covers(self, amount: int) -> bool:
        """Whether there is room for it."""
        room = self.room()
        return room is None or amount <= room

    def give_back(self, keep: int) -> None:
        """Keep what is used and so much more."""
        if self.allowed is not None:
            self.allowed = min(self.allowed, self.spent + self.held + keep)

    def take(self, given: Given, told: tuple[int, int, int]) -> None:
        """Believe the store, which was told this."""
        self.shared = given
        self.heard_s = time.monotonic()
        self.told = (given.leased, *told[1:])
        self.doubted = False
        if self.allowed is not None:
            self.allowed = given.leased


@dataclass(slots=True)
class Round:
    """One exchange: what is told of which accounts; where `lapsed`, nothing idle that lapses."""

    lapsed: bool = False
    accounts: dict[tuple[str, int], LeasedAccount] = field(default_factory=dict)
    truths: list[Truth] = field(default_factory=list)

    def add(self, account: LeasedAccount, short: int, wish: int) -> None:
        """Tell of an account, and say what waiting requests lack of it."""
        truth = account.tells(short, wish)
        self.accounts[truth.account, truth.epoch] = account
        self.truths.append(truth)


class LeasedBook(Book):
    """A scope whose windows are leased; the store carries over."""

    __slots__ = ("_most", "_validity")

    def __init__(
        self, scope: Scope, clock: Callable[[], float], validity: Validity, most: int
    ) -> None:
        super().__init__(scope, clock)
        self._most = most
        passes = scope.rolling or scope.unit is Unit.IN_FLIGHT
        self._validity = validity if passes else None

    def _opened(self, now_s: float, before: Account | None) -> Account:  # noqa: ARG002
        scope = self.scope
        found = ALWAYS if scope.rolling else span(scope.window, now_s, scope.timezone)
        allowed = None if scope.limit is None else 0
        return LeasedAccount(self, found, allowed, validity=self._validity, most=self._most)
