"""A model server that keeps its own bill, and that some prompts make behave badly.

A prompt that begins with ``[[huge]]``, ``[[bomb]]``, ``[[endless]]``, ``[[heads]]``, ``[[deep]]``
or ``[[garbage]]`` gets a reply of that kind. `GET /bill` says what all answers cost.

    python -m benchmarks.hostile_clients.upstream
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from contextlib import suppress
from typing import Any

from aiohttp import web

NANO_USD_IN, NANO_USD_OUT = 100, 400
ANSWER = "So one adds both and gets 42"
_KIND = re.compile(rb"\[\[([a-z]+)\]\]")
_MIB = 1024 * 1024


class Server:
    """Answers, and counts what it answered."""

    def __init__(self) -> None:
        self.calls = 0
        self.nano_usd = 0

    def usage(self, body: bytes, asked: dict[str, Any]) -> dict[str, int]:
        """Bill one call."""
        tokens_in = len(body) // 8 + 1
        tokens_out = min(int(asked.get("max_tokens") or 8), 8)
        self.calls += 1
        self.nano_usd += tokens_in * NANO_USD_IN + tokens_out * NANO_USD_OUT
        return {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        }

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """One chat, whole or as events."""
        body = await request.read()
        asked = json.loads(body)
        usage = self.usage(body, asked)
        if kind := _KIND.search(body):
            return await _badly(request, kind[1].decode())
        if asked.get("stream"):
            return _events(usage)
        return web.json_response(_whole(usage))

    async def embeddings(self, request: web.Request) -> web.Response:
        """One embedding."""
        body = await request.read()
        json.loads(body)
        tokens = len(body) // 8 + 1
        self.calls += 1
        self.nano_usd += tokens * NANO_USD_IN
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": data, "model": "e", "usage": usage})

    async def bill(self, _: web.Request) -> web.Response:
        """What all answers cost."""
        return web.json_response({"calls": self.calls, "nano_usd": self.nano_usd})


def _whole(usage: dict[str, int], text: str = ANSWER) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "fixed"} | {
        "choices": [choice],
        "usage": usage,
    }


def _events(usage: dict[str, int]) -> web.Response:
    said = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ANSWER}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]
    body = "".join(f"data: {json.dumps(each)}\n\n" for each in said) + "data: [DONE]\n\n"
    return web.Response(text=body, content_type="text/event-stream")


async def _badly(request: web.Request, kind: str) -> web.StreamResponse:
    plain = {"content-type": "application/json"}
    if kind == "bomb":  # 1 GiB of blanks in 1 MiB
        small = gzip.compress(b" " * (64 * _MIB), 9) * 16
        return web.Response(body=small, headers={**plain, "content-encoding": "gzip"})
    if kind == "deep":
        return web.Response(body=b'{"choices":' + b"[" * 500_000, headers=plain)
    if kind == "garbage":
        return web.Response(body=b"\xff\x00not json", headers=plain)
    if kind == "heads":
        return web.Response(body=b"{}", headers={f"x-{n}": "y" * 5000 for n in range(40)})
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    piece = b"data: " + b"x" * _MIB if kind == "huge" else b": still thinking\n\n" * 64
    with suppress(ConnectionError):
        for _ in range(10_000):
            await response.write(piece)
            await asyncio.sleep(0.0 if kind == "huge" else 0.05)
    return response


async def main() -> None:
    """Listen until killed; a line on stdout says where."""
    server = Server()
    app = web.Application(client_max_size=16 * _MIB)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_post("/v1/embeddings", server.embeddings)
    app.router.add_get("/bill", server.bill)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
