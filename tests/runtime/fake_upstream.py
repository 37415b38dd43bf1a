"""An OpenAI-compatible upstream that keeps its own bill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from profiles.money import PriceCard, TokenPrice
from runtime.upstream import ChatCall, Completion

Behaviour = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse | None]]

PRICES = PriceCard(
    models={
        "small": TokenPrice(input=0.1, output=0.4),
        "large": TokenPrice(input=0.3, output=1.2),
        "odd": TokenPrice(input=0.0137, output=0.0731),
    }
)


@dataclass
class FakeUpstream:
    """Counts characters as tokens and bills like a provider, per call."""

    reply: str = "four"
    delay_s: float = 0.0
    behaviour: Behaviour | None = None
    bill_nano_usd: int = 0
    calls: list[dict[str, Any]] = field(default_factory=list)
    finished: int = 0
    url: str = ""

    def texts(self, body: dict[str, Any]) -> list[str]:
        return [self.reply[: body["max_tokens"]]] * body.get("n", 1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.calls.append(body)
        await asyncio.sleep(self.delay_s)
        if self.behaviour is not None:
            answer = await self.behaviour(request, body)
            if answer is not None:
                return answer
        texts = self.texts(body)
        tokens_in = 8 + sum(len(message["content"]) for message in body["messages"])
        return self.answer(body, texts, tokens_in, sum(map(len, texts)))

    def answer(
        self, body: dict[str, Any], texts: list[str], tokens_in: int, tokens_out: int
    ) -> web.Response:
        self.bill_nano_usd += PRICES.price(body["model"]).cost_nano_usd(tokens_in, tokens_out)
        self.finished += 1
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
        return web.json_response({"choices": choices, "usage": usage})


@asynccontextmanager
async def served(fake: FakeUpstream) -> AsyncIterator[FakeUpstream]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.handle)
    runner = web.AppRunner(app, handler_cancellation=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()


class InMemory:
    """The `Chat` seam without a network; every reply is scripted by the call's number."""

    def __init__(self, script: Callable[[int, ChatCall], Completion]) -> None:
        self.script = script
        self.calls: list[ChatCall] = []
        self.bill_nano_usd = 0

    async def chat(self, call: ChatCall) -> Completion:
        number = len(self.calls)
        self.calls.append(call)
        await asyncio.sleep(0)
        reply = self.script(number, call)
        if reply.tokens_in is not None and reply.tokens_out is not None:
            price = PRICES.price(call.model)
            self.bill_nano_usd += price.cost_nano_usd(reply.tokens_in, reply.tokens_out)
        return reply


def reply(*texts: str, tokens_in: int | None = 10, tokens_out: int | None = None) -> Completion:
    out = sum(map(len, texts)) if tokens_out is None and tokens_in is not None else tokens_out
    return Completion(texts, tokens_in, out, ("stop",) * len(texts), 0.0)
