"""One answer after visible reasoning (Wei et al. 2022; Kojima et al. 2022, zero-shot)."""

from __future__ import annotations

from dataclasses import replace

from profiles.money import PriceCard
from profiles.strategy import Strategy
from runtime.strategies.base import (
    Caller,
    Outcome,
    Request,
    Tools,
    message_tokens_bound,
    register,
)
from runtime.strategies.single import Single
from runtime.upstream import Message

INSTRUCTION = Message(
    role="system",
    content="Think step by step. Then give the final answer on a last line that starts with "
    "'Answer:'.",
)


class ChainOfThought(Single):
    """``model/chain_of_thought(max_tokens=2048)``: an instruction to reason stands in front."""

    def __init__(self, strategy: Strategy, tools: Tools) -> None:
        super().__init__(strategy, tools)
        self._more_tokens = message_tokens_bound(INSTRUCTION)

    def bound_nano_usd(self, prompt_tokens: int, max_tokens: int | None, prices: PriceCard) -> int:
        """One prompt with the instruction, and one capped answer."""
        return super().bound_nano_usd(prompt_tokens + self._more_tokens, max_tokens, prices)

    async def answer(self, request: Request, caller: Caller) -> Outcome:
        """Ask once, with the instruction."""
        instructed = replace(request, messages=(INSTRUCTION, *request.messages))
        return await super().answer(instructed, caller)


register("chain_of_thought", ChainOfThought)
