"""Requests for embeddings: the model that they name answers them; held and charged like all."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Protocol

from profiles.errors import InputError, UpstreamError
from profiles.money import PriceCard, to_usd
from runtime import openai
from runtime.ledger import Call, Ledger, limit_nano_usd
from runtime.strategies import TimeCapError
from runtime.tenants.identity import Identity
from runtime.tenants.request_limits import RequestLimitError, RequestLimits
from runtime.tenants.users import UserAccounts
from runtime.upstream import UpstreamRejectedError, certainly_not_sent
from runtime.upstream_embeddings import Embeddings


class Embeds(Protocol):
    """What `runtime.upstreams.Upstreams` does."""

    async def embeddings(self, model: str, body: bytes) -> Embeddings:
        """Pass a request through."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A reply with what it cost.

    Attributes:
        request_id: Ours, unique.
        content: The upstream's reply, byte for byte.
        cost_nano_usd: What was charged.
    """

    request_id: str
    content: bytes
    cost_nano_usd: int


class EmbeddingService:
    """Answers requests for embeddings and keeps the budgets.

    Args:
        upstream: Where they go.
        prices: Of every model that may be asked; others do not exist.
        ledger: Keeps the budgets.
        scopes: The policy's, on which every request holds.
        users: Opens users' accounts in that ledger.
        gpu_seconds: GPU-seconds per million tokens, where budgets count them.
    """

    def __init__(
        self,
        upstream: Embeds,
        prices: PriceCard,
        ledger: Ledger,
        *,
        scopes: tuple[str, ...],
        users: UserAccounts,
        gpu_seconds: PriceCard | None = None,
    ) -> None:
        self.models = tuple(prices.models)
        self._upstream = upstream
        self._prices = prices
        self._gpu_seconds = gpu_seconds
        self._ledger = ledger
        self._scopes = scopes
        self._users = users

    async def answer(self, asked: openai.EmbeddingRequest, identity: Identity | None) -> Embedded:
        """Hold, ask and settle. Whoever is cancelled meanwhile is charged the bound.

        Raises:
            InputError: No such model, or more than the key may ask.
            TimeCapError: It took longer than the key may ask for; the bound is charged.
            BudgetRefusedError: A scope has no room.
            UpstreamError: No embeddings; what may have been sent is charged.
        """
        if asked.model not in self.models:
            raise InputError("no such model for embeddings", where="model", got=repr(asked.model))
        tokens = openai.embedding_tokens_bound(asked)
        scopes = self._scopes
        if identity is not None:
            identity.limits.refuse_prompt(tokens)
            scopes += identity.scopes("")
        bound = self._amounts(asked.model, tokens)
        limits = RequestLimits() if identity is None else identity.limits
        _refuse_beyond(limits, tokens, bound[0])
        request_id = uuid.uuid4().hex
        with self._users.opened(identity):
            hold = await self._ledger.admit(
                request_id, bound[0], scopes, tokens=bound[1], nano_gpu_s=bound[2]
            )
        try:
            call = hold.call(bound[0], tokens=bound[1], nano_gpu_s=bound[2])
            body = openai.embedding_body(asked, asked.model)
            async with asyncio.timeout(limits.wall_s):
                found = await self._charged(call, asked.model, body)
        except TimeoutError as error:
            raise TimeCapError(f"not answered within {limits.wall_s} s") from error
        finally:
            hold.close()
        return Embedded(request_id, found.content, hold.charged.nano_usd)

    async def _charged(self, call: Call, model: str, body: bytes) -> Embeddings:
        try:
            found = await self._upstream.embeddings(model, body)
        except (UpstreamError, asyncio.CancelledError) as error:
            if certainly_not_sent(error):
                call.not_sent()
            elif isinstance(error, UpstreamRejectedError):
                call.rejected()
            raise  # else the hold's end charges the bound
        if found.tokens_in is not None:
            nano_usd, tokens, nano_gpu_s = self._amounts(model, found.tokens_in)
            call.settle(nano_usd, tokens=tokens, nano_gpu_s=nano_gpu_s)
        return found

    def _amounts(self, model: str, tokens: int) -> tuple[int, int, int]:
        """Dollars, tokens and GPU-seconds, in the ledger's units."""
        gpu = self._gpu_seconds.price(model).cost_nano_usd(tokens, 0) if self._gpu_seconds else 0
        return self._prices.price(model).cost_nano_usd(tokens, 0), tokens, gpu


def _refuse_beyond(limits: RequestLimits, tokens: int, nano_usd: int) -> None:
    """Refuse what may use more than a key's requests may.

    Raises:
        RequestLimitError: More tokens or dollars.
    """
    if limits.tokens is not None and tokens > limits.tokens:
        raise RequestLimitError("tokens", limits.tokens, tokens)
    if limits.usd is not None and nano_usd > limit_nano_usd(limits.usd):
        raise RequestLimitError("usd", limits.usd, to_usd(nano_usd))
