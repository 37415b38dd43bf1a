"""What every way to answer has in common: a bound before it starts, an answer however it ends."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from profiles.errors import InferbudgetError, InputError
from profiles.methods import understood
from profiles.methods.counting import ANSWERS_PER_CALL
from profiles.methods.method import Params, Room
from profiles.methods.passing import passes_through
from profiles.methods.verifiers import WORDS
from profiles.money import PriceCard
from profiles.request_bound import bound_nano_usd
from profiles.strategy import Strategy, parse
from runtime.checkers import Extractor, Verifier, final_answer
from runtime.strategies.attempt import Attempt, Caller, Outcome, Request


class TimeCapError(InferbudgetError):
    """A request took longer than it may, and no answer was there yet."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What strategies need beside a model.

    Attributes:
        verifiers: By the name that strategies use.
        extractor: Finds the final answer in a text.
        answers_per_call: Most answers one call may ask for; 1 where upstreams do not know `n`.
    """

    verifiers: Mapping[str, Verifier] = field(default_factory=dict)
    extractor: Extractor = field(default_factory=lambda: Extractor(final_answer))
    answers_per_call: int = ANSWERS_PER_CALL

    def verifier(self, name: str, where: str) -> Verifier:
        """The verifier of this name.

        Raises:
            InputError: Nobody registered it.
        """
        if name in self.verifiers:
            return self.verifiers[name]
        raise InputError(
            f"no verifier is called {name!r}",
            where=where,
            expected=f"one of {', '.join(sorted({*self.verifiers, *WORDS}))}, or a model that "
            "judges: model/judge, model/reward",
            next_step=f"register it: {name}=module:function, or {name}=regex:PATTERN and the like",
        )


P = TypeVar("P", bound=Params)


class StrategyExecutor(ABC, Generic[P]):
    """A strategy, ready to run.

    Args:
        strategy: What it executes.
        params: Its parameters.
        tools: Verifiers and extractor.

    Attributes:
        strategy: What it executes.
        params: Its parameters.
        tools: Verifiers and extractor.
    """

    def __init__(self, strategy: Strategy, params: P, tools: Tools) -> None:
        self.strategy = strategy
        self.params = params
        self.tools = tools

    @property
    def model(self) -> str:
        """The model that answers; empty for combinations."""
        return self.strategy.model or ""

    @abstractmethod
    async def solve(self, attempt: Attempt) -> None:
        """Run the strategy; `keep` an answer as soon as there is one, and every better one.

        It sends only calls that the method's worst case counts.

        Raises:
            InferbudgetError: It cannot go on; the best answer so far stands, where there is one.
        """

    def cap(self, attempt: Attempt) -> int:
        """Cap on the completion tokens of a call that has no cap of its own.

        Raises:
            UnknownValueError: Nobody gives one.
        """
        return self.room(attempt.request).cap(self.params.max_tokens)

    def room(self, request: Request) -> Room:
        """What the method's worst case is reckoned with."""
        asked = request.prompt_tokens_bound, request.max_tokens, self.tools.answers_per_call
        return Room(self.strategy, *asked)

    def bound_nano_usd(self, prompt_tokens: int, max_tokens: int | None, prices: PriceCard) -> int:
        """Upper bound of the whole strategy tree, known before the first call.

        Args:
            prompt_tokens: See `Request.prompt_tokens_bound`.
            max_tokens: Cap of policy and client, None where neither gives one.
            prices: Every model's price.

        Raises:
            UnknownValueError: A model without a price, or no cap on completion tokens.
        """
        asked = self.tools.answers_per_call
        return bound_nano_usd(self.strategy, prompt_tokens, max_tokens, prices, asked)

    async def answer(self, request: Request, caller: Caller) -> Outcome:
        """Run the strategy; what ends it early leaves the best answer so far.

        Raises:
            UpstreamError: No call gave an answer.
            BudgetRefusedError: No money for the first call.
            TimeCapError: No answer within the request's time.
            InputError: Tools, or a format of the reply, for a strategy that compares texts.
        """
        self._refuse_form(request)
        attempt = Attempt(request, caller)
        try:
            if request.wall_s is None:
                await self.solve(attempt)
            else:
                await self._solve_within(request.wall_s, attempt)
        except InferbudgetError as error:
            if attempt.best is None:
                raise
            attempt.complete = False
            attempt.note("cut short", str(error))
        return attempt.outcome()

    async def _solve_within(self, wall_s: float, attempt: Attempt) -> None:
        try:
            async with asyncio.timeout(wall_s) as limit:
                await self.solve(attempt)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if attempt.best is None:
                raise TimeCapError(
                    f"no answer within {wall_s:g} s, which one request may take"
                ) from error
            attempt.complete = False
            attempt.note("cut short", f"its {wall_s:g} s are over")

    def _refuse_form(self, request: Request) -> None:
        if request.form.plain or passes_through(self.strategy):
            return
        raise InputError(
            "this strategy cannot answer requests with tools or with a format of the reply",
            where=f"strategy {self.strategy}",
            next_step="use one whose answer is one reply, such as model/single",
        )


_EXECUTORS: dict[str, type[StrategyExecutor[Any]]] = {}
Kind = TypeVar("Kind", bound=type[StrategyExecutor[Any]])


def executes(method: str) -> Callable[[Kind], Kind]:
    """Make a class the executor of a method."""

    def remember(kind: Kind) -> Kind:
        _EXECUTORS[method] = kind
        return kind

    return remember


def methods() -> tuple[str, ...]:
    """Names of all methods that can be executed, sorted."""
    return tuple(sorted(_EXECUTORS))


def build(text: str | Strategy, tools: Tools | None = None) -> StrategyExecutor[Any]:
    """An executor for a strategy; everything that can be wrong with its text is found here.

    Raises:
        InputError: Unknown method, parameter or verifier; names the nearest known word.
    """
    strategy = text if isinstance(text, Strategy) else parse(text)
    method, params = understood(strategy)
    return _EXECUTORS[method.name](strategy, params, tools or Tools())
