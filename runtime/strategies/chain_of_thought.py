"""One answer after visible reasoning (Wei et al. 2022; Kojima et al. 2022, zero-shot)."""

from __future__ import annotations

from msgspec.structs import replace

from profiles.methods.chain_of_thought import ChainOfThoughtParams, instruction
from profiles.strategy import Strategy
from runtime.strategies.attempt import Request
from runtime.strategies.base import Tools, executes
from runtime.strategies.single import Single
from runtime.upstream import ChatCall, Message


@executes("chain_of_thought")
class ChainOfThought(Single):
    """``model/chain_of_thought(steps=8)``: an instruction to reason stands in front."""

    def __init__(self, strategy: Strategy, params: ChainOfThoughtParams, tools: Tools) -> None:
        super().__init__(strategy, params, tools)
        self._instruction = Message("system", instruction(params.steps))

    def call(self, request: Request, max_tokens: int) -> ChatCall:
        """What is asked, with the instruction."""
        asked = super().call(request, max_tokens)
        return replace(asked, messages=(self._instruction, *asked.messages))
