"""A ledger whose budgets are shared with other processes: it spends what it has leased.

A lease is a hold of this process, the replica, in the shared store. Requests hold on leases without
a word to the store. Only where a lease is short, and a few times a second, the replica tells the
store its whole truth, gives back what lies idle and asks for more (`runtime.ledger.store`).

Whatever is lost, the store never grants beyond a limit: a replica that dies is charged its leases
in full; one that cannot reach the store spends what it has leased, and then fails closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from profiles.errors import BudgetRefusedError, InferbudgetError, InputError
from runtime.ledger.accounts import BUCKETS, Account, Book, Standing
from runtime.ledger.holds import Hold
from runtime.ledger.ledger import Asked, Demand, Ledger, Settled
from runtime.ledger.scopes import Amounts, Scope, Unit
from runtime.ledger.store import Exchange, Given, Reply, Store, StoreError, StoreLostError, Truth
from runtime.ledger.windows import ALWAYS, span

EXCHANGE_S = 0.25
"""Between two exchanges with the store, where nothing is short."""
TTL_S = 15.0
"""A replica that was not heard of for so long is charged its leases in full."""
PATIENCE_S = 0.5
"""How long a request may wait for other replicas to give back what lies idle."""
_PRESSED_S = 0.05  # between exchanges while requests wait
_FLIGHT_S = 60.0  # longer than most requests, whose replies are told to the store at once
_MOST_WAITING = 1_000
# A lease outlives so many intervals of spending, so that most requests find room at once.
_AHEAD = 3
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Validity:
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
        validity: Of its lease, where that passes: what is charged for a silent replica leaves a
            rolling window again, and its requests in flight come back; None where it stays charged.
    """

    shared: Given | None = None
    heard_s: float = 0.0
    told: tuple[int, int, int] = (0, 0, 0)
    doubted: bool = False
    asked: int = 0
    wish: int = 0
    validity: _Validity | None = None

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
        used = self.spent + self.held
        return max(used, self.allowed or 0), self.spent, self.requests

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

    @property
    def is_idle(self) -> bool:
        """Whether the store knows all, and nothing is leased that is not spent."""
        return self.is_told and not self.held and self.allowed in (None, self.spent)

    def relimit(self, before: int | None, limit: int | None) -> None:
        """Take another limit; the store hears of it with the next truth."""
        if before is None or limit is None:
            self.allowed = None if limit is None else self.spent + self.held

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
class _Waiting:
    """A request that waits for room; `asked` once the store was asked for it."""

    demand: Demand
    until_s: float
    done: asyncio.Future[Hold]
    asked: bool = False


@dataclass(slots=True)
class _Need:
    """What waiting requests need of an account: the smallest, and all of them together."""

    of_one: int
    of_all: int = 0


@dataclass(slots=True)
class _Round:
    """One exchange: what is told of which accounts; where `lapsed`, nothing idle that lapses."""

    lapsed: bool = False
    accounts: dict[tuple[str, int], LeasedAccount] = field(default_factory=dict)
    truths: list[Truth] = field(default_factory=list)

    def add(self, account: LeasedAccount, short: int, wish: int) -> None:
        """Tell of an account, and say what waiting requests lack of it."""
        truth = _truth(account, short, wish)
        self.accounts[truth.account, truth.epoch] = account
        self.truths.append(truth)


