"""The server's side of ASGI, played by a test; and an application that answers chats itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fake_upstream import PRICES

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "two and two"}],
    "metadata": {"class": "hard"},
}


@dataclass
class Response:
    """What a client sees of one request."""

    events: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> int:
        return int(self.events[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.events[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(event.get("body", b"") for event in self.events[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def has(self, text: bytes) -> None:
        while not self.events or text not in self.body:
            self.news.clear()
            await self.news.wait()


def http_scope(path: str = CHAT, method: str = "POST", **fields: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "client": ("10.0.0.1", 5000),
        "server": ("127.0.0.1", 80),
        "state": {},
        **fields,
    }


async def requested(
    app: Application, scope: dict[str, Any], body: bytes = b"", into: Response | None = None
) -> Response:
    """One request to its end; its client leaves when `left` is set."""
    found = Response() if into is None else into
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if parts:
            return parts.pop()
        await found.left.wait()
        return {"type": "http.disconnect"}

    async def send(event: dict[str, Any]) -> None:
        found.events.append(event)
        found.news.set()

    await app(scope, receive, send)
    return found


async def asked(
    app: Application,
    path: str = CHAT,
    *,
    scope: dict[str, Any] | None = None,
    into: Response | None = None,
    **fields: Any,
) -> Response:
    """A chat, asked for."""
    body = json.dumps({**ASKED, **fields}).encode()
    return await requested(app, http_scope(path, **(scope or {})), body, into)


@asynccontextmanager
async def lifespan(app: Application) -> AsyncIterator[list[dict[str, Any]]]:
    """From startup to shutdown, as uvicorn does it; yields what the application has said."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: list[dict[str, Any]] = []
    news = asyncio.Event()

    async def send(event: dict[str, Any]) -> None:
        assert event["type"].startswith("lifespan.")
        said.append(event)
        news.set()

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, heard.get, send))
    task.add_done_callback(lambda _: news.set())
    heard.put_nowait({"type": "lifespan.startup"})
    await news.wait()
    try:
        yield said
    finally:
        heard.put_nowait({"type": "lifespan.shutdown"})
        await asyncio.gather(task, return_exceptions=True)


Answer = Callable[[dict[str, Any], Receive, Send], Awaitable[bool]]


@dataclass
class ChatApplication:
    """Counts characters as tokens and bills like a provider; `answer` may answer in its place."""

    reply: str = "four"
    usage: bool = True
    answer: Answer | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    scopes: list[dict[str, Any]] = field(default_factory=list)
    lifespan: list[str] = field(default_factory=list)
    bill_nano_usd: int = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        self.scopes.append(scope)
        if scope["path"].endswith(CHAT):
            await self.chat(receive, send)
        else:
            await respond(send, 200, b"mine")

    async def live(self, receive: Receive, send: Send) -> None:
        for _ in range(2):
            word = (await receive())["type"]
            self.lifespan.append(word)
            await send({"type": f"{word}.complete"})

    async def chat(self, receive: Receive, send: Send) -> None:
        call = json.loads((await receive())["body"])
        self.calls.append(call)
        if self.answer is not None and await self.answer(call, receive, send):
            return
        texts = [self.reply[: call["max_tokens"]]] * call.get("n", 1)
        tokens_in = 8 + sum(len(message["content"]) for message in call["messages"])
        content: dict[str, Any] = {
            "choices": [{"message": {"content": text}, "finish_reason": "stop"} for text in texts]
        }
        tokens_out = sum(map(len, texts))
        self.bill_nano_usd += PRICES.price(call["model"]).cost_nano_usd(tokens_in, tokens_out)
        if self.usage:
            content["usage"] = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
        await respond(send, 200, json.dumps(content).encode())


async def respond(send: Send, status: int, body: bytes, **headers: str) -> None:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def write(send: Send, *pieces: bytes, end: bool = True) -> None:
    """Server-sent events, each in a piece of its own."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if end:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
