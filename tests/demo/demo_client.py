"""A demo server in this process, and a client that knows its address."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from demo.server import running_server


@dataclass(frozen=True, slots=True)
class Client:
    """Sends what the tests need; answers are (status, body)."""

    session: aiohttp.ClientSession

    async def chat(self, prompt: str = "add 12 34", **fields: object) -> tuple[int, Any]:
        return await self.post(body(prompt, **fields))

    async def post(self, data: object) -> tuple[int, Any]:
        raw = json.dumps(data).encode() if isinstance(data, dict) else data
        async with self.session.post("/v1/chat/completions", data=raw) as response:
            return response.status, await response.json()

    async def events(self, prompt: str, **fields: object) -> list[Any]:
        sent = body(prompt, stream=True, **fields)
        async with self.session.post("/v1/chat/completions", json=sent) as response:
            assert response.content_type == "text/event-stream"
            lines = (await response.text()).split("\n\n")
        assert lines[-1] == ""
        return [
            json.loads(text) if (text := line.removeprefix("data: ")) != "[DONE]" else text
            for line in lines[:-1]
        ]

    async def bill(self) -> Any:
        async with self.session.get("/bill") as response:
            return await response.json()


def body(prompt: str, **fields: object) -> dict[str, object]:
    """A request to the small model unless told otherwise."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": "demo-small", "messages": messages, **fields}


@asynccontextmanager
async def running_client(api_key: str | None = None) -> AsyncIterator[Client]:
    """Start a server and a client of it."""
    async with running_server(api_key=api_key) as url, aiohttp.ClientSession(url) as session:
        yield Client(session)
