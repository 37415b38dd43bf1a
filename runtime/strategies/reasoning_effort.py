"""One answer of a model that is told how hard to think before it."""

from __future__ import annotations

from msgspec.structs import replace

from profiles.methods.reasoning_effort import ReasoningEffortParams
from profiles.strategy import Strategy
from runtime.strategies.attempt import Request
from runtime.strategies.base import Tools, executes
from runtime.strategies.single import Single
from runtime.upstream import ChatCall


@executes("reasoning_effort")
class ReasoningEffort(Single):
    """``model/reasoning_effort(effort=high)``: the request carries the effort."""

    def __init__(self, strategy: Strategy, params: ReasoningEffortParams, tools: Tools) -> None:
        super().__init__(strategy, params, tools)
        self._extra = {"reasoning_effort": params.effort}

    def call(self, request: Request, max_tokens: int) -> ChatCall:
        """What is asked, with the effort."""
        return replace(super().call(request, max_tokens), extra=self._extra)
