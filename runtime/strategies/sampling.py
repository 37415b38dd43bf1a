"""Several answers to one prompt, in as few calls as the upstream allows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from profiles.errors import InferbudgetError
from profiles.request_bound import split
from runtime.strategies.base import Caller, Request, Sampled, derived_seed
from runtime.upstream import ChatCall, Completion


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw from one model.

    Attributes:
        model: The model.
        params: The strategy's own parameters; they win over the client's wishes.
        answers_per_call: Most answers of one call.
        varied: True where equal answers are worth nothing: a client's temperature of 0 is ignored.
    """

    model: str
    params: Sampled
    answers_per_call: int
    varied: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """Answers that arrived.

    Attributes:
        texts: At least one.
        finish_reasons: One per text.
        complete: False where a call failed or brought fewer answers than asked.
    """

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    complete: bool


def chat_call(
    how: Sampling, request: Request, max_tokens: int, *, n: int = 1, first: int = 0
) -> ChatCall:
    """One call for `n` answers; `first` counts the calls of this request from 0."""
    params = how.params
    wish = None if how.varied and request.temperature == 0 else request.temperature
    return ChatCall(
        model=how.model,
        messages=request.messages,
        max_tokens=max_tokens,
        n=n,
        temperature=wish if params.temperature is None else params.temperature,
        top_p=request.top_p if params.top_p is None else params.top_p,
        seed=derived_seed(request.seed, first),
        stop=request.stop,
    )


async def draw(
    how: Sampling,
    request: Request,
    caller: Caller,
    *,
    answers: int,
    max_tokens: int,
    first: int = 0,
) -> Drawn:
    """Draw answers; those that arrive count even where other calls fail.

    Raises:
        InferbudgetError: Every call failed: the first error.
    """
    calls = [
        chat_call(how, request, max_tokens, n=count, first=first + index)
        for index, count in enumerate(split(answers, how.answers_per_call))
    ]
    if len(calls) == 1:
        return _drawn([await caller(calls[0])], answers)
    # Every call runs to its end even when another fails, so that its usage becomes known.
    results = await asyncio.gather(*map(caller, calls), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in errors:
        if not isinstance(error, InferbudgetError):
            raise error
    arrived = [result for result in results if isinstance(result, Completion)]
    if not arrived:
        raise errors[0]
    return _drawn(arrived, answers)


def _drawn(replies: Sequence[Completion], answers: int) -> Drawn:
    texts = tuple(text for reply in replies for text in reply.texts)
    reasons = tuple(reason for reply in replies for reason in reply.finish_reasons)
    return Drawn(texts, reasons, complete=len(texts) >= answers)
