"""Several answers and a vote (Wang et al. 2023)."""

from __future__ import annotations

from pydantic import Field

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


class SelfConsistencyParams(Sampled):
    """Parameters of `SelfConsistency`."""

    k: int = Field(ge=2, le=1024, description="Answers that vote.")
    temperature: float | None = Field(default=None, gt=0, le=2, description="None: upstream's.")


class SelfConsistency(Method):
    """``model/self_consistency(k=8,temperature=0.8)``: the answer that most samples agree on."""

    def __init__(self, strategy: Strategy, tools: Tools) -> None:
        params = read_params(strategy, SelfConsistencyParams)
        super().__init__(strategy, tools, params)
        self._k = params.k
        self._how = Sampling(self._model, params, tools.answers_per_call, varied=True)

    async def answer(self, request: Request, caller: Caller) -> Outcome:
        """Draw `k` answers and return the first that carries the winning final answer."""
        cap = self._max_tokens(request.max_tokens)
        drawn = await draw(self._how, request, caller, answers=self._k, max_tokens=cap)
        votes: dict[str, list[int]] = {}
        for index, final in enumerate(await self._tools.extractor.extract_all(drawn.texts)):
            votes.setdefault(final, []).append(index)
        # max() keeps the first of equals, and dictionaries keep the order of first sight.
        first = max(votes.values(), key=len)[0]
        return outcome(
            drawn.texts[first], drawn.finish_reasons[first], caller, finished=drawn.complete
        )


register("self_consistency", SelfConsistency)
