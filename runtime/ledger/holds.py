"""Holds: what one request has reserved, and the calls that draw from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from profiles.errors import InputError
from runtime.ledger.accounts import Account
from runtime.ledger.scopes import NOTHING, Amounts

Counted = Sequence[tuple[Account, int]]
"""Accounts with the place of their unit in `Amounts`."""


class Grantor(Protocol):
    """The ledger that granted a hold."""

    def grow(self, hold: Hold, more: Amounts) -> None:
        """Reserve more on the accounts of a hold.

        Raises:
            BudgetRefusedError: No room.
        """

    def forget(self, hold: Hold) -> None:
        """The hold is closed."""

    def alarm(self, uncovered_nano_usd: int) -> None:
        """A call took more than it was allowed."""


class Call:
    """One upstream call within a hold. It ends once: the first settlement counts."""

    __slots__ = ("_hold", "bound", "charged")

    def __init__(self, hold: Hold, bound: Amounts) -> None:
        self._hold = hold
        self.bound = bound
        self.charged: Amounts | None = None

    def settle(
        self, nano_usd: int, *, tokens: int = 0, nano_gpu_s: int = 0, broke_cap: bool = False
    ) -> None:
        """Charge what the call really cost. Above its bound it is charged all the same.

        Args:
            nano_usd: What it cost.
            tokens: What it used, in and out.
            nano_gpu_s: What it used.
            broke_cap: It brought more tokens than it was allowed, which raises the alarm even where
                its prompt was so short that the bound covers them.
        """
        if self.charged is None:
            self.charged = Amounts(nano_usd, tokens, nano_gpu_s)
            self._hold._charge(self, self.charged, broke_cap=broke_cap)  # noqa: SLF001 one state machine

    def unknown(self) -> None:
        """Charge the bound: the call may have cost that much."""
        nano_usd, tokens, nano_gpu_s = self.bound
        self.settle(nano_usd, tokens=tokens, nano_gpu_s=nano_gpu_s)

    def not_sent(self) -> None:
        """Charge nothing. Only on proof that no byte of the request left."""
        self.settle(0)

    def rejected(self) -> None:
        """Charge nothing. Only where the upstream said that it did no work."""
        self.settle(0)


class Hold:
    """What is reserved for one request, in the windows that were current when it began.

    Args:
        ledger: That granted it.
        request_id: Whose it is.
        counted: Accounts of what calls use.
        requests: Accounts that count admitted requests.
        in_flight: Accounts that hold one for as long as this is open.
    """

    __slots__ = (
        "_closed",
        "_counted",
        "_free",
        "_granted",
        "_in_flight",
        "_ledger",
        "_left",
        "_open",
        "_requests",
        "charged",
        "request_id",
    )

    def __init__(
        self,
        ledger: Grantor,
        request_id: str,
        counted: Counted,
        requests: Sequence[Account] = (),
        in_flight: Sequence[Account] = (),
    ) -> None:
        self.request_id = request_id
        self.charged = NOTHING
        self._ledger = ledger
        self._counted = counted
        self._requests = requests
        self._in_flight = in_flight
        self._granted = NOTHING
        self._left = NOTHING
        self._free = NOTHING  # of it, what no open call has reserved
        self._open: dict[Call, None] = {}
        self._closed = False

    def charges(self) -> Iterator[tuple[Account, int, int]]:
        """Every account with what was reserved of it and what was charged."""
        for account, place in self._counted:
            yield account, self._granted[place], self.charged[place]
        for account in self._requests:
            yield account, 1, 1
        for account in self._in_flight:
            yield account, 1, 0

    @property
    def left_nano_usd(self) -> int:
        """Still reserved, calls in flight included."""
        return self._left.nano_usd

    @property
    def accounts(self) -> Counted:
        """Accounts of what calls use, each with the place of its unit in `Amounts`."""
        return self._counted

    def begin(self, amounts: Amounts) -> None:
        """Reserve what the ledger has granted."""
        self._granted = self._left = self._free = amounts
        for account, place in self._counted:
            account.held += amounts[place]
            account.requests += 1
        for account in self._requests:
            account.requests += 1
            account.charge(1)
        for account in self._in_flight:
            account.requests += 1
            account.held += 1

    def reserve(self, more: Amounts) -> None:
        """Add to what is reserved."""
        self._granted = _sum(self._granted, more)
        self._left = _sum(self._left, more)
        self._free = _sum(self._free, more)
        for account, place in self._counted:
            account.held += more[place]

    def call(self, nano_usd: int, *, tokens: int = 0, nano_gpu_s: int = 0) -> Call:
        """Reserve one call's bound within the hold, before its first byte leaves.

        Args:
            nano_usd: The most that it can cost.
            tokens: The most that it can use, in and out.
            nano_gpu_s: The most that it can use.

        Raises:
            BudgetRefusedError: Earlier calls took more than their bound and no budget has room for
                the difference.
            InputError: The hold is closed.
        """
        if self._closed:
            raise InputError("the request is already settled", where=f"hold {self.request_id}")
        bound = Amounts(nano_usd, tokens, nano_gpu_s)
        lacks = _excess(bound, self._free)
        if lacks is not None:
            self._ledger.grow(self, lacks)
        self._free = _difference(self._free, bound)
        call = Call(self, bound)
        self._open[call] = None
        return call

    def close(self) -> None:
        """End the request: calls still open are charged in full, the rest is released."""
        if self._closed:
            return
        for call in tuple(self._open):
            call.unknown()
        for account, place in self._counted:
            account.held -= self._left[place]
        for account in self._in_flight:
            account.held -= 1
        self._left = NOTHING
        self._closed = True
        self._ledger.forget(self)

    def _charge(self, call: Call, actual: Amounts, *, broke_cap: bool) -> None:
        if min(actual) < 0:
            raise InputError("a charge is never negative", where=f"hold {self.request_id}")
        del self._open[call]
        self._free = _sum(self._free, call.bound)
        above = _excess(actual, call.bound)
        uncovered = _excess(actual, self._free) if above else None
        covered = _difference(actual, uncovered) if uncovered else actual
        self._free = _difference(self._free, covered)
        self._left = _difference(self._left, covered)
        self.charged = _sum(self.charged, actual)
        for account, place in self._counted:
            account.held -= covered[place]
            account.charge(actual[place])
        if broke_cap or above:
            self._ledger.alarm(actual.nano_usd - covered.nano_usd)


def _sum(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(one[0] + other[0], one[1] + other[1], one[2] + other[2])


def _difference(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(one[0] - other[0], one[1] - other[1], one[2] - other[2])


def _excess(one: Amounts, other: Amounts) -> Amounts | None:
    """What one has beyond the other, None where it has nothing."""
    if one[0] <= other[0] and one[1] <= other[1] and one[2] <= other[2]:
        return None
    return Amounts(max(one[0] - other[0], 0), max(one[1] - other[1], 0), max(one[2] - other[2], 0))
