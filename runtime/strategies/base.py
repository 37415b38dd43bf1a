"""What every way to answer has in common: a bound before it starts, calls while it runs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from profiles.errors import InputError
from profiles.money import PriceCard
from profiles.request_bound import (
    ANSWERS_PER_CALL,
    bound_nano_usd,
    chat_tokens,
    lowest,
    no_token_cap,
)
from profiles.strategy import Strategy, parse
from runtime.checkers import Extractor, Verifier, final_answer
from runtime.upstream import ChatCall, Completion, Message

_MAX_SEED = 2**31


class Params(BaseModel):
    """Parameters of a method: strict, bounded, nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    max_tokens: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Cap on completion tokens of every call."
    )


class Sampled(Params):
    """Parameters of methods that draw samples."""

    temperature: float | None = Field(default=None, ge=0, le=2, description="None: upstream's.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="None: upstream's.")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be answered.

    Attributes:
        messages: The chat so far.
        prompt_text: The question itself, for verifiers.
        seed: The same seed asks for the same samples.
        max_tokens: Cap of policy and client on completion tokens of every call.
        temperature: The client's wish; counts where the strategy sets none.
        top_p: The client's wish; counts where the strategy sets none.
        stop: Texts that end an answer.
    """

    messages: tuple[Message, ...]
    prompt_text: str
    seed: int
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()

    @property
    def prompt_tokens_bound(self) -> int:
        """No byte-level tokenizer makes more prompt tokens of the messages than this."""
        return prompt_tokens_bound(self.messages)


@dataclass(slots=True)
class Bill:
    """What the calls of one request came to.

    Attributes:
        calls: Calls that were begun, those that failed or never left included.
        tokens_in: Prompt tokens billed, as far as known.
        tokens_out: Completion tokens billed, as far as known.
        cost_nano_usd: Charged, unknown calls at their bound.
        usage_known: False once a call's usage is unknown.
        tokens_reasoning: Of `tokens_out`, hidden reasoning; None once a reply did not say.
        tokens_cached: Of `tokens_in`, from a cache; None once a reply did not say.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nano_usd: int = 0
    usage_known: bool = True
    tokens_reasoning: int | None = 0
    tokens_cached: int | None = 0


class Caller(Protocol):
    """Sends calls and charges each as it ends."""

    @property
    def bill(self) -> Bill:
        """What the calls so far came to."""

    async def __call__(self, call: ChatCall) -> Completion:
        """Send one call.

        Raises:
            UpstreamError: It failed; it is charged already.
            BudgetRefusedError: No money for it; nothing was sent.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer and what the whole request came to.

    Attributes:
        text: The answer.
        calls: Calls that were begun, those that failed or never left included.
        tokens_in: Prompt tokens billed, as far as known.
        tokens_out: Completion tokens billed, as far as known.
        cost_nano_usd: Charged, unknown calls at their bound.
        usage_known: False where a call's usage is unknown, so the cost is a bound.
        finished: False where an error or missing money cut the strategy short.
        finish_reason: Why the chosen answer ended: ``stop`` or ``length``.
        tokens_reasoning: Of `tokens_out`, hidden reasoning; None where a reply did not say.
        tokens_cached: Of `tokens_in`, from a cache; None where a reply did not say.
    """

    text: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost_nano_usd: int
    usage_known: bool
    finished: bool
    finish_reason: str
    tokens_reasoning: int | None = None
    tokens_cached: int | None = None


class Executor(Protocol):
    """A strategy, ready to run."""

    @property
    def strategy(self) -> Strategy:
        """What it executes."""

    def bound_nano_usd(self, prompt_tokens: int, max_tokens: int | None, prices: PriceCard) -> int:
        """Upper bound of the whole strategy tree, known before the first call.

        Args:
            prompt_tokens: See `Request.prompt_tokens_bound`.
            max_tokens: Cap of policy and client, None where neither gives one.
            prices: Every model's price.

        Raises:
            UnknownValueError: A model without a price, or no cap on completion tokens.
        """

    async def answer(self, request: Request, caller: Caller) -> Outcome:
        """Run the strategy.

        Raises:
            UpstreamError: No call gave an answer.
            BudgetRefusedError: No money for the first call.
        """


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
            expected=f"one of {', '.join(sorted(self.verifiers)) or 'none so far'}",
            next_step=f"register it as {name}=module:function",
        )


