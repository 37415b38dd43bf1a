"""Strategies within strategies, as they run."""

from __future__ import annotations

from msgspec.structs import replace

from profiles.methods.counting import lowest
from profiles.methods.method import Params
from runtime.strategies.attempt import Answer, Attempt, Bill, Caller, Request, stage_seed
from runtime.upstream import ChatCall, Completion


def part_request(params: Params, request: Request, index: int) -> Request:
    """What a part is asked: under the caps of both, with seeds of its own, nothing streamed.

    Args:
        params: Of the strategy that it is a part of.
        request: Of that strategy.
        index: Number of the part, at least 0.
    """
    cap = lowest(params.max_tokens, request.max_tokens)
    seed, draw = stage_seed(request.seed, index), request.draw_seed
    draw = None if draw is None else stage_seed(draw, index)
    return replace(request, max_tokens=cap, seed=seed, draw_seed=draw, on_text=None)


def answer_of(part: Attempt) -> Answer:
    """What a part that ended without an error, or failed late, has found."""
    if part.best is None:
        raise AssertionError("a part ended without an answer and without an error")
    return part.best


def take(attempt: Attempt, part: Attempt) -> None:
    """The answer of a part that ended without an error is this one's."""
    attempt.complete = attempt.complete and part.complete
    attempt.keep(answer_of(part))


class AskingConfidence:
    """Sends calls that also ask how probable the tokens of the answers were."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    @property
    def bill(self) -> Bill:
        """What the calls so far came to."""
        return self._caller.bill

    async def __call__(self, call: ChatCall) -> Completion:
        """Send one call.

        Raises:
            UpstreamError: It failed; it is charged already.
            BudgetRefusedError: No money for it; nothing was sent.
        """
        # a reward model generates no token that it could tell about
        return await self._caller(replace(call, logprobs=call.max_tokens > 0))
