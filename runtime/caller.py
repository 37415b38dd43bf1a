"""Calls that are paid for: each is reserved on the request's hold and charged as it ends."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from profiles.errors import BudgetRefusedError, InferbudgetError, UpstreamError
from profiles.money import PriceCard
from runtime.envelope import CallBound, Envelope, Room
from runtime.ledger import Hold
from runtime.prompt_bound import prompt_tokens_bound
from runtime.strategies.attempt import Bill, Step
from runtime.upstream import ChatCall, Completion, UpstreamRejectedError, certainly_not_sent


class Chat(Protocol):
    """Anything that answers chat calls, `runtime.upstream.Upstream` above all.

    One that cannot stream passes over `ChatCall.on_text`.
    """

    async def chat(self, call: ChatCall) -> Completion:
        """Send one call.

        Raises:
            UpstreamError: Says by `sent` whether the call can have cost anything.
            asyncio.CancelledError: `certainly_not_sent` says whether it can have.
        """


class AbandonedError(InferbudgetError):
    """Nobody waits for the answer any more, so no further call is sent."""


class CapRefusedError(BudgetRefusedError):
    """The envelope of one request leaves no room, whatever money is left."""


class HeldCaller:
    """Sends the calls of one request and charges each to its hold.

    A call whose outcome is unknown is charged at its bound: an error or a broken connection after
    it was sent, a reply without usage, a task that was cancelled while it waited. Charged nothing
    is a call that never had a connection to leave by, whatever ended it, and one that the upstream
    rejected before any work: providers do not bill those.

    Args:
        upstream: Where the calls go.
        prices: Of every model that is called.
        hold: The request's money.
        envelope: What the request may not exceed, beside the money.
        gpu_seconds: GPU-seconds per million tokens, where budgets count them.
    """

    def __init__(
        self,
        upstream: Chat,
        prices: PriceCard,
        hold: Hold,
        envelope: Envelope | None = None,
        gpu_seconds: PriceCard | None = None,
    ) -> None:
        self.bill = Bill()
        self._room = Room(envelope or Envelope())
        self._upstream = upstream
        self._prices = prices
        self._gpu_seconds = gpu_seconds
        self._hold = hold
        self._stopped = False

    def stop(self) -> None:
        """Send no further call. Those in flight run on, so that their usage becomes known."""
        self._stopped = True

    async def __call__(self, call: ChatCall) -> Completion:
        """Send one call.

        Raises:
            UpstreamError: It failed; it is charged already.
            CapRefusedError: It could leave the request's envelope; nothing was sent.
            BudgetRefusedError: No money for it; nothing was sent.
            AbandonedError: `stop` was called; nothing was sent.
        """
        if self._stopped:
            raise AbandonedError("the client has left")
        price = self._prices.price(call.model)
        most_in, most_out = prompt_tokens_bound(call.messages, call), call.n * call.max_tokens
        bound = CallBound(most_in + most_out, price.cost_nano_usd(most_in, most_out))
        refusal = self._room.refusal(bound)
        if refusal:
            raise CapRefusedError(refusal)
        gpu = self._gpu_seconds.price(call.model) if self._gpu_seconds else None
        paid = self._hold.call(
            bound.nano_usd,
            tokens=bound.tokens,
            nano_gpu_s=gpu.cost_nano_usd(most_in, most_out) if gpu else 0,
        )
        self._room.take(bound)
        bill = self.bill
        used = bound.tokens
        tokens_in = tokens_out = None
        began = time.perf_counter()
        try:
            reply = await self._upstream.chat(call)
            tokens_in, tokens_out = reply.tokens_in, reply.tokens_out
            if tokens_in is not None and tokens_out is not None:
                used, broke = tokens_in + tokens_out, tokens_out > most_out
                paid.settle(
                    price.cost_nano_usd(tokens_in, tokens_out),
                    tokens=used,
                    nano_gpu_s=gpu.cost_nano_usd(tokens_in, tokens_out) if gpu else 0,
                    broke_cap=broke,
                )
                bill.tokens_in += tokens_in
                bill.tokens_out += tokens_out
            bill.tokens_reasoning = _sum(bill.tokens_reasoning, reply.tokens_reasoning)
            bill.tokens_cached = _sum(bill.tokens_cached, reply.tokens_cached)
        except (UpstreamError, asyncio.CancelledError) as error:
            if certainly_not_sent(error):
                paid.not_sent()
            elif isinstance(error, UpstreamRejectedError):
                paid.rejected()
            used = used if paid.charged is None else 0
            raise
        finally:
            if paid.charged is None:
                paid.unknown()
                bill.usage_known = False
            cost = paid.charged.nano_usd if paid.charged else 0
            self._room.settle(bound, used, cost)
            bill.cost_nano_usd += cost
            bill.calls += 1
            took_s = time.perf_counter() - began
            bill.steps.append(
                Step(call.purpose, call.model, "", tokens_in, tokens_out, cost, took_s)
            )
        return reply


def _sum(so_far: int | None, more: int | None) -> int | None:
    """Unknown once a part is unknown."""
    return None if so_far is None or more is None else so_far + more
