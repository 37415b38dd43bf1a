"""A model server in a process of its own, whose book outlives it.

It writes a line to its book before it works on a call and one after, each with a write of its own:
what was written before a kill is there afterwards.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from aiohttp import web

TOKENS_IN = TOKENS_OUT = 4


async def serve(book: Path, port: int, seed: int) -> None:
    draws = random.Random(seed)
    file = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        call = body["messages"][0]["content"]
        luck = draws.random()
        if luck < 0.1:
            return web.json_response({"error": {"message": "busy"}}, status=429)
        if luck < 0.15:
            return web.json_response({"error": {"message": "full"}}, status=503)
        os.write(file, f"began {call}\n".encode())
        await asyncio.sleep(draws.uniform(0.001, 0.02))
        os.write(file, f"done {call}\n".encode())
        choices = [{"message": {"content": "four"}, "finish_reason": "stop"}]
        usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT}
        return web.json_response({"choices": choices, "usage": usage})

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/health", health)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
