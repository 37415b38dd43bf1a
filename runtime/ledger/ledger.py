"""The ledger of one process.

It lives in one thread (the event loop's); no step of it waits, so none can be interleaved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from profiles.errors import BudgetRefusedError, InputError
from runtime.ledger.accounts import Account, Book
from runtime.ledger.holds import Hold
from runtime.ledger.scopes import Amounts, Scope, ScopeState, Snapshot, Unit

Settled = Callable[[Hold], None]
_NOBODY = ""
_PLENTY = 1 << 62


class Demand(msgspec.Struct, frozen=True):
    """What a request asks to hold; None for what nobody said."""

    request_id: str
    nano_usd: int
    tokens: int | None
    nano_gpu_s: int | None
    scopes: Sequence[str] | None

    @property
    def amounts(self) -> Amounts:
        """Of what its calls use; what nobody said no account counts, so of that there is plenty."""
        tokens, nano_gpu_s = self.tokens, self.nano_gpu_s
        return Amounts(
            self.nano_usd,
            _PLENTY if tokens is None else tokens,
            _PLENTY if nano_gpu_s is None else nano_gpu_s,
        )


class Asked(msgspec.Struct):
    """A demand on the accounts of one moment.

    Attributes:
        demand: What is asked.
        lines: Every account with what it must have room for.
        counted: Accounts of what calls use, with the place of their unit in `Amounts`.
        requests: Accounts that count admitted requests.
        in_flight: Accounts that hold one until the end.
    """

    demand: Demand
    lines: list[tuple[Account, int]] = []
    counted: list[tuple[Account, int]] = []
    requests: list[Account] = []
    in_flight: list[Account] = []


class Ledger:
    """Holds and charges over named scopes.

    Args:
        scopes: All scopes that a request can name, but those that are added later.
        clock: Unix time in seconds.
        settled: Is told every hold when it is closed; must not raise.

    Raises:
        InputError: Two scopes share a name.
    """

    def __init__(
        self,
        scopes: Iterable[Scope],
        clock: Callable[[], float] = time.time,
        *,
        settled: Settled | None = None,
    ) -> None:
        self._books: dict[str, Book] = {}
        self._lasting: set[str] = set()
        self._clock = clock
        self._holds: dict[str, Hold] = {}
        self._alarms = 0
        self._overrun = 0
        self._settled = settled
        for scope in _each_once(scopes):
            self._books[scope.name] = self._book_of(scope)
            self._lasting.add(scope.name)

    @property
    def now_s(self) -> float:
        """Unix time by which windows turn."""
        return self._clock()

    def add(self, scope: Scope) -> None:
        """Define a passing scope, such as a user's, or give it another limit.

        Raises:
            InputError: It counts something else or over another window now.
        """
        book = self._books.get(scope.name)
        if book is None:
            self._books[scope.name] = self._book_of(scope)
        elif book.scope != scope:
            book.redefine(scope)

    def redefine(self, scopes: Iterable[Scope]) -> None:
        """Define lasting scopes, or give them other limits: what is spent and held of them stays.

        Raises:
            InputError: Two share a name, or one counts something else or over another window now;
                none is changed.
        """
        books = [(self._books.get(scope.name), scope) for scope in _each_once(scopes)]
        for book, scope in books:
            if book is not None:
                book.refuse_another(scope)
        fresh = {scope.name: self._book_of(scope) for book, scope in books if book is None}
        self._books |= fresh
        self._lasting |= fresh.keys()
        for book, scope in books:
            if book is not None:
                book.redefine(scope)

    def require_countable(self, scopes: Iterable[Scope]) -> None:
        """Refuse limits beyond what can be counted; one process alone counts without end.

        Raises:
            InputError: Where a store is shared, one is above what it counts.
        """

    def remove(self, name: str) -> None:
        """Forget a passing scope that counts nothing in its window; nothing where there is none.

        Raises:
            InputError: Something is spent or held.
        """
        if name in self._books:
            state = self.state(name)
            if state.spent or state.held:
                raise InputError("this scope is in use", where=f"scope {name!r}")
            del self._books[name]
            self._lasting.discard(name)

    def hold(
        self,
        request_id: str,
        nano_usd: int,
        scopes: Sequence[str] | None = None,
        *,
        tokens: int | None = None,
        nano_gpu_s: int | None = None,
    ) -> Hold:
        """Reserve on every named scope, or on none.

        Args:
            request_id: Unique among the requests in flight.
            nano_usd: Upper bound of everything the request can cost.
            scopes: Names; all scopes where absent.
            tokens: Upper bound of the tokens in and out of all its calls.
            nano_gpu_s: Upper bound likewise.

        Raises:
            BudgetRefusedError: A scope has no room; says when the last that refused renews.
            InputError: An unknown scope, a negative amount, an amount that a scope counts and
                nobody gave, or an id that holds already.
        """
        now_s = self._clock()
        asked = self._asked(Demand(request_id, nano_usd, tokens, nano_gpu_s, scopes), now_s)
        self._require_room(asked.lines, now_s)
        return self._grant(asked)

    def require_room(
        self,
        nano_usd: int,
        scopes: Sequence[str] | None = None,
        *,
        tokens: int | None = None,
        nano_gpu_s: int | None = None,
    ) -> None:
        """Nothing where `hold` would be granted now.

        Raises:
            BudgetRefusedError: It would not; nothing is counted as refused.
            InputError: As for `hold`.
        """
        now_s = self._clock()
        demand = Demand(_NOBODY, nano_usd, tokens, nano_gpu_s, scopes)
        refused = _refused(self._asked(demand, now_s).lines)
        if refused:
            raise _refusal(refused, now_s)

    async def admit(
        self,
        request_id: str,
        nano_usd: int,
        scopes: Sequence[str] | None = None,
        *,
        tokens: int | None = None,
        nano_gpu_s: int | None = None,
        patient: bool = True,  # noqa: ARG002 here nobody else holds anything
    ) -> Hold:
        """The same as `hold`; a ledger that shares its budgets may have to ask for room first.

        Args:
            request_id: As for `hold`, and likewise the others.
            nano_usd: Likewise.
            scopes: Likewise.
            tokens: Likewise.
            nano_gpu_s: Likewise.
            patient: Wait a little for what others may give back.
        """
        return self.hold(request_id, nano_usd, scopes, tokens=tokens, nano_gpu_s=nano_gpu_s)

    def state(self, name: str) -> ScopeState:
        """One scope at this moment.

        Raises:
            InputError: No such scope.
        """
        return self._book(name).state(self._clock())

    def snapshot(self, *, passing: bool = False) -> Snapshot:
        """All lasting scopes at this moment; the passing ones, too, where they are asked for."""
        return self.snapshot_of(self.states(passing=passing))

    def snapshot_of(self, states: Iterable[ScopeState]) -> Snapshot:
        """What is known of all scopes together, beside the states of these."""
        return Snapshot(tuple(states), len(self._holds), self._alarms, self._overrun)

    def states(self, *, passing: bool = False) -> Iterator[ScopeState]:
        """The same scopes one by one, each at the moment when it is asked for.

        Meanwhile they may come and go: those that are there throughout are among them.
        """
        for name in tuple(self._books):
            book = self._books.get(name)
            if book is not None and (passing or name in self._lasting):
                yield book.state(self._clock())

    def grow(self, hold: Hold, more: Amounts) -> None:
        """Reserve more for a request whose calls took more than their bound.

        Raises:
            BudgetRefusedError: No room.
        """
        asked = [(account, more[place]) for account, place in hold.accounts if more[place]]
        self._require_room(asked, self._clock())
        hold.reserve(more)

    def forget(self, hold: Hold) -> None:
        """A hold is closed."""
        del self._holds[hold.request_id]
        if self._settled is not None:
            self._settled(hold)

    def alarm(self, uncovered_nano_usd: int) -> None:
        """A call took more than it was allowed, and no hold covered so much of it."""
        self._alarms += 1
        self._overrun += uncovered_nano_usd

    def _asked(self, demand: Demand, now_s: float) -> Asked:
        """What a demand needs of which accounts, at this moment."""
        given = (demand.nano_usd, demand.tokens, demand.nano_gpu_s)
        if min(demand.amounts) < 0 or demand.request_id in self._holds:
            raise InputError(
                "this hold is not possible",
                where=f"request {demand.request_id}",
                expected="a new request id and amounts of at least 0",
                got=f"nano-dollars, tokens, nano-GPU-seconds: {given}",
            )
        asked = Asked(demand)
        lines, counted = asked.lines, asked.counted
        for name in self._books if demand.scopes is None else demand.scopes:
            book = self._books.get(name) or self._book(name)
            account, place = book.current(now_s), book.place
            if place is None:
                lines.append((account, 1))
                counts_requests = book.scope.unit is Unit.REQUESTS
                (asked.requests if counts_requests else asked.in_flight).append(account)
                continue
            amount = given[place]
            if amount is None:
                raise _not_given(book.scope, demand.request_id)
            lines.append((account, amount))
            counted.append((account, place))
        return asked

    def _grant(self, asked: Asked) -> Hold:
        """The hold, where there is room for it."""
        request_id = asked.demand.request_id
        hold = Hold(self, request_id, asked.counted, asked.requests, asked.in_flight)
        hold.begin(asked.demand.amounts)
        self._holds[request_id] = hold
        return hold

    def _book_of(self, scope: Scope) -> Book:
        return Book(scope, self._clock)

    def _book(self, name: str) -> Book:
        try:
            return self._books[name]
        except KeyError:
            raise InputError("unknown scope", where=f"scope {name!r}") from None

    def _require_room(self, asked: Iterable[tuple[Account, int]], now_s: float) -> None:
        refused = _refused(asked)
        for account, _ in refused:
            account.book.refusals += 1
        if refused:
            raise _refusal(refused, now_s)


def _each_once(scopes: Iterable[Scope]) -> list[Scope]:
    found: dict[str, Scope] = {}
    for scope in scopes:
        if scope.name in found:
            raise InputError("two scopes share a name", where=f"scope {scope.name!r}")
        found[scope.name] = scope
    return list(found.values())


def _refused(asked: Iterable[tuple[Account, int]]) -> list[tuple[Account, int]]:
    """Accounts without room, with what was asked of them."""
    found = []
    for account, amount in asked:
        room = account.room()
        if room is not None and amount > room:
            found.append((account, amount))
    return found


def _refusal(refused: Sequence[tuple[Account, int]], now_s: float) -> BudgetRefusedError:
    """The one that keeps a request waiting longest."""
    account, amount = max(refused, key=lambda each: each[0].renews_in_s(each[1], now_s))
    return account.refusal(amount, now_s)


def _not_given(scope: Scope, request_id: str) -> InputError:
    return InputError(
        f"nobody said how much of {scope.unit} this request may use",
        where=f"request {request_id}, scope {scope.name!r}",
        expected=f"an upper bound of its {scope.unit}",
    )
