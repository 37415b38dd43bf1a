"""An answer that is criticised and written again (Madaan et al. 2023)."""

from __future__ import annotations

from msgspec.structs import replace

from profiles.methods.counting import quoted
from profiles.methods.instructions import CRITIQUE, NO_ISSUES, REFINE
from profiles.methods.self_refine import SelfRefineParams, critic_of
from runtime.strategies.attempt import Answer, Attempt, derived_seed
from runtime.strategies.base import StrategyExecutor, executes
from runtime.strategies.sampling import Sampling, answers_of
from runtime.upstream import ChatCall, Message


@executes("self_refine")
class SelfRefine(StrategyExecutor[SelfRefineParams]):
    """``model/self_refine(critic=large/critic(max_tokens=64),rounds=3)``.

    Ends when the critique finds no issues or says nothing, or a round leaves the final answer as
    it was. A new answer that is empty, or was cut where the one before was whole, is not taken.
    """

    async def solve(self, attempt: Attempt) -> None:
        """Answer, then criticise and refine until nothing is left to mend."""
        request = attempt.request
        critic, remark = critic_of(self.params, self.room(request))
        how = Sampling(self.model, self.params, self.tools.answers_per_call)
        call = how.call(request, self.cap(attempt))
        answer = await self._ask(attempt, call)
        attempt.keep(answer)
        for number in range(self.params.rounds):
            seeds = [derived_seed(request.seed, 2 * number + part) for part in (1, 2)]
            messages = (
                *request.messages,
                Message("assistant", quoted(answer.text, call.max_tokens)),
                Message("user", CRITIQUE),
            )
            criticise = replace(call, model=critic, max_tokens=remark, stop=(), purpose="critique")
            critique = await self._ask(
                attempt, replace(criticise, messages=messages, seed=seeds[0])
            )
            if not critique.text.strip() or NO_ISSUES in critique.text.casefold():
                attempt.note("refined", f"no issues after {number} rounds")
                return
            messages += (
                Message("assistant", quoted(critique.text, remark)),
                Message("user", REFINE),
            )
            refine = replace(call, messages=messages, seed=seeds[1], purpose="refine")
            before, answer = answer, await self._ask(attempt, refine)
            if answer.wholeness < max(1, before.wholeness):
                attempt.note("refined", f"round {number + 1} brought no whole answer")
                return
            attempt.keep(answer)
            finals = await self.tools.extractor.extract_all([before.text, answer.text])
            if finals[0] == finals[1]:
                attempt.note("refined", f"round {number + 1} changed nothing")
                return

    async def _ask(self, attempt: Attempt, call: ChatCall) -> Answer:
        return answers_of(await attempt.caller(call))[0]
