"""Requests and answers for tests of what travels over the wire, without a policy or a budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from runtime import openai
from runtime.service import Served
from runtime.strategies import Outcome, Request, build
from runtime.strategies.attempt import Bill
from runtime.upstream import ChatCall, Completion

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Zürich"}'},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


def raw(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def chat(*messages: dict[str, Any], **fields: Any) -> bytes:
    return raw(messages=list(messages) or [{"role": "user", "content": "two and two"}], **fields)


def outcome(text: str = "four", **more: Any) -> Outcome:
    found = Outcome(
        text=text,
        calls=1,
        tokens_in=19,
        tokens_out=4,
        cost_nano_usd=2_600,
        usage_known=True,
        finished=True,
        finish_reason="stop",
        tokens_reasoning=None,
        tokens_cached=None,
    )
    return replace(found, **more)


def served(text: str = "four", **more: Any) -> Served:
    return Served("abc", "easy", "small/single", 0, downgraded=False, outcome=outcome(text, **more))


class Scripted:
    """Sends every call to a script and keeps no account."""

    def __init__(self, script: Callable[[ChatCall], Completion]) -> None:
        self.bill = Bill(tokens_in=19, tokens_out=4, cost_nano_usd=2_600)
        self.calls: list[ChatCall] = []
        self._script = script

    async def __call__(self, call: ChatCall) -> Completion:
        self.calls.append(call)
        return self._script(call)


async def answered(
    api: openai.Api[Any],
    asked: Any,
    caller: Scripted,
    strategy: str = "small/single(max_tokens=64)",
    on_text: Callable[[str], None] | None = None,
) -> Served:
    """One request by one strategy, as a gateway would have it answered."""
    ask = api.ask(asked, None)
    request = Request(
        messages=ask.messages,
        prompt_text=ask.prompt_text,
        seed=1,
        max_tokens=ask.max_tokens,
        temperature=ask.temperature,
        top_p=ask.top_p,
        stop=ask.stop,
        on_text=on_text,
        form=api.form(asked),
    )
    return replace(served(), outcome=await build(strategy).answer(request, caller))
