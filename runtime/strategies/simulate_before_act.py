"""An action that could do harm is rehearsed before it is returned (Zeng et al. 2026, ARTIS)."""

from __future__ import annotations

import dataclasses
import re

from msgspec.structs import replace

from profiles.errors import UpstreamError
from profiles.methods.counting import quoted
from profiles.methods.instructions import REHEARSE
from profiles.methods.simulate_before_act import SimulateBeforeActParams, simulation
from profiles.strategy import Strategy
from runtime.strategies.attempt import Answer, Attempt, derived_seed, stage_seed
from runtime.strategies.base import StrategyExecutor, Tools, executes
from runtime.strategies.sampling import Sampling, answers_of, draw
from runtime.strategies.scoring import unframed
from runtime.upstream import ChatCall, Message, UpstreamRejectedError

_SUCCESS = re.compile(r"[\W_]*(?:(?:outcome|result|verdict)\b[\W_]*)?success[\W_]*", re.IGNORECASE)


@executes("simulate_before_act")
class SimulateBeforeAct(StrategyExecutor[SimulateBeforeActParams]):
    """``model/simulate_before_act(candidates=3,rehearsals=4,risk=risky)``: an action, as text.

    The first action whose risk is below ``careful_from``, or whose rehearsals succeed often enough;
    else the one whose rehearsals succeed most often, of equals the first. A risk that its function
    could not tell is 1.
    """

    def __init__(self, strategy: Strategy, params: SimulateBeforeActParams, tools: Tools) -> None:
        super().__init__(strategy, params, tools)
        self._risk = tools.verifier(params.risk, f"strategy {strategy}: risk")
        self._simulator, how = simulation(params, strategy)
        self._how = Sampling(self._simulator.model or "", how, tools.answers_per_call)

    async def solve(self, attempt: Attempt) -> None:
        """Draw actions until one may be taken."""
        params, request = self.params, attempt.request
        how = Sampling(self.model, params, self.tools.answers_per_call)
        call = how.call(request, self.cap(attempt))
        best = -1.0
        for number in range(params.candidates):
            drawn = replace(call, seed=derived_seed(request.seed, number))
            action = answers_of(await attempt.caller(drawn))[0]
            if attempt.best is None:
                attempt.keep(action)
            (risk,) = await self._risk.scores(request.prompt_text, [action.text], failed=1.0)
            if risk < params.careful_from:
                attempt.keep(action)
                attempt.note("risk", f"{risk:.3g}: returned as it is")
                return
            attempt.note("risk", f"{risk:.3g}: rehearsed")
            share = await self._rehearse(attempt, action, call.max_tokens, number)
            if share > best:
                best = share
                attempt.keep(action)
            if share >= params.accept:
                break
        attempt.note("acted", f"{best:.3g} of its rehearsals succeeded")

    async def _rehearse(self, attempt: Attempt, action: Answer, most: int, number: int) -> float:
        """The share of rehearsals that succeed; one that did not arrive has not succeeded."""
        request, wanted = attempt.request, self.params.rehearsals
        params = self._how.params
        room = dataclasses.replace(self.room(request), strategy=self._simulator)
        call = ChatCall(
            model=self._how.model,
            messages=(
                *request.messages,
                Message("assistant", unframed(quoted(action.text, most))),
                Message("user", REHEARSE),
            ),
            max_tokens=room.cap(params.max_tokens),
            temperature=params.temperature,
            top_p=params.top_p,
            seed=stage_seed(request.seed, number),
            purpose="rehearse",
        )
        try:
            endings = await draw(self._how, attempt, call, answers=wanted)
        except UpstreamRejectedError:
            raise
        except UpstreamError as error:
            attempt.complete = False
            attempt.note("rehearsal failed", str(error))
            return 0.0
        successes = sum(succeeded(ending.text) for ending in endings)
        attempt.note("rehearsed", f"{successes} of {wanted} succeeded")
        return successes / wanted


def succeeded(text: str) -> bool:
    """Whether a rehearsal ends with the word success on a line of its own."""
    lines = [line for line in text.splitlines() if line.strip()]
    return bool(lines) and _SUCCESS.fullmatch(lines[-1]) is not None
