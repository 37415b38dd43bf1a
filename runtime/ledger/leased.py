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
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from profiles.errors import BudgetRefusedError, InferbudgetError, InputError
from runtime.ledger.accounts import Book
from runtime.ledger.holds import Hold
from runtime.ledger.leased_accounts import LeasedAccount, LeasedBook, Round, Validity
from runtime.ledger.leased_waiting import Need, Waiting, is_short, may_come, never_fits
from runtime.ledger.ledger import Asked, Demand, Ledger, Settled
from runtime.ledger.scopes import Amounts, Scope
from runtime.ledger.store import Exchange, Reply, Store, StoreError, StoreLostError

EXCHANGE_S = 0.25
"""Between two exchanges with the store, where nothing is short."""
TTL_S = 15.0
"""A replica that was not heard of for so long is charged its leases in full."""
PATIENCE_S = 0.5
"""How long a request may wait for other replicas to give back what lies idle."""
_PRESSED_S = 0.05  # between exchanges while requests wait
_FAREWELL_S = 3.0  # for so long a ledger that ends tries to give its leases back
_LOSABLE_S = 5.0  # more than a store loses in a power cut of what it was told
_MOST_WAITING = 1_000
# A lease outlives so many intervals of spending, so that most requests find room at once.
_AHEAD = 3
_log = logging.getLogger(__name__)


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
        self._validity = Validity()
        self._store = store
        super().__init__(scopes, self._store_time_s, settled=settled)
        self.replica = uuid.uuid4().hex if replica is None else replica
        self._exchange_s = exchange_s
        self._ttl_s = ttl_s
        self._patience_s = patience_s
        self._number = 0
        self._live: dict[tuple[str, int], LeasedAccount] = {}
        self._told_lately: dict[tuple[str, int], tuple[float, LeasedAccount]] = {}
        self._waiting: list[Waiting] = []
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
        try:
            if self._pump is not None:
                await asyncio.gather(self._pump, return_exceptions=True)
            for hold in tuple(self._holds.values()):
                hold.close()
            self._refuse_all(_ending())
            self._look_back()
            for account in self._live.values():
                account.give_back(0)
            await self._say_farewell()
        finally:
            await self._store.close()

    async def _say_farewell(self) -> None:
        end_s = time.monotonic() + _FAREWELL_S
        while True:
            try:
                await self._tell(self._round({}, everything=True), closing=True)
            except StoreError as error:
                if isinstance(error, StoreLostError) and time.monotonic() < end_s:
                    await asyncio.sleep(self._exchange_s)
                    continue
                _log.warning("the budget store did not hear the end of this replica: %s", error)
            return

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
        self.require_countable((scope,))
        super().add(scope)

    def redefine(self, scopes: Iterable[Scope]) -> None:
        """As of a ledger; a limit that the store cannot count is refused.

        Raises:
            InputError: Likewise, or one counts something else or over another window now; none is
                changed.
        """
        found = tuple(scopes)
        self.require_countable(found)
        super().redefine(found)

    def require_countable(self, scopes: Iterable[Scope]) -> None:
        """Refuse limits above what the store counts.

        Raises:
            InputError: One is.
        """
        for scope in scopes:
            if (scope.limit or 0) + scope.carry_over > self._store.largest:
                raise InputError(
                    "this store cannot count up to such a limit",
                    where=f"scope {scope.name!r}",
                    expected=f"at most {self._store.largest}, with what it may inherit",
                    got=f"{scope.limit} and {scope.carry_over}",
                )

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
        if not is_short(asked):
            return self._grant(asked)
        if self._lost is not None:
            raise type(self._lost)(str(self._lost))
        if never_fits(asked) or not self._has_place():
            raise self._refusal(asked)
        now_s = time.monotonic()
        done: asyncio.Future[Hold] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(asked, now_s + self._patience_s * patient, done))
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
        self.require_countable((scope,))
        return LeasedBook(scope, self._clock, self._validity, self._store.largest)

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

    def _needs(self) -> dict[tuple[str, int], Need]:
        """What the requests that wait need, by account."""
        found: dict[tuple[str, int], Need] = {}
        for waiting in self._waiting:
            waiting.asked = True
            for account, amount in waiting.asks.lines:
                if isinstance(account, LeasedAccount) and amount:
                    self._live[account.key] = account
                    need = found.setdefault(account.key, Need(amount))
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

    def _round(self, needs: Mapping[tuple[str, int], Need], *, everything: bool = False) -> Round:
        found = Round(lapsed=self._validity.lapsed)
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

    async def _tell(self, told: Round, *, closing: bool = False) -> Reply:
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
            account = told.accounts[given.account, given.epoch]
            account.take(given, as_told)
            account.relimit(truth.limit, account.book.scope.limit)  # it may have come meanwhile
            self._warn_of_overlap(account, truth.limit, reply)
        self._told_s = time.monotonic()
        return reply

    def _warn_of_overlap(self, account: LeasedAccount, limit: int | None, reply: Reply) -> None:
        """Once for each window of which the store keeps something back: nobody would see why."""
        if account.was_warned or reply.waits_s:
            return
        if account.is_kept_back(limit, reply.now_s):
            account.was_warned = True
            _log.warning(
                "of the budget %r the store grants less than its window has left: one of another "
                "time zone runs beside it and counts, too, or a later one has begun; "
                "`inferbudget ledger show --all` has both",
                account.book.scope.name,
            )

    def _serve_waiting(self, *, heard: bool = False) -> None:
        """First come, first served; once the store was heard, who cannot be served is refused."""
        still: list[Waiting] = []
        # Whoever is served has less of it left for the others; the next exchange tells them.
        free: dict[tuple[str, int], int] = {}
        now_s = time.monotonic()
        for waiting in self._waiting:
            if waiting.done.done():
                continue
            try:
                asked = waiting.asks = self._asked(waiting.asks.demand, self._clock())
            except InputError as error:  # a passing scope has gone meanwhile
                waiting.done.set_exception(error)
                continue
            if not is_short(asked):
                waiting.done.set_result(self._grant(asked))
            elif not (heard and waiting.asked) or (
                now_s < waiting.until_s and (now_s < self._granting_s or may_come(asked, free))
            ):
                still.append(waiting)
            else:
                waiting.done.set_exception(self._refusal(asked))
        self._waiting = still

    def _has_place(self) -> bool:
        """Whether one more may wait. The first for whom the store was asked makes place."""
        if len(self._waiting) < _MOST_WAITING:
            return True
        for place, waiting in enumerate(self._waiting):
            if waiting.asked:
                del self._waiting[place]
                if not waiting.done.done():
                    waiting.done.set_exception(_no_room_now())
                return True
        return False

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
        return _no_room_now()

    def _refuse_all(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done.done():
                each.done.set_exception(type(error)(str(error)))

    def _tell_again(self) -> None:
        """Of everything: the server restarted and may have lost what it heard last."""
        self._look_back()
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
        now_s = time.monotonic()
        for key, account in tuple(self._live.items()):
            if account.is_idle and not account.wish:
                del self._live[key]
                self._told_lately.pop(key, None)
                self._told_lately[key] = now_s, account
        for key, (told_s, _) in tuple(self._told_lately.items()):
            if now_s - told_s < _LOSABLE_S:
                break  # the others were told later
            del self._told_lately[key]

    def _look_back(self) -> None:
        """At what the store was told lately, of windows that are over too: it may have lost that.

        What came back would be charged again, and what was spent would be free to carry over.
        """
        for key, (_, account) in self._told_lately.items():
            self._live.setdefault(key, account)
        self._told_lately.clear()


def _no_room_now() -> BudgetRefusedError:
    return BudgetRefusedError("the budgets have no room now", retry_after_s=1.0)


def _ending() -> StoreLostError:
    return StoreLostError("the gateway is stopping")
