"""A reply as it comes over a connection: its bytes, its pieces, and what its status says."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Protocol

import aiohttp

from profiles.errors import UpstreamError
from runtime.chat import Completion
from runtime.event_stream import EventStream
from runtime.replies import StreamedReply, completion, has_usage, is_refusal

_MAX_REPLY_BYTES = 32 * 1024 * 1024
_EXCERPT_BYTES = 300
# A stream that said it is done ends its reply in the same breath, or its connection is given up.
_END_S = 1.0
# Statuses of a server that turned the request down before any work.
_REJECTED = frozenset({400, 401, 403, 404, 405, 413, 415, 422, 429})
_UNAVAILABLE = 503
_LONGEST_WAIT_S = 99_999


class UpstreamRejectedError(UpstreamError):
    """The upstream turned the call down before any work, which providers do not bill.

    Args:
        message: What happened.
        status: HTTP status that the upstream sent.
        retry_after_s: Seconds until it wants to be asked again, None when it did not say.
    """

    def __init__(self, message: str, *, status: int, retry_after_s: int | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, status=status)


class Stream(Protocol):
    """Bytes that come from somewhere, such as `aiohttp.StreamReader`."""

    async def readany(self) -> bytes:
        """Some of them, none at the end."""


class Content:
    """A reply's bytes as they come, and not too many of them."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = _MAX_REPLY_BYTES

    async def next(self) -> bytes:
        """Some bytes, none at the end.

        Raises:
            UpstreamError: The reply is too long.
        """
        found = await self._stream.readany()
        self._left -= len(found)
        if self._left < 0:
            raise UpstreamError(f"the upstream's reply is longer than {_MAX_REPLY_BYTES} bytes")
        return found

    async def rest(self, begin: bytes = b"") -> bytes:
        """All bytes that are still to come, after those that came."""
        content = bytearray(begin)
        while found := await self.next():
            content += found
        return bytes(content)

    async def let_go(self) -> None:
        """Read the end of a reply that is known already, so that its connection serves again."""
        with suppress(aiohttp.ClientError, OSError, UpstreamError):
            async with asyncio.timeout(_END_S):
                await self.rest()


async def streamed(content: Content, on_text: Callable[[str], None], start: float) -> Completion:
    """A reply that was asked for piece by piece, in whichever form it comes.

    Args:
        content: Its bytes.
        on_text: Is given the answer's text as it comes.
        start: When the call began, by `time.perf_counter`.

    Raises:
        UpstreamError: It is unusable, or was cut off.
    """
    begin = b""
    while not begin and (found := await content.next()):
        begin = found.lstrip()
    if begin.startswith(b"{"):  # no line of an event stream begins so
        whole = completion(await content.rest(begin), time.perf_counter() - start)
        if whole.texts[0]:
            on_text(whole.texts[0])
        return whole
    reply = StreamedReply(on_text)
    try:
        await _take_events(content, begin, reply)
    except (aiohttp.ClientError, OSError):
        if not reply.known:
            raise
    known = reply.completion(time.perf_counter() - start)
    if reply.done:
        await content.let_go()
    return known


async def _take_events(content: Content, begin: bytes, reply: StreamedReply) -> None:
    events, found = EventStream(), begin
    while found and not reply.done:
        for event in events.feed(found):
            reply.take(event)
        found = b"" if reply.done else await content.next()
    for event in events.rest():
        reply.take(event)


def status_error(status: int, headers: Mapping[str, str], content: bytes) -> UpstreamError:
    """What a status other than 200 means: a rejection where it says so and no bill came with it.

    A 503 says so only in words of the model server's own, `Retry-After` or an error in JSON: a
    proxy writes one too when its connection broke with the request on it, and nobody knows then
    whether the server behind it has done the work.
    """
    detail = content[:_EXCERPT_BYTES].decode("utf-8", "replace")
    message = f"the upstream answered with status {status}: {detail}"
    retry = _retry_after_s(headers.get("retry-after", ""))
    rejected = status in _REJECTED or (
        status == _UNAVAILABLE and (retry is not None or is_refusal(content))
    )
    if not rejected or has_usage(content):
        return UpstreamError(message, status=status)
    return UpstreamRejectedError(message, status=status, retry_after_s=retry)


def _retry_after_s(wait: str) -> int | None:
    """Seconds or a date, as RFC 9110 (10.2.3) has both; None where it is neither."""
    if wait.isascii() and wait.isdigit():
        return int(wait) if len(wait) < 6 else None
    try:
        date = parsedate_to_datetime(wait)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(math.ceil(aware.timestamp() - time.time()), 0), _LONGEST_WAIT_S)
