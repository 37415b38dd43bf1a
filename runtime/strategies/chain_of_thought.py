"""One answer after visible reasoning (Wei et al. 2022; Kojima et al. 2022, zero-shot)."""

from __future__ import annotations

from dataclasses import replace

from profiles.request_bound import STEP_BY_STEP
from runtime.strategies.base import Caller, Outcome, Request, register
from runtime.strategies.single import Single
from runtime.upstream import Message

INSTRUCTION = Message(role="system", content=STEP_BY_STEP)


class ChainOfThought(Single):
    """``model/chain_of_thought(max_tokens=2048)``: an instruction to reason stands in front."""

    async def answer(self, request: Request, caller: Caller) -> Outcome:
        """Ask once, with the instruction."""
        instructed = replace(request, messages=(INSTRUCTION, *request.messages))
        return await super().answer(instructed, caller)


register("chain_of_thought", ChainOfThought)