P = TypeVar("P", bound=Params)
Factory = Callable[[Strategy, Tools], Executor]
_METHODS: dict[str, Factory] = {}


class Method:
    """What executors on one model share: its name and the frame around its calls."""

    name: ClassVar[str]

    def __init__(self, strategy: Strategy, tools: Tools, params: Params) -> None:
        if strategy.model is None:
            raise InputError(
                "this method needs a model", where=f"strategy {strategy}", expected="model/method"
            )
        self._strategy = strategy
        self._model = strategy.model
        self._tools = tools
        self._cap = params.max_tokens

    @property
    def strategy(self) -> Strategy:
        """What it executes."""
        return self._strategy

    def _max_tokens(self, cap: int | None) -> int:
        found = lowest(self._cap, cap)
        if found is None:
            raise no_token_cap(self._strategy)
        return found

    def bound_nano_usd(self, prompt_tokens: int, max_tokens: int | None, prices: PriceCard) -> int:
        """Every call that could happen, with capped answers."""
        asked = self._tools.answers_per_call
        return bound_nano_usd(self._strategy, prompt_tokens, max_tokens, prices, asked)


def register(method: str, factory: Factory) -> None:
    """Make a method known under its name."""
    _METHODS[method] = factory


def methods() -> tuple[str, ...]:
    """Names of all methods, sorted."""
    return tuple(sorted(_METHODS))


def build(text: str | Strategy, tools: Tools | None = None) -> Executor:
    """An executor for a strategy; everything that can be wrong with its text is found here.

    Raises:
        InputError: Unknown method, parameter or verifier; names the nearest known word.
    """
    strategy = text if isinstance(text, Strategy) else parse(text)
    factory = _METHODS.get(strategy.method)
    if factory is None:
        near = difflib.get_close_matches(strategy.method, _METHODS, n=1)
        raise InputError(
            f"unknown method {strategy.method!r}",
            where=f"strategy {strategy}",
            expected=f"one of {', '.join(methods())}",
            next_step=f"did you mean {near[0]!r}?" if near else None,
        )
    return factory(strategy, tools or Tools())


def read_params(strategy: Strategy, model: type[P]) -> P:
    """The parameters of a strategy, checked.

    Raises:
        InputError: Names the parameter, and the nearest known one where it is unknown.
    """
    try:
        return model.model_validate(dict(strategy.params))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        place = f"strategy {strategy}: {name}"
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, model.model_fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else None
            known = ", ".join(sorted(model.model_fields))
            raise InputError(
                "unknown parameter", where=place, expected=f"one of {known}", next_step=hint
            ) from error
        if first["type"] == "missing":
            raise InputError("this parameter is missing", where=place) from error
        raise InputError(first["msg"], where=place, got=str(first["input"])) from error


def outcome(text: str, finish_reason: str, caller: Caller, *, finished: bool) -> Outcome:
    """An outcome with the caller's bill."""
    bill = caller.bill
    return Outcome(
        text=text,
        calls=bill.calls,
        tokens_in=bill.tokens_in,
        tokens_out=bill.tokens_out,
        cost_nano_usd=bill.cost_nano_usd,
        usage_known=bill.usage_known,
        finished=finished,
        finish_reason=finish_reason,
        tokens_reasoning=bill.tokens_reasoning,
        tokens_cached=bill.tokens_cached,
    )


def prompt_tokens_bound(messages: Iterable[Message]) -> int:
    """No byte-level tokenizer makes more prompt tokens of these messages than this."""
    return chat_tokens(
        len(message.content.encode()) + len((message.name or "").encode()) for message in messages
    )


def derived_seed(seed: int, index: int) -> int:
    """The seed of one of several calls; call 0 keeps the request's own."""
    return (seed + index * 0x9E3779B1) % _MAX_SEED


def stage_seed(seed: int, index: int) -> int:
    """The seed of one of several stages, hashed so that no two calls of them share one."""
    return int.from_bytes(blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()) % _MAX_SEED
