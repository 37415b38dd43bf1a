"""An answer that is tried again after a look at why it failed (Shinn et al. 2023)."""

from __future__ import annotations

from msgspec.structs import replace

from profiles.methods.counting import quoted
from profiles.methods.instructions import REFLECT, RETRY
from profiles.methods.reflexion import ReflexionParams, reflection_cap
from profiles.strategy import Strategy
from runtime.strategies.attempt import Answer, Attempt, derived_seed
from runtime.strategies.base import StrategyExecutor, Tools, executes
from runtime.strategies.sampling import Sampling, answers_of
from runtime.strategies.scoring import scorer_of
from runtime.upstream import ChatCall, Message


@executes("reflexion")
class Reflexion(StrategyExecutor[ReflexionParams]):
    """``model/reflexion(rounds=3,verifier=checker)``: the best-scored answer, of equals the last.

    Of equal scores a whole answer stands before one that was cut, and both before an empty one.
    Ends at a score of 1 and, with ``if_worse=stop``, at an answer that scores lower than the best.
    Each round reflects on the best answer so far; older ones and their reflections are forgotten.
    """

    def __init__(self, strategy: Strategy, params: ReflexionParams, tools: Tools) -> None:
        super().__init__(strategy, params, tools)
        self._scorer = scorer_of(params.verifier, strategy, tools, "verifier")

    async def solve(self, attempt: Attempt) -> None:
        """Answer, then reflect and try again until the verifier is satisfied."""
        request = attempt.request
        confident = self._scorer.needs_confidence
        how = Sampling(self.model, self.params, self.tools.answers_per_call, confident)
        call = how.call(request, self.cap(attempt))
        best = await self._ask(attempt, call)
        attempt.keep(best)
        highest = await self._score(attempt, best, call)
        for number in range(self.params.rounds):
            if highest >= 1.0:
                return
            answer = await self._again(attempt, call, best, number)
            score = await self._score(attempt, answer, call)
            if (score, answer.wholeness) >= (highest, best.wholeness):
                best, highest = answer, score
                attempt.keep(best)
            elif score < highest and self.params.if_worse == "stop":
                attempt.note("stopped", f"{score:g} is worse than {highest:g}")
                return

    async def _again(self, attempt: Attempt, call: ChatCall, answer: Answer, number: int) -> Answer:
        request = attempt.request
        remark = reflection_cap(self.params, self.room(request))
        messages = (
            *request.messages,
            Message("assistant", quoted(answer.text, call.max_tokens)),
            Message("user", REFLECT),
        )
        reflect = replace(
            call,
            messages=messages,
            max_tokens=remark,
            stop=(),
            logprobs=False,
            seed=derived_seed(request.seed, 2 * number + 1),
            purpose="reflect",
        )
        reflection = await self._ask(attempt, reflect)
        messages += (
            Message("assistant", quoted(reflection.text, remark)),
            Message("user", RETRY),
        )
        seed = derived_seed(request.seed, 2 * number + 2)
        return await self._ask(attempt, replace(call, messages=messages, seed=seed))

    async def _ask(self, attempt: Attempt, call: ChatCall) -> Answer:
        return answers_of(await attempt.caller(call))[0]

    async def _score(self, attempt: Attempt, answer: Answer, call: ChatCall) -> float:
        return (await self._scorer.scores(attempt, [answer], call.max_tokens))[0]
