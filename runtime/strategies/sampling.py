"""Answers of one model to one prompt, drawn with as few calls as the upstream allows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from profiles.errors import InferbudgetError
from profiles.methods.counting import split
from profiles.methods.method import Sampled, Varied
from runtime.strategies.attempt import Answer, Attempt, Request, derived_seed
from runtime.upstream import ChatCall, Completion


class Sampling(msgspec.Struct, frozen=True):
    """How to draw from one model.

    Attributes:
        model: The model.
        params: The strategy's own parameters; they win over the client's wishes.
        answers_per_call: Most answers of one call.
        with_confidence: Ask how probable each answer's tokens were.
    """

    model: str
    params: Sampled
    answers_per_call: int
    with_confidence: bool = False

    def call(self, request: Request, max_tokens: int) -> ChatCall:
        """One call for one answer.

        Where equal answers are worth nothing, a client's temperature of 0 is ignored.
        """
        params = self.params
        useless = isinstance(params, Varied) and request.temperature == 0
        wish = None if useless else request.temperature
        return ChatCall(
            model=self.model,
            messages=request.messages,
            max_tokens=max_tokens,
            temperature=wish if params.temperature is None else params.temperature,
            top_p=request.top_p if params.top_p is None else params.top_p,
            seed=request.seed,
            stop=request.stop,
            logprobs=self.with_confidence,
            tools=request.form.tools,
            tool_choice=request.form.tool_choice,
            parallel_tool_calls=request.form.parallel_tool_calls,
            response_format=request.form.response_format,
        )


async def draw(
    how: Sampling, attempt: Attempt, call: ChatCall, *, answers: int, first: int = 0
) -> list[Answer]:
    """Draw answers; those that arrive count even where other calls fail.

    Args:
        how: The model.
        attempt: Is no longer complete where a call fails or brings fewer answers than asked.
        call: What each call asks; its seed is that of the first.
        answers: How many.
        first: Number of the first call among those of the attempt with this seed.

    Returns:
        At least one.

    Raises:
        InferbudgetError: Every call failed: the first error.
    """
    seed = call.seed or 0
    calls = [
        replace(call, n=count, seed=derived_seed(seed, first + index))
        for index, count in enumerate(split(answers, how.answers_per_call))
    ]
    arrived = await all_that_arrive(attempt, calls)
    found = [answer for reply in arrived for answer in answers_of(reply)]
    attempt.complete = attempt.complete and len(found) >= answers
    return found


async def all_that_arrive(attempt: Attempt, calls: Sequence[ChatCall]) -> list[Completion]:
    """The replies of calls that are sent at once, in their order; at least one.

    Every call runs to its end even when another fails, so that its usage becomes known. Answers
    beyond those that a call asked for are left aside: no bound counts what scores them.

    Raises:
        InferbudgetError: Every call failed: the first error.
    """
    if len(calls) == 1:
        return [_asked_for(calls[0], await attempt.caller(calls[0]))]
    results = await asyncio.gather(*map(attempt.caller, calls), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in errors:
        if not isinstance(error, InferbudgetError):
            raise error
    arrived = [
        _asked_for(call, result)
        for call, result in zip(calls, results, strict=True)
        if isinstance(result, Completion)
    ]
    if not arrived:
        raise errors[0]
    attempt.complete = attempt.complete and not errors
    return arrived


def _asked_for(call: ChatCall, reply: Completion) -> Completion:
    most = call.n
    return replace(
        reply,
        texts=reply.texts[:most],
        finish_reasons=reply.finish_reasons[:most],
        confidences=reply.confidences[:most],
        tool_calls=reply.tool_calls[:most],
    )


def answers_of(reply: Completion) -> list[Answer]:
    """The answers of one reply."""
    unsaid = (None,) * len(reply.texts)
    said = zip(
        reply.texts,
        reply.finish_reasons,
        reply.confidences or unsaid,
        reply.tool_calls or unsaid,
        strict=True,
    )
    return [
        Answer(text, reason, confidence, tool_calls=calls or ())
        for text, reason, confidence, calls in said
    ]
