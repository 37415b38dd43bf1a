"""Several answers and a verifier that picks one (Cobbe et al. 2021)."""

from __future__ import annotations

from pydantic import Field

from profiles.errors import InferbudgetError
from profiles.request_bound import split
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
from runtime.strategies.sampling import Drawn, Sampling, draw


class BestOfNParams(Sampled):
    """Parameters of `BestOfN`."""

    n: int = Field(ge=2, le=1024, description="Most answers to draw.")
    verifier: str = Field(description="Name of the verifier that scores them.")
    batch: int | None = Field(
        default=None, ge=1, description="Answers per round; a round that satisfies is the last."
    )
    temperature: float | None = Field(default=None, gt=0, le=2, description="None: upstream's.")


class BestOfN(Method):
    """``model/best_of_n(n=16,verifier=checker)``: the first answer with score 1, else the best.

    With ``batch`` the answers are drawn in rounds, and no round follows one that brought a score
    of 1. Each round sends the prompt again.
    """

    def __init__(self, strategy: Strategy, tools: Tools) -> None:
        params = read_params(strategy, BestOfNParams)
        super().__init__(strategy, tools, params)
        self._verifier = tools.verifier(params.verifier, f"strategy {strategy}: verifier")
        self._rounds = tuple(split(params.n, params.batch or params.n))
        self._how = Sampling(self._model, params, tools.answers_per_call, varied=True)

    async def answer(self, request: Request, caller: Caller) -> Outcome:
        """Draw round by round until the verifier is satisfied or all rounds are through."""
        best = _Best()
        sent = 0
        for size in self._rounds:
            drawn = await self._draw(request, caller, size, sent, best)
            if drawn is None:
                break
            sent += -(-size // self._how.answers_per_call)
            best.look_at(drawn, await self._verifier.scores(request.prompt_text, drawn.texts))
            if best.score >= 1.0:
                break
        return outcome(best.text, best.finish_reason, caller, finished=best.complete)

    async def _draw(
        self, request: Request, caller: Caller, size: int, sent: int, best: _Best
    ) -> Drawn | None:
        """One round; None where it failed after an earlier one brought an answer."""
        cap = self._max_tokens(request.max_tokens)
        try:
            return await draw(self._how, request, caller, answers=size, max_tokens=cap, first=sent)
        except InferbudgetError:
            if not best.seen:
                raise
            best.complete = False
            return None


class _Best:
    """The best answer so far; equals keep the first."""

    def __init__(self) -> None:
        self.text = ""
        self.finish_reason = "stop"
        self.score = -1.0
        self.seen = False
        self.complete = True

    def look_at(self, drawn: Drawn, scores: list[float]) -> None:
        for text, reason, score in zip(drawn.texts, drawn.finish_reasons, scores, strict=True):
            if score > self.score:
                self.text, self.finish_reason, self.score = text, reason, score
        self.seen = True
        self.complete = self.complete and drawn.complete


register("best_of_n", BestOfN)
