"""The one seam to model servers: an OpenAI-compatible call in, texts or vectors and usage out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
from aiohttp.connector import Connection

from profiles.errors import UpstreamError
from runtime.chat import MOST_TOKENS, ChatCall, Completion, Message, request_body
from runtime.replies import completion
from runtime.reply_content import Content, UpstreamRejectedError, status_error, streamed
from runtime.rewards import reward, reward_endpoint
from runtime.tracing import outgoing_headers
from runtime.upstream_address import (
    LONGEST_TIMEOUT_S,
    beside,
    chat_endpoint,
    checked_headers,
    checked_timeout_s,
    header_key,
    page,
)
from runtime.upstream_embeddings import Embeddings, embeddings, embeddings_body

__all__ = [
    "LONGEST_TIMEOUT_S",
    "MOST_TOKENS",
    "ChatCall",
    "Completion",
    "Embeddings",
    "Message",
    "Upstream",
    "UpstreamLostError",
    "UpstreamRejectedError",
    "UpstreamTimeoutError",
    "certainly_not_sent",
    "request_body",
]

# Servers on uvicorn drop idle connections after 5 s; a request sent into such a drop is lost with
# its outcome unknown, and unknown is charged in full. So let go of idle connections first.
_KEEPALIVE_S = 4.0
_CONNECT_S = 10.0
_SHORTEST_SECRET = 4
_Read = TypeVar("_Read")


class UpstreamTimeoutError(UpstreamError):
    """No complete reply in time. What it costs is unknown."""


class UpstreamLostError(UpstreamError):
    """The connection broke after the call may have left. What it costs is unknown."""


@dataclass(slots=True)
class _Wire:
    """How far a call got.

    Attributes:
        reached: It has a connection, so bytes of it may have left. Until then none has.
    """

    reached: bool = False


_WIRE: ContextVar[_Wire] = ContextVar("wire")


class _Connector(aiohttp.TCPConnector):
    """Marks the `_Wire` of the call that gets a connection, before its first byte can leave."""

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        """As the base class; nothing can come between its return and the mark."""
        connection = await super().connect(*args, **kwargs)
        _WIRE.get().reached = True
        return connection


class Upstream:
    """A model server.

    Args:
        url: Base address as OpenAI clients write it, e.g. ``http://localhost:8000/v1``; ``/v1`` is
            added to an address without a path.
        api_key: Sent as bearer token.
        timeout_s: Seconds until a call without a complete reply is given up, at most
            `LONGEST_TIMEOUT_S`.
        connect_timeout_s: Seconds until a connection is given up that is not there yet.
        max_connections: Open at once; further calls wait for one, within `timeout_s`. 0 for any
            number.
        headers: Sent with every call; their values are treated as secrets.
        names: The server's names of models, by the name in the call, where they differ.
        cap_field: What the server calls the cap on completion tokens.
        tries: 2 sends a call again, once, where the first was provably not sent; 1 never does.

    Raises:
        InputError: No address of a server, a key or header that cannot be sent, no such time.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 120.0,
        connect_timeout_s: float = _CONNECT_S,
        max_connections: int = 0,
        headers: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
        cap_field: str = "max_tokens",
        tries: int = 2,
    ) -> None:
        self._endpoint = chat_endpoint(url)
        self._reward_endpoint = reward_endpoint(self._endpoint)
        self._timeout_s = checked_timeout_s(timeout_s)
        self._connect_timeout_s = min(checked_timeout_s(connect_timeout_s), self._timeout_s)
        self._max_connections = max_connections
        self._names = dict(names or {})
        self._cap_field = cap_field
        self._tries = tries
        key = header_key(api_key)
        own = checked_headers(headers or {})
        self._secrets = tuple(
            text for text in (key, *own.values()) if len(text) >= _SHORTEST_SECRET
        )
        self._headers = {"content-type": "application/json", **own}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._session: aiohttp.ClientSession | None = None
        self._probing: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        sessions, self._session, self._probing = (self._session, self._probing), None, None
        for session in sessions:
            if session is not None:
                await session.close()

    async def chat(self, call: ChatCall) -> Completion:
        """Send one call; tried a second time only where the first was provably not sent, in time.

        Raises:
            UpstreamRejectedError: It was turned down and cost nothing.
            UpstreamError: Says by `sent` whether the call can have cost anything.
            asyncio.CancelledError: Nobody waits any more; see `certainly_not_sent`.
        """
        body = request_body(call, model=self._names.get(call.model), cap_field=self._cap_field)
        endpoint = self._reward_endpoint if call.reward else self._endpoint
        return await self._sent(endpoint, body, partial(answer_in, call, time.perf_counter()))

    async def embeddings(self, model: str, body: bytes) -> Embeddings:
        """Pass a request for embeddings through; all of it stays as it is but the model's name.

        Args:
            model: The model, as calls name it.
            body: The request in OpenAI's form.

        Raises:
            InputError: The body is no JSON object; nothing was sent.
            UpstreamError: As of `chat`, and likewise asyncio.CancelledError.
        """
        endpoint = beside(self._endpoint, "/embeddings")
        sent = embeddings_body(body, self._names.get(model, model))
        return await self._sent(endpoint, sent, partial(vectors_in, time.perf_counter()))

    async def probe(self, path: str, timeout_s: float) -> None:
        """Ask for a page of the host, on a connection of its own.

        Raises:
            UpstreamError: It is not there in time, or its status is neither 2xx nor 429.
        """
        if self._probing is None:
            self._probing = self._opened(aiohttp.TCPConnector(force_close=True))
        times = aiohttp.ClientTimeout(timeout_s, sock_connect=self._connect_timeout_s)
        try:
            async with self._probing.get(
                page(self._endpoint, path), allow_redirects=False, timeout=times
            ) as response:
                status = response.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamError(f"the page does not answer: {error}", sent=False) from error
        if not (200 <= status < 300 or status == 429):
            raise UpstreamError(f"the page answers with status {status}", status=status)

    async def _sent(
        self, endpoint: str, body: bytes, read: Callable[[Content], Awaitable[_Read]]
    ) -> _Read:
        try:
            return await self._post(endpoint, body, read)
        except UpstreamError as error:
            if error.sent or isinstance(error, UpstreamTimeoutError) or self._tries < 2:
                raise
            return await self._post(endpoint, body, read)

    async def _post(
        self, endpoint: str, body: bytes, read: Callable[[Content], Awaitable[_Read]]
    ) -> _Read:
        if self._session is None:
            self._session = self._opened(
                _Connector(limit=self._max_connections, keepalive_timeout=_KEEPALIVE_S)
            )
        wire = _Wire()
        _WIRE.set(wire)
        try:
            async with self._session.post(
                endpoint, data=body, headers=outgoing_headers(), allow_redirects=False
            ) as response:
                content = Content(response.content)
                if response.status != 200:
                    raise status_error(response.status, response.headers, await content.rest())
                return await read(content)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise self._failure(error, wire) from error
        except UpstreamError as error:
            error.args = tuple(map(self._without_secrets, error.args))
            raise
        except asyncio.CancelledError as error:
            if wire.reached:
                raise
            raise error from UpstreamError("nobody waits for the connection any more", sent=False)

    def _opened(self, connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(
                total=self._timeout_s, sock_connect=self._connect_timeout_s
            ),
            headers=self._headers,
            # A cookie that came with one client's answer must not travel with another's call.
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def _failure(self, error: Exception, wire: _Wire) -> UpstreamError:
        late = isinstance(error, TimeoutError)
        if late and not isinstance(error, aiohttp.ConnectionTimeoutError):
            message = f"the upstream did not answer within {self._timeout_s:g} s"
            return UpstreamTimeoutError(message, sent=wire.reached)
        if not wire.reached:
            return UpstreamError(f"cannot connect to the upstream: {error}", sent=False)
        return UpstreamLostError(
            f"the connection to the upstream broke: {type(error).__name__}: {error}"
        )

    def _without_secrets(self, text: str) -> str:
        """Servers quote the key that they refuse; an excerpt can end in the middle of it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
            for length in range(len(secret) - 1, _SHORTEST_SECRET - 1, -1):
                if text.endswith(secret[:length]):
                    text = f"{text[:-length]}***"
        return text


async def answer_in(call: ChatCall, start: float, content: Content) -> Completion:
    """What a reply answers to a call that began then, by `time.perf_counter`.

    Raises:
        UpstreamError: It is unusable, or was cut off.
    """
    if call.streams and call.on_text is not None:
        return await streamed(content, call.on_text, start)
    whole = await content.rest()
    read = reward if call.reward else completion
    return read(whole, time.perf_counter() - start)


async def vectors_in(start: float, content: Content) -> Embeddings:
    """Likewise to a request for embeddings."""
    return embeddings(await content.rest(), time.perf_counter() - start)


def certainly_not_sent(error: BaseException) -> bool:
    """Proof that no byte of a call left: it failed, or was cancelled, before it had a connection.

    A cancellation stays one, so that whoever asked for it sees it; its cause says this of the call.
    """
    told = error.__cause__ if isinstance(error, asyncio.CancelledError) else error
    return isinstance(told, UpstreamError) and not told.sent
