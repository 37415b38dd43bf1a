"""Accounts: what one scope has spent and holds in one window."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from profiles.errors import BudgetRefusedError, InputError
from profiles.money import to_usd
from runtime.ledger.scopes import USED, Scope, ScopeState, Unit
from runtime.ledger.windows import ALWAYS, Span, span

# When only money in flight stands in the way, some of it is back after about one request.
_IN_FLIGHT_RETRY_S = 1.0
BUCKETS: Final = 64
"""Parts of a rolling window. Whole parts leave it, so at any moment it looks back a little more
than its length (1/64), never less."""


class Standing(NamedTuple):
    """How an account stands, over all that share it.

    Attributes:
        limit: With what it inherited, None without one.
        spent: Charged.
        held: Reserved.
        remaining: Limit less both, None without a limit; negative after an overrun.
        requests: Holds granted.
    """

    limit: int | None
    spent: int
    held: int
    remaining: int | None
    requests: int


@dataclass(slots=True)
class Account:
    """One window of one scope.

    Attributes:
        book: Whose window this is.
        span: When it is.
        allowed: Most that may be spent and held, None without a limit.
        spent: Charged.
        held: Reserved by requests in flight.
        requests: Holds granted.
    """

    book: Book
    span: Span
    allowed: int | None
    spent: int = 0
    held: int = 0
    requests: int = 0

    def room(self) -> int | None:
        """What may still be held, None without a limit; negative after an overrun."""
        return None if self.allowed is None else self.allowed - self.spent - self.held

    def standing(self) -> Standing:
        """How it stands."""
        return Standing(self.allowed, self.spent, self.held, self.room(), self.requests)

    def charge(self, amount: int) -> None:
        """Count as spent."""
        self.spent += amount
        self.book.spent_ever += amount

    def relimit(self, before: int | None, limit: int | None) -> None:
        """Take another limit; what was inherited stays."""
        inherited = 0 if before is None or self.allowed is None else self.allowed - before
        self.allowed = None if limit is None else limit + inherited

    def is_now(self, now_s: float) -> bool:
        """Whether this is the window of a moment, or of a later one: no window opens twice."""
        end = self.span.end_s
        return end is None or now_s < end

    def renews_in_s(self, amount: int, now_s: float) -> float:
        """Seconds until there can be room, infinite where there never will be."""
        standing = self.standing()
        if standing.spent + amount <= (standing.limit or 0):
            return _IN_FLIGHT_RETRY_S
        scope = self.book.scope
        if amount <= (scope.limit or 0) and self.span.end_s is not None:
            return max(self.span.end_s - now_s, 0.0)
        if amount <= (scope.limit or 0) and scope.rolling_s is not None:
            return max(scope.rolling_s / BUCKETS, _IN_FLIGHT_RETRY_S)
        return math.inf

    def refusal(self, amount: int, now_s: float) -> BudgetRefusedError:
        """Why an amount is refused, and when it may be asked for again."""
        scope = self.book.scope
        wait_s = self.renews_in_s(amount, now_s)
        standing = self.standing()
        asked, limit, spent, held = (
            _in_words(value or 0, scope.unit) for value in (amount, *standing[:3])
        )
        return BudgetRefusedError(
            f"the budget {scope.name!r} has no room for {asked}: of {limit} per "
            f"{'rolling ' if scope.rolling else ''}{scope.window} {spent} are spent and "
            f"{held} are held",
            retry_after_s=None if math.isinf(wait_s) else wait_s,
        )


@dataclass(slots=True)
class RollingAccount(Account):
    """The last so many seconds. What is charged counts from the moment it is charged.

    A charge that counted from its request's beginning would leave the window before its bill does.
    """

    clock: Callable[[], float] = field(kw_only=True)
    _parts: deque[list[int]] = field(default_factory=deque)

    def charge(self, amount: int) -> None:
        """Count as spent, in the part of the window that is now."""
        number = self._number(self.clock())
        if not self._parts or number > self._parts[-1][0]:
            self._parts.append([number, 0])
        self._parts[-1][1] += amount
        Account.charge(self, amount)

    def is_now(self, now_s: float) -> bool:
        """Always; what has left the window by then is forgotten."""
        oldest = self._number(now_s) - BUCKETS
        while self._parts and self._parts[0][0] < oldest:
            self.spent -= self._parts.popleft()[1]
        return True

    def renews_in_s(self, amount: int, now_s: float) -> float:
        """Seconds until enough has left the window."""
        limit = self.allowed or 0
        if self.spent + amount <= limit:
            return _IN_FLIGHT_RETRY_S
        left = self.spent
        for number, spent in self._parts:
            left -= spent
            if left + amount <= limit:
                return max((number + BUCKETS + 1) * self._part_s - now_s, 0.0)
        return math.inf

    @property
    def _part_s(self) -> float:
        return (self.book.scope.rolling_s or 0) / BUCKETS

    def _number(self, now_s: float) -> int:
        return int(now_s // self._part_s)


@dataclass(slots=True)
class Book:
    """A scope with its current window. Past windows live on in the holds that they granted.

    Attributes:
        scope: Its definition.
        clock: Unix time in seconds.
        account: The current window, None before the first request.
        refusals: Holds refused since the start.
        spent_ever: Charged since the start.
        place: Of its unit in `Amounts`; None for units of which a request takes one.
    """

    scope: Scope
    clock: Callable[[], float]
    account: Account | None = None
    refusals: int = 0
    spent_ever: int = 0
    place: int | None = field(init=False)

    def __post_init__(self) -> None:
        unit = self.scope.unit
        self.place = USED.index(unit) if unit in USED else None

    def current(self, now_s: float) -> Account:
        """The account of this moment, opened where the one before is over."""
        account = self.account
        if account is None or not account.is_now(now_s):
            account = self.account = self._opened(now_s, account)
        return account

    def state(self, now_s: float) -> ScopeState:
        """The scope at this moment."""
        account, scope = self.current(now_s), self.scope
        limit, spent, held, remaining, requests = account.standing()
        return ScopeState(
            name=scope.name,
            unit=scope.unit,
            window=scope.window,
            epoch_start_s=account.span.start_s,
            epoch_end_s=account.span.end_s,
            limit=limit,
            spent=spent,
            held=held,
            remaining=None if remaining is None else max(remaining, 0),
            requests=requests,
            refusals=self.refusals,
            spent_ever=self.spent_ever,
        )

    def refuse_another(self, scope: Scope) -> None:
        """Refuse another definition by which the sums so far would mean nothing.

        Raises:
            InputError: Another unit, window or time zone.
        """
        old = self.scope
        if replace(scope, limit=old.limit, carry_over=old.carry_over) != old:
            raise InputError(
                "a budget changed what it counts or over which window",
                where=f"scope {scope.name!r}",
                next_step="start the gateway anew, or give the budget another name",
            )

    def redefine(self, scope: Scope) -> None:
        """Another limit, for the current window too.

        Raises:
            InputError: As of `refuse_another`.
        """
        self.refuse_another(scope)
        before, self.scope = self.scope.limit, scope
        if self.account is not None:
            self.account.relimit(before, scope.limit)

    def _opened(self, now_s: float, before: Account | None) -> Account:
        scope = self.scope
        if scope.rolling:
            return RollingAccount(self, ALWAYS, scope.limit, clock=self.clock)
        allowed = scope.limit
        found = span(scope.window, now_s, scope.timezone)
        if allowed is not None and before is not None and before.span.end_s == found.start_s:
            allowed += min(scope.carry_over, max(before.room() or 0, 0))
        return Account(self, found, allowed)


def _in_words(value: int, unit: Unit) -> str:
    if unit is Unit.NANO_USD:
        return f"{to_usd(value):.9f} USD"
    if unit is Unit.NANO_GPU_S:
        return f"{to_usd(value):.9f} GPU-seconds"
    return f"{value} {'tokens' if unit is Unit.TOKENS else 'requests'}"
