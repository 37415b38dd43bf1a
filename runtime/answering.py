"""Measuring through the very executors that later serve."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from profiles.money import PriceCard, TokenPrice
from profiles.query import Answered
from profiles.strategy import Strategy
from runtime.caller import Chat, HeldCaller
from runtime.checkers import (
    Extractor,
    ExtractorFunction,
    Verifier,
    VerifierFunction,
    as_verifiers,
    final_answer,
)
from runtime.ledger import Ledger, Scope
from runtime.strategies import Executor, Outcome, Request, Tools, build
from runtime.upstream import Message, Upstream

Answerer = Callable[[str, str, int], Awaitable[Answered]]
_UNPRICED = TokenPrice(input=0, output=0)


@asynccontextmanager
async def answerer(
    url: str,
    *,
    prices: PriceCard,
    verifiers: Mapping[str, Verifier | VerifierFunction] | None = None,
    extract: ExtractorFunction | None = None,
    api_key: str | None = None,
    max_tokens: int | None = None,
    answers_per_call: int = 128,
    timeout_s: float = 120.0,
) -> AsyncIterator[Answerer]:
    """`make_answerer` on an upstream of its own, which is closed at the end."""
    async with Upstream(url, api_key, timeout_s=timeout_s) as upstream:
        yield make_answerer(
            upstream,
            prices,
            verifiers=verifiers,
            extract=extract,
            max_tokens=max_tokens,
            answers_per_call=answers_per_call,
        )


def make_answerer(
    upstream: Chat,
    prices: PriceCard,
    *,
    verifiers: Mapping[str, Verifier | VerifierFunction] | None = None,
    extract: ExtractorFunction | None = None,
    max_tokens: int | None = None,
    answers_per_call: int = 128,
    ledger: Ledger | None = None,
) -> Answerer:
    """A function (strategy text, prompt, seed) -> `Answered` for `profiles.measure.measure`.

    Args:
        upstream: Where the calls go.
        prices: Prices of the models. A strategy that calls a model without a price is answered
            with an unknown cost, unless a ledger pays.
        verifiers: Functions (prompt, answer) -> 0..1 by the names that strategies use.
        extract: Finds the final answer in a text; marked answers or the last line where absent.
        max_tokens: Cap on completion tokens of every call; a strategy may have a lower one.
        answers_per_call: Most answers one call may ask for; 1 where the upstream does not know `n`.
        ledger: Pays for the measuring on all its scopes; nothing limits it where absent.

    The function raises `InputError` for a text that is no known strategy, `UnknownValueError` for a
    strategy without a cap or, with a ledger, a model without a price, `UpstreamError` when no
    answer came, and `BudgetRefusedError` when the ledger has no room. A cost is None where a price
    or the usage is unknown.
    """
    tools = Tools(
        as_verifiers(verifiers or {}), Extractor(extract or final_answer), answers_per_call
    )
    bench = _Bench(upstream, prices, tools, max_tokens, ledger)
    return bench.answer


class _Bench:
    """Strategies on trial: built once per text."""

    def __init__(
        self,
        upstream: Chat,
        prices: PriceCard,
        tools: Tools,
        max_tokens: int | None,
        ledger: Ledger | None,
    ) -> None:
        self._upstream = upstream
        self._prices = prices
        self._tools = tools
        self._max_tokens = max_tokens
        self._ledger = ledger or Ledger([Scope("measuring")])
        self._must_know_prices = ledger is not None
        self._executors: dict[str, Executor] = {}
        self._numbers = itertools.count()

    async def answer(self, strategy: str, prompt: str, seed: int) -> Answered:
        """One answer by one strategy."""
        executor = self._executor(strategy)
        prices, priced = self._prices_of(executor.strategy)
        request = Request((Message("user", prompt),), prompt, seed, self._max_tokens)
        bound = executor.bound_nano_usd(request.prompt_tokens_bound, self._max_tokens, prices)
        hold = self._ledger.hold(f"measuring-{next(self._numbers)}", bound)
        start = time.perf_counter()
        try:
            found = await executor.answer(request, HeldCaller(self._upstream, prices, hold))
        finally:
            hold.close()
        return _answered(found, time.perf_counter() - start, priced=priced)

    def _executor(self, strategy: str) -> Executor:
        executor = self._executors.get(strategy)
        if executor is None:
            executor = self._executors[strategy] = build(strategy, self._tools)
        return executor

    def _prices_of(self, strategy: Strategy) -> tuple[PriceCard, bool]:
        """Prices of the models in use, and whether all of them are known."""
        models = strategy.models()
        if self._must_know_prices or all(model in self._prices.models for model in models):
            return self._prices, True
        return PriceCard(models=dict.fromkeys(models, _UNPRICED)), False


def _answered(found: Outcome, latency_s: float, *, priced: bool) -> Answered:
    known = found.usage_known
    return Answered(
        text=found.text,
        cost_nano_usd=found.cost_nano_usd if known and priced else None,
        latency_s=latency_s,
        tokens_in=found.tokens_in if known else None,
        tokens_out=found.tokens_out if known else None,
        calls=found.calls,
    )
