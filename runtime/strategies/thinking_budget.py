"""One answer of a model whose thought before it is limited by the server."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from profiles.methods.thinking_budget import ThinkingBudgetParams, thinking_cap
from runtime.strategies.attempt import Attempt
from runtime.strategies.base import StrategyExecutor, executes
from runtime.strategies.sampling import Sampling, answers_of
from runtime.upstream import ChatCall


@executes("thinking_budget")
class ThinkingBudget(StrategyExecutor[ThinkingBudgetParams]):
    """``model/thinking_budget(dialect=vllm,tokens=512)``: the request carries the budget.

    Each dialect has rules of its own: with qwen, `max_tokens` caps the answer alone, and most
    models think only where the reply is streamed; with anthropic, a thought excludes a temperature.
    """

    async def solve(self, attempt: Attempt) -> None:
        """Ask once."""
        request = attempt.request
        cap = thinking_cap(self.params, self.room(request))
        how = Sampling(self.model, self.params, self.tools.answers_per_call)
        call = replace(how.call(request, cap), extra=fields(self.params, cap))
        call = replace(call, on_text=request.on_text)
        if self.params.tokens:
            call = _with_thought(call, self.params.dialect)
        attempt.keep(answers_of(await attempt.caller(call))[0])


def fields(params: ThinkingBudgetParams, cap: int) -> Mapping[str, object]:
    """What the body of a request carries.

    Args:
        params: Dialect and budget.
        cap: On thought and answer together.
    """
    tokens = params.tokens
    if params.dialect == "vllm":
        return {"thinking_token_budget": tokens}
    if params.dialect == "qwen":
        if not tokens:
            return {"enable_thinking": False}
        return {"enable_thinking": True, "thinking_budget": tokens, "max_tokens": cap - tokens}
    if not tokens:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


def _with_thought(call: ChatCall, dialect: str) -> ChatCall:
    if dialect == "anthropic":
        return replace(call, temperature=None, top_p=None)
    if dialect == "qwen" and call.on_text is None:
        return replace(call, on_text=_unread)
    return call


def _unread(_: str) -> None:
    """Nobody waits for the pieces."""
