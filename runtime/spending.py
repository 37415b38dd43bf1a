"""What a measuring run newly pays, and what its outcomes cost: two books that a journal parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from profiles.measuring.jobs import Job
from profiles.measuring.outlook import Paid
from profiles.money import PriceCard, TokenPrice
from runtime.caller import Chat, HeldCaller
from runtime.journal import Journal, Useful
from runtime.ledger import Hold, Ledger, Scope
from runtime.prompt_bound import prompt_tokens_bound
from runtime.upstream import ChatCall, Completion, UpstreamRejectedError, certainly_not_sent

UNPRICED = TokenPrice(input=0, output=0)
_SCOPE = "measuring"


@dataclass(frozen=True, slots=True)
class OutcomeCalls:
    """The calls of one outcome.

    Attributes:
        caller: For the strategy; its bill counts every call, those of the journal too.
        sender: What is really sent; its bill is newly paid.
    """

    caller: HeldCaller
    sender: HeldCaller

    @property
    def all_sent(self) -> bool:
        """Whether the journal answered none of them."""
        return self.caller.bill.calls == self.sender.bill.calls


class Spending:
    """Holds money before each outcome and counts what was really sent.

    An outcome's own cost also counts the calls that the journal answered.

    Args:
        limit_nano_usd: Most that may newly be paid, None for no limit.
        journal: Answers calls that an earlier run paid for, and keeps those that this one pays for.
    """

    def __init__(self, limit_nano_usd: int | None = None, journal: Journal | None = None) -> None:
        self.limited = limit_nano_usd is not None
        self._ledger = Ledger([Scope(_SCOPE, limit_nano_usd)])
        self._outcomes = Ledger([Scope("outcomes")])
        self._journal = journal
        self._numbers = itertools.count()
        self._at_bound = 0
        self._beyond_cap = 0

    @property
    def paid_nano_usd(self) -> int:
        """Newly paid at known prices; calls of unknown outcome count at their bound."""
        return self._ledger.state(_SCOPE).spent

    @property
    def paid(self) -> Paid:
        """Newly paid, and what is not sure about it."""
        return Paid(self.paid_nano_usd, self._at_bound, self._beyond_cap)

    @contextmanager
    def calls(
        self, job: Job, upstream: Chat, prices: PriceCard, bound_nano_usd: int
    ) -> Iterator[OutcomeCalls]:
        """Sends one outcome's calls, or answers them from the journal.

        Raises:
            BudgetRefusedError: No room for the bound.
            InputError: The journal could not keep a reply.
        """
        with self._held(self._ledger, bound_nano_usd) as paid:
            sender = HeldCaller(_Watched(self, upstream), prices, paid)
            if self._journal is None:
                yield OutcomeCalls(sender, sender)
                return
            with self._held(self._outcomes, bound_nano_usd) as cost:
                recorded = self._journal.outcome(job.key, sender)
                yield OutcomeCalls(HeldCaller(recorded, prices, cost), sender)
            # a strategy may have passed over the failure and answered from the calls it had
            self._journal.require_sound()

    def repeatable(self, upstream: Chat, prices: PriceCard, useful: Useful) -> Chat:
        """Calls outside of outcomes, a judge's: each is held for on its own, and paid for once.

        A reply that is not `useful` is asked for again the next time. A model without a price is
        asked only where nothing is limited.
        """
        paid = _PaidCalls(self, _Watched(self, upstream), prices)
        return self._journal.repeatable(paid.chat, useful) if self._journal else paid

    def watch(self, call: ChatCall, reply: Completion | None) -> None:
        """Count what a call that was sent leaves in doubt; no reply is one that says nothing."""
        tokens_in, tokens_out = (reply.tokens_in, reply.tokens_out) if reply else (None, None)
        self._at_bound += tokens_in is None or tokens_out is None
        self._beyond_cap += (tokens_out or 0) > call.n * call.max_tokens

    @contextmanager
    def call(self, bound_nano_usd: int) -> Iterator[Hold]:
        """Money for a single call.

        Raises:
            BudgetRefusedError: No room for the bound.
        """
        with self._held(self._ledger, bound_nano_usd) as hold:
            yield hold

    @contextmanager
    def _held(self, ledger: Ledger, amount_nano_usd: int) -> Iterator[Hold]:
        hold = ledger.hold(f"{_SCOPE}-{next(self._numbers)}", amount_nano_usd)
        try:
            yield hold
        finally:
            hold.close()


class _Watched:
    """Calls on their way out; those that `HeldCaller` charges at their bound are counted."""

    def __init__(self, spending: Spending, upstream: Chat) -> None:
        self._spending = spending
        self._upstream = upstream

    async def chat(self, call: ChatCall) -> Completion:
        try:
            reply = await self._upstream.chat(call)
        except BaseException as error:  # a cancellation too
            if not (isinstance(error, UpstreamRejectedError) or certainly_not_sent(error)):
                self._spending.watch(call, None)
            raise
        self._spending.watch(call, reply)
        return reply


class _PaidCalls:
    def __init__(self, spending: Spending, upstream: Chat, prices: PriceCard) -> None:
        self._spending = spending
        self._upstream = upstream
        self._prices = prices

    async def chat(self, call: ChatCall) -> Completion:
        prices = self._prices
        if not self._spending.limited and call.model not in prices.models:
            prices = PriceCard(models={call.model: UNPRICED})
        tokens_in = prompt_tokens_bound(call.messages, call)
        bound = prices.price(call.model).cost_nano_usd(tokens_in, call.n * call.max_tokens)
        with self._spending.call(bound) as hold:
            return await HeldCaller(self._upstream, prices, hold)(call)
