"""The client at the other end of an ASGI connection: gets a whole reply, or events as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from profiles.errors import InferbudgetError

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
Departure = Callable[[], asyncio.Future[None]]
"""Makes a future that is done when the connection is lost."""

DEPARTURE = "inferbudget.departure"
"""ASGI extension by which a server offers one. It spares every request a task that waits."""


JSON: Header = (b"content-type", b"application/json")
EVENTS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # else nginx keeps events back until it has a page of them
)
# One who takes nothing for so long has left, though his connection still stands.
STALLED_S = 60.0


class DisconnectedError(InferbudgetError):
    """The client is gone; nobody reads a reply."""


class Reply(msgspec.Struct, frozen=True):
    """A response that is ready to be sent."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (JSON,)


class Client:
    """Who asked.

    Args:
        receive: ASGI's.
        send: ASGI's; it waits while the client takes nothing and a buffer of the server is full.
        departure: The server's, see `DEPARTURE`; None where only `receive` tells.

    Attributes:
        receive: ASGI's.
        begun: The first events are on their way, so status and headers are too.
    """

    def __init__(self, receive: Receive, send: Send, departure: Departure | None = None) -> None:
        self.receive = receive
        self.begun = False
        self._send = send
        self._departure = departure
        self._stalled = False

    def gone(self) -> asyncio.Future[Any]:
        """Done when the client has left, once its body was read. Cancel it to stop looking."""
        if self._departure is None:
            return asyncio.ensure_future(self._left())
        return self._departure()

    async def _left(self) -> None:
        if (await self.receive())["type"] != "http.disconnect":
            # a middleware outside says the body again, for ever, and will never say who left
            await asyncio.get_running_loop().create_future()

    async def reply(self, reply: Reply) -> None:
        """Send a whole reply; where events have begun, its body as the last of them.

        Raises:
            DisconnectedError: The client takes none any more.
        """
        if self.begun:
            await self.end(b"data: %b\n\n" % reply.body)
            return
        start = _start(reply.status, (*reply.headers, _length(reply.body)))
        await self._patiently(start, _body(reply.body, more=False))

    async def events(self, headers: tuple[Header, ...], content: bytes) -> None:
        """Send events; the headers travel with the first.

        Raises:
            DisconnectedError: The client takes none any more.
        """
        start = () if self.begun else (_start(200, (*EVENTS, *headers)),)
        self.begun = True
        await self._patiently(*start, _body(content, more=True))

    async def end(self, content: bytes) -> None:
        """Send the last events.

        Raises:
            DisconnectedError: The client takes none any more.
        """
        await self._patiently(_body(content, more=False))

    async def _patiently(self, *events: dict[str, Any]) -> None:
        if self._stalled:
            raise DisconnectedError
        try:
            async with asyncio.timeout(STALLED_S):
                for event in events:
                    await self._send(event)
        except OSError as error:  # time is over, or how a server says it (ASGI, HTTP 2.4)
            self._stalled = True
            raise DisconnectedError from error


def departure_of(scope: Mapping[str, Any]) -> Departure | None:
    """What the server offers, None where it offers none."""
    extensions: Mapping[str, Any] = scope.get("extensions") or {}
    found: Departure | None = extensions.get(DEPARTURE, {}).get("watch")
    return found


async def first_of(*futures: asyncio.Future[Any]) -> None:
    """Wait until one of them is done, however it ends."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: asyncio.Future[Any]) -> None:
        if not done.done():
            done.set_result(None)

    for future in futures:
        future.add_done_callback(wake)
    try:
        await done
    finally:
        for future in futures:
            future.remove_done_callback(wake)


class Pieces:
    """An answer's text on its way to one reader; what comes while he is busy is kept as one.

    So it never holds more than the answer, however slow the reader is.

    Attributes:
        news: Set when a piece has come.
    """

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._texts: list[str] = []
        self._taken = 0

    def put(self, text: str) -> None:
        """The next piece."""
        self._texts.append(text)
        self.news.set()

    def take(self) -> str:
        """What has come since the last time; empty where nothing has."""
        found = "".join(self._texts[self._taken :])
        self._taken = len(self._texts)
        return found

    def rest_of(self, answer: str) -> str | None:
        """What of the answer was not taken yet; None where it begins otherwise than was taken."""
        taken = "".join(self._texts[: self._taken])
        return answer[len(taken) :] if answer.startswith(taken) else None


def _start(status: int, headers: tuple[Header, ...]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def _body(content: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


def _length(body: bytes) -> Header:
    return b"content-length", str(len(body)).encode()