class LeasedLedger(Ledger):
    """Holds and charges over budgets that several processes share.

    Use it as ``async with LeasedLedger(...) as ledger``, in one event loop.

    Args:
        scopes: All scopes that a request can name, but those that are added later.
        store: Where the budgets are shared.
        exchange_s: Seconds between exchanges where nothing is short.
        ttl_s: Seconds after which a replica that is not heard of is charged its leases.
        patience_s: Seconds that a request may wait for money that others may give back.
        replica: Name of this process, never used by another one; drawn where absent.
        settled: Is told every hold when it is closed; must not raise.
    """

    def __init__(
        self,
        scopes: Iterable[Scope],
        store: Store,
        *,
        replica: str | None = None,
        settled: Settled | None = None,
        exchange_s: float = EXCHANGE_S,
        ttl_s: float = TTL_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._offset_s = 0.0
        self._validity = _Validity()
        self._store = store
        super().__init__(scopes, self._store_time_s, settled=settled)
        self.replica = uuid.uuid4().hex if replica is None else replica
        self._exchange_s = exchange_s
        self._ttl_s = ttl_s
        self._patience_s = patience_s
        self._number = 0
        self._live: dict[tuple[str, int], LeasedAccount] = {}
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._ending = False
        self._lost: StoreError | None = None
        self._last_s = self._told_s = time.monotonic()
        self._run_name: str | None = None
        self._granting_s = 0.0  # not before; monotonic

    async def __aenter__(self) -> LeasedLedger:
        try:
            self._set_clock(await self._store.now())
        except BaseException:
            await self._store.close()
            raise
        self._pump = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        self._wake.set()
        if self._pump is not None:
            with suppress(asyncio.CancelledError):
                await self._pump
        for hold in tuple(self._holds.values()):
            hold.close()
        self._refuse_all(_ending())
        for account in self._live.values():
            account.give_back(0)
        try:
            await self._tell(self._round({}, everything=True), closing=True)
        except StoreError as error:
            _log.warning("the budget store did not hear the end of this replica: %s", error)
        await self._store.close()

    @property
    def lost(self) -> StoreError | None:
        """Why the store did not answer the last exchange, None where it did."""
        return self._lost

    def remove(self, name: str) -> None:
        """Forget a passing scope that counts nothing in its window; its lease goes back.

        Raises:
            InputError: Something is spent or held.
        """
        book = self._books.get(name)
        super().remove(name)
        if book is None or not isinstance(book.account, LeasedAccount):
            return
        book.account.give_back(0)
        self._live[book.account.key] = book.account
        if book.account.spent and not book.scope.rolling:
            # An operator gave back what was charged. A new account would count from nothing again,
            # and the store would believe it and give back once more.
            self._books[name] = book

    def add(self, scope: Scope) -> None:
        """As of a ledger; a limit that the store cannot count is refused.

        Raises:
            InputError: Likewise, or it counts something else or over another window now.
        """
        self._require_countable(scope)
        super().add(scope)

    def redefine(self, scopes: Iterable[Scope]) -> None:
        """As of a ledger; a limit that the store cannot count is refused.

        Raises:
            InputError: Likewise, or one counts something else or over another window now; none is
                changed.
        """
        found = tuple(scopes)
        for scope in found:
            self._require_countable(scope)
        super().redefine(found)

    def grow(self, hold: Hold, more: Amounts) -> None:
        """Reserve more for a request whose calls took more than their bound.

        Raises:
            BudgetRefusedError: No room in what is leased.
        """
        super().grow(hold, more)
        for account, _ in hold.accounts:
            if isinstance(account, LeasedAccount):
                self._live[account.key] = account

    async def admit(
        self,
        request_id: str,
        nano_usd: int,
        scopes: Sequence[str] | None = None,
        *,
        tokens: int | None = None,
        nano_gpu_s: int | None = None,
        patient: bool = True,
    ) -> Hold:
        """Reserve on every named scope, or on none; asks the store where a lease is short.

        Raises:
            BudgetRefusedError: A scope has no room; says when the last that refused renews.
            StoreLostError: A lease is short and the store does not answer, or the ledger ends.
            InputError: As for `hold`.
        """
        if self._ending:
            raise _ending()
        demand = Demand(request_id, nano_usd, tokens, nano_gpu_s, scopes)
        asked = self._asked(demand, self._clock())
        if not _shortages(asked):
            return self._grant(asked)
        if self._lost is not None:
            raise type(self._lost)(str(self._lost))
        if len(self._waiting) >= _MOST_WAITING or _never_fits(asked):
            raise self._refusal(asked)
        now_s = time.monotonic()
        done: asyncio.Future[Hold] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(demand, now_s + self._patience_s * patient, done))
        self._wake.set()
        try:
            return await done
        except asyncio.CancelledError:
            if done.done() and not done.cancelled() and done.exception() is None:
                done.result().close()
            raise

    def _grant(self, asked: Asked) -> Hold:
        if self._ending:
            raise _ending()
        for account, amount in asked.lines:
            if isinstance(account, LeasedAccount):
                account.asked += amount
                self._live[account.key] = account
        return super()._grant(asked)

    def _book_of(self, scope: Scope) -> Book:
        self._require_countable(scope)
        return _LeasedBook(scope, self._clock, self._validity)

    def _require_countable(self, scope: Scope) -> None:
        if (scope.limit or 0) + scope.carry_over > self._store.largest:
            raise InputError(
                "this store cannot count up to such a limit",
                where=f"scope {scope.name!r}",
                expected=f"at most {self._store.largest}, with what it may inherit",
                got=f"{scope.limit} and {scope.carry_over}",
            )

    def _store_time_s(self) -> float:
        return time.monotonic() + self._offset_s

    def _set_clock(self, store_s: float) -> None:
        """The store's clock counts: a replica whose clock jumps opens no window early."""
        self._offset_s = store_s - time.monotonic()

    async def _run(self) -> None:
        while not self._ending:
            pause_s = _PRESSED_S if self._waiting else self._exchange_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if not self._ending:
                    await self._exchange()
            except InferbudgetError as error:
                if self._lost is None:
                    _log.error("the budget store is lost: %s", error)
                self._lose(error if isinstance(error, StoreError) else StoreLostError(str(error)))
            except Exception as error:
                # Whatever it is: nobody waits for ever, and the next exchange may do.
                if self._lost is None:
                    _log.exception("an exchange with the budget store failed")
                self._lose(StoreLostError(f"an exchange failed: {type(error).__name__}"))

    def _lose(self, error: StoreError) -> None:
        self._lost = error
        self._refuse_all(error)

    async def _exchange(self) -> None:
        """Tell, give back, ask, and serve who waits."""
        self._serve_waiting()
        needs = self._needs()
        self._plan_ahead()
        told = self._round(needs)
        quiet = self._lost is None and not told.truths
        if quiet and time.monotonic() - self._told_s < self._ttl_s / 5:
            return
        reply = await self._tell(told)
        if self._lost is not None:
            _log.warning("the budget store is back")
            self._lost = None
        self._set_clock(reply.now_s)
        self._granting_s = time.monotonic() + reply.waits_s
        if reply.run != self._run_name:
            if self._run_name is not None:
                self._tell_again()
            self._run_name = reply.run
        self._serve_waiting(heard=True)
        self._look_away()

    def _needs(self) -> dict[tuple[str, int], _Need]:
        """What the requests that wait need, by account."""
        found: dict[tuple[str, int], _Need] = {}
        now_s = self._clock()
        for waiting in self._waiting:
            waiting.asked = True
            for account, amount in self._asked(waiting.demand, now_s).lines:
                if isinstance(account, LeasedAccount) and amount:
                    self._live[account.key] = account
                    need = found.setdefault(account.key, _Need(amount))
                    need.of_one = min(need.of_one, amount)
                    need.of_all += amount
        return found

    def _plan_ahead(self) -> None:
        """What should lie ready: some intervals of what was asked lately."""
        now_s = time.monotonic()
        passed_s = max(now_s - self._last_s, 1e-3)
        self._last_s = now_s
        for account in self._live.values():
            lately = int(account.asked * min(_AHEAD * self._exchange_s / passed_s, _AHEAD * 2))
            account.wish = max(lately, account.wish // 2)
            account.asked = 0

    def _round(self, needs: Mapping[tuple[str, int], _Need], *, everything: bool = False) -> _Round:
        found = _Round(lapsed=self._validity.lapsed)
        now_s = self._clock()
        for key, account in self._live.items():
            need = needs.get(key)
            if need is not None and not account.covers(need.of_all):
                # A rest that helps none of them may help another replica's: all of it goes back,
                # and comes again in one piece or not at all.
                account.give_back(0)
                wish = min(need.of_all + account.wish, self._store.largest)
                found.add(account, need.of_one, wish)
                continue
            over = not account.is_now(now_s)
            pressed = account.shared is not None and account.shared.pressed
            idle = 0 if over or pressed else account.wish
            # Of a lease that lapsed, others may have got what was not used.
            lapsed = found.lapsed and account.validity is not None
            account.give_back(0 if lapsed else max(idle, need.of_all) if need else idle)
            room = account.room()
            # Who leases more than is in use hears at every exchange whether others are short of it.
            if everything or room or not account.is_told:
                ahead = room is not None and 2 * room < account.wish and not (over or pressed)
                found.add(account, 1 if ahead else 0, min(account.wish, self._store.largest))
        return found

    async def _tell(self, told: _Round, *, closing: bool = False) -> Reply:
        self._number += 1
        exchange = Exchange(
            self.replica, self._number, self._ttl_s, tuple(told.truths), closing=closing
        )
        for account in told.accounts.values():
            account.doubted = True  # until the reply: where it is lost, a grant is lost with it
        sent_s = time.monotonic()
        reply = await self._store.exchange(exchange)
        if told.lapsed or not self._validity.lapsed:
            # else what was told as idle may have lapsed before the store heard of it
            self._validity.until_s = sent_s + self._ttl_s
        truths = {(truth.account, truth.epoch): truth for truth in told.truths}
        for given in reply.given:
            truth = truths[given.account, given.epoch]
            as_told = truth.leased, truth.spent, truth.requests
            told.accounts[given.account, given.epoch].take(given, as_told)
        self._told_s = time.monotonic()
        return reply

    def _serve_waiting(self, *, heard: bool = False) -> None:
        """First come, first served; once the store was heard, who cannot be served is refused."""
        still: list[_Waiting] = []
        now_s = time.monotonic()
        for waiting in self._waiting:
            if waiting.done.done():
                continue
            try:
                asked = self._asked(waiting.demand, self._clock())
            except InputError as error:  # a passing scope has gone meanwhile
                waiting.done.set_exception(error)
                continue
            if not _shortages(asked):
                waiting.done.set_result(self._grant(asked))
            elif not (heard and waiting.asked) or (
                now_s < waiting.until_s and (now_s < self._granting_s or _may_come(asked))
            ):
                still.append(waiting)
            else:
                waiting.done.set_exception(self._refusal(asked))
        self._waiting = still

    def _refusal(self, asked: Asked) -> BudgetRefusedError:
        waits_s = self._granting_s - time.monotonic()
        if waits_s > 0:
            return BudgetRefusedError(
                "the budget store has restarted and hears every gateway before it grants",
                retry_after_s=waits_s,
            )
        try:
            self._require_room(asked.lines, self._clock())
        except BudgetRefusedError as error:
            return error
        return BudgetRefusedError("the budgets have no room now", retry_after_s=1.0)

    def _refuse_all(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done.done():
                each.done.set_exception(type(error)(str(error)))

    def _tell_again(self) -> None:
        """Of everything: the server restarted and may have lost what it heard last."""
        now_s = self._clock()
        for book in self._books.values():
            account = book.account
            if isinstance(account, LeasedAccount) and account.shared and account.is_now(now_s):
                self._live[account.key] = account
        for account in self._live.values():
            account.doubted = True
        self._wake.set()

    def _look_away(self) -> None:
        """From accounts of which there is nothing to tell."""
        for key, account in tuple(self._live.items()):
            if account.is_idle and not account.wish:
                del self._live[key]


class _LeasedBook(Book):
    """A scope whose windows are leased; the store carries over."""

    __slots__ = ("_validity",)

    def __init__(self, scope: Scope, clock: Callable[[], float], validity: _Validity) -> None:
        super().__init__(scope, clock)
        passes = scope.rolling or scope.unit is Unit.IN_FLIGHT
        self._validity = validity if passes else None

    def _opened(self, now_s: float, before: Account | None) -> Account:  # noqa: ARG002
        scope = self.scope
        found = ALWAYS if scope.rolling else span(scope.window, now_s, scope.timezone)
        allowed = None if scope.limit is None else 0
        return LeasedAccount(self, found, allowed, validity=self._validity)


def _ending() -> StoreLostError:
    return StoreLostError("the gateway is stopping")


def _shortages(asked: Asked) -> bool:
    for account, amount in asked.lines:
        room = account.room()
        if room is not None and amount > room:
            return True
    return False


def _never_fits(asked: Asked) -> bool:
    """Whether a whole window is too little, so that nobody needs to give anything back for it."""
    scopes = ((account.book.scope, amount) for account, amount in asked.lines)
    return any(
        scope.limit is not None and amount > scope.limit + scope.carry_over
        for scope, amount in scopes
    )


def _may_come(asked: Asked) -> bool:
    """Whether others hold enough that they may give back, for every account that is short."""
    for account, amount in asked.lines:
        standing, room = account.standing(), account.room()
        if room is None or amount <= room:
            continue
        free = (standing.limit or 0) - standing.spent - account.held
        if amount > free:
            return False
    return True


def _truth(account: LeasedAccount, short: int, wish: int) -> Truth:
    scope, when = account.book.scope, account.span
    leased, spent, requests = account.truth
    return Truth(
        account=scope.name,
        epoch=when.start_s,
        ends_s=when.end_s,
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
