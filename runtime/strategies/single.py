"""One answer from one model."""

from __future__ import annotations

from profiles.strategy import Strategy
from runtime.strategies.base import (
    Caller,
    Method,
    Outcome,
    Request,
    Sampled,
    Tools,
    outcome,
    read_params,
    register,
)
from runtime.strategies.sampling import Sampling, draw


class Single(Method):
    """``model/single(temperature=0.2,max_tokens=512)``: ask once."""

    def __init__(self, strategy: Strategy, tools: Tools) -> None:
        params = read_params(strategy, Sampled)
        super().__init__(strategy, tools, params)
        self._how = Sampling(self._model, params, tools.answers_per_call)

    async def answer(self, request: Request, caller: Caller) -> Outcome:
        """Ask once."""
        cap = self._max_tokens(request.max_tokens)
        drawn = await draw(self._how, request, caller, answers=1, max_tokens=cap)
        return outcome(drawn.texts[0], drawn.finish_reasons[0], caller, finished=True)


register("single", Single)
