"""An ASGI application of this process that answers the calls, in place of a server over HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar
from urllib.parse import quote

from runtime.chat import ChatCall, Completion, request_body
from runtime.client import JSON, Header, Receive, Send
from runtime.reply_content import Content, status_error
from runtime.rewards import reward_endpoint
from runtime.tracing import outgoing_headers
from runtime.upstream import (
    UpstreamLostError,
    UpstreamTimeoutError,
    answer_in,
    vectors_in,
)
from runtime.upstream_embeddings import Embeddings, embeddings_body

Scope: TypeAlias = Mapping[str, Any]
Application: TypeAlias = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
"""Any ASGI application (asgi.readthedocs.io, specification 3.0)."""

CHAT = "/v1/chat/completions"
_EMBEDDINGS = "/v1/embeddings"
# What a call has of its own, or what asks for a form of the reply that nobody here reads.
_OWN_HEADERS = frozenset(
    {b"accept", b"accept-encoding", b"content-encoding", b"content-length", b"content-type"}
    | {b"expect", b"range", b"te", b"transfer-encoding"}
)
_BARE: Scope = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "scheme": "http",
    "root_path": "",
    "headers": (),
    "client": None,
    "server": None,
}
_LEAVING_S = 5.0
_Read = TypeVar("_Read")
_log = logging.getLogger(__name__)

ARRIVED: ContextVar[tuple[Scope, str] | None] = ContextVar("arrived", default=None)
"""The request that the calls of this task are for, and the prefix of its path."""


class InProcess:
    """The model server that an ASGI application is.

    A call is a request like the client's own: with its headers, its peer and whatever middleware
    outside has put into its scope. When a call is given up, the application is told that its client
    has left, and is cancelled if it has not ended soon after.

    Args:
        application: Answers ``POST /v1/chat/completions``.
        timeout_s: Seconds until a call without a complete reply is given up.
    """

    def __init__(self, application: Application, *, timeout_s: float = 120.0) -> None:
        self._application = application
        self._timeout_s = timeout_s
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for what the application does after its replies; cancel what takes too long."""
        if not self._running:
            return
        late = (await asyncio.wait(self._running, timeout=_LEAVING_S))[1]
        for task in late:
            task.cancel()
        if late:  # who heeds no cancellation, such as a thread's function, keeps nobody
            await asyncio.wait(late, timeout=_LEAVING_S)

    def require(self, models: Iterable[str]) -> None:
        """Nothing: what the application knows, only it can say."""

    def unready(self) -> tuple[str, ...]:
        """Nothing: it is as ready as the process."""
        return ()

    def snapshot(self) -> tuple[()]:
        """Nothing: it is no upstream that could fail by itself."""
        return ()

    async def chat(self, call: ChatCall) -> Completion:
        """Send one call, once.

        Raises:
            UpstreamRejectedError: It was turned down and cost nothing.
            UpstreamError: The call may have cost something.
            asyncio.CancelledError: Nobody waits any more; the call may have cost something.
        """
        path = reward_endpoint(CHAT) if call.reward else CHAT
        return await self._post(
            path, request_body(call), partial(answer_in, call, time.perf_counter())
        )

    async def embeddings(self, model: str, body: bytes) -> Embeddings:
        """Pass a request for embeddings through, likewise.

        Raises:
            InputError: The body is no JSON object; nothing was sent.
            UpstreamError: As of `chat`, and likewise asyncio.CancelledError.
        """
        sent = embeddings_body(body, model)
        return await self._post(_EMBEDDINGS, sent, partial(vectors_in, time.perf_counter()))

    async def _post(
        self, path: str, body: bytes, read: Callable[[Content], Awaitable[_Read]]
    ) -> _Read:
        exchange = _Exchange(body)
        task = asyncio.create_task(exchange.run(self._application, _scope(path, body)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(exchange.ended)
        try:
            async with asyncio.timeout(self._timeout_s):
                await exchange.begun()
                content = Content(exchange)
                if exchange.status != 200:
                    raise status_error(exchange.status, exchange.headers, await content.rest())
                return await read(content)
        except TimeoutError as error:
            message = f"the application did not answer within {self._timeout_s:g} s"
            raise UpstreamTimeoutError(message) from error
        except OSError as error:
            raise UpstreamLostError(str(error)) from error
        finally:
            if exchange.leave():
                timer = task.get_loop().call_later(_LEAVING_S, task.cancel)
                task.add_done_callback(lambda _: timer.cancel())


class _Exchange:
    """One request to the application, and its reply as it comes.

    The application waits until each piece of its reply was taken, so one at a time is kept.

    Attributes:
        status: Of the reply; 0 until it is known.
        headers: Of the reply, by their lower-case names.
    """

    def __init__(self, body: bytes) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._body: bytes | None = body
        self._pieces: deque[bytes] = deque()
        self._news, self._taken, self._left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._whole = self._over = False

    async def run(self, application: Application, scope: dict[str, Any]) -> None:
        """The application's side of it."""
        await application(scope, self._receive, self._send)

    def ended(self, task: asyncio.Task[None]) -> None:
        """The application has come to its end, however it did."""
        self._over = True
        self._news.set()
        error = None if task.cancelled() else task.exception()
        # After nobody waits any more, an error is how an application takes it.
        if error is not None and (self._whole or not self._left.is_set()):
            _log.error("the application failed in a call", exc_info=error)

    async def begun(self) -> None:
        """Wait for status and headers.

        Raises:
            ConnectionResetError: The application ended without.
        """
        while not self.status:
            await self._more()

    async def readany(self) -> bytes:
        """Some bytes of the reply, none at its end.

        Raises:
            ConnectionResetError: The application ended before the reply did.
        """
        while not self._pieces:
            if self._whole:
                return b""
            await self._more()
        found = self._pieces.popleft()
        self._taken.set()
        return found

    def leave(self) -> bool:
        """Nobody reads on; whether the application had more to say."""
        self._left.set()
        self._taken.set()
        return not self._over and not self._whole

    async def _more(self) -> None:
        if self._over:
            raise ConnectionResetError("the application ended before its reply did")
        self._news.clear()
        await self._news.wait()

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.status = int(event["status"])
            self.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in event.get("headers", ())
            }
        elif event["type"] == "http.response.body":
            await self._say(event.get("body", b""), more=event.get("more_body", False))
        self._news.set()

    async def _say(self, piece: bytes, *, more: bool) -> None:
        if self._left.is_set():
            raise OSError("nobody reads this reply any more")
        self._whole = not more
        if piece:
            self._pieces.append(bytes(piece))
        self._news.set()
        if piece and more:
            self._taken.clear()
            await self._taken.wait()


def _scope(path: str, body: bytes) -> dict[str, Any]:
    """A request of ours in the place of the one that arrived."""
    arrived, prefix = ARRIVED.get() or (_BARE, "")
    traced: dict[str, str] = outgoing_headers()
    own = [JSON, (b"content-length", str(len(body)).encode())]
    own += [(name.encode(), value.encode()) for name, value in traced.items()]
    replaced = _OWN_HEADERS | {name for name, _ in own}
    headers: list[Header] = [
        *own,
        *(each for each in arrived["headers"] if each[0] not in replaced),
    ]
    whole = prefix + path
    found = {
        **arrived,
        "method": "POST",
        "path": whole,
        "raw_path": quote(whole).encode(),
        "query_string": b"",
        "headers": headers,
        "extensions": {},
    }
    if "state" in arrived:
        found["state"] = dict(arrived["state"])
    return found
