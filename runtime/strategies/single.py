"""One answer from one model."""

from __future__ import annotations

from msgspec.structs import replace

from profiles.methods.method import Sampled
from runtime.strategies.attempt import Attempt, Request
from runtime.strategies.base import StrategyExecutor, executes
from runtime.strategies.sampling import Sampling, answers_of
from runtime.upstream import ChatCall


@executes("single")
class Single(StrategyExecutor[Sampled]):
    """``model/single(temperature=0.2,max_tokens=512)``: ask once."""

    async def solve(self, attempt: Attempt) -> None:
        """Ask once."""
        call = self.call(attempt.request, self.cap(attempt))
        if attempt.request.on_text is not None:
            call = replace(call, on_text=attempt.request.on_text)
        attempt.keep(answers_of(await attempt.caller(call))[0])

    def call(self, request: Request, max_tokens: int) -> ChatCall:
        """What is asked."""
        how = Sampling(self.model, self.params, self.tools.answers_per_call)
        return how.call(request, max_tokens)
