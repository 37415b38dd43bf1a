"""A gateway under a real server, before an upstream that keeps its own bill."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from fake_upstream import FakeUpstream, served
from small_policies import budget, policy, service

from policies.policy import Policy
from runtime.gateway import Gateway
from runtime.service import Service
from runtime.upstream import Upstream

BODY: dict[str, Any] = {
    "model": "inferbudget",
    "messages": [{"role": "user", "content": "two and two"}],
    "metadata": {"class": "hard"},
}


@dataclass
class Running:
    fake: FakeUpstream
    service: Service
    client: aiohttp.ClientSession
    gateway: Gateway

    async def chat(self, **fields: Any) -> tuple[int, Any, Any]:
        return await self.post(json.dumps({**BODY, **fields}).encode())

    async def post(self, body: bytes, **headers: str) -> tuple[int, Any, Any]:
        async with self.client.post("/v1/chat/completions", data=body, headers=headers) as found:
            return found.status, await found.json(), found.headers

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.client.get(path, headers=headers) as found:
            return found.status, await found.text()


@asynccontextmanager
async def running(
    folder: Path, found: Policy | None = None, fake: FakeUpstream | None = None, **options: Any
) -> AsyncIterator[Running]:
    timeout_s = options.pop("timeout_s", 5.0)
    async with (
        served(fake or FakeUpstream()) as upstream,
        Upstream(upstream.url, timeout_s=timeout_s) as client,
    ):
        inner = service(found or policy(budgets=(budget(1.0),)), folder, client)
        gateway = Gateway(inner, **options)
        config = uvicorn.Config(gateway, log_level="error", lifespan="on")
        server = uvicorn.Server(config)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(256)
            # Not serve(): it would take over the signal handlers of the test process.
            task = asyncio.create_task(server._serve([listener]))
            while not server.started:
                await asyncio.sleep(0.005)
            base = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with aiohttp.ClientSession(base) as session:
                yield Running(upstream, inner, session, gateway)
            server.should_exit = True
            await task
