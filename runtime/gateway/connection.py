"""One client's connection: what the HTTP server leaves to whoever is hostile, slow or unclear."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextvars import Context
from http import HTTPStatus
from typing import ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from runtime import openai
from runtime.client import DEPARTURE
from runtime.gateway.one_write import OneWrite

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's line and headers, and of the trailers of its body."""

IDLE_S = 75
"""Seconds that a connection may be idle.

Longer than clients and load balancers keep idle connections (mostly 5 to 60 s): where the server
closes first, a request on its way finds a closed door, and its client cannot know whether it ran.
"""

HEAD_S = 20.0
"""Seconds from the first byte of a request to the end of its headers."""

BODY_S = 60.0
"""Seconds from there to the end of its body: the longest one at 140 kbit/s."""

MOST_UNHEARD_BYTES = 8 * openai.MAX_BODY_BYTES
"""Of a body that goes on after its request was answered, such as one that is too long.

Who still sends when the connection is closed may never see the answer.
"""

MOST_WAITING = 16
"""Requests that may wait on a connection until the one before them is answered."""


class Connection(HttpToolsProtocol):
    """uvicorn's, with limits on what nobody has authenticated yet.

    * Headers and trailers are bounded, and so is the time that a request may take to arrive.
    * A wish for another protocol is not heard (RFC 9110, 7.8). The parser would take the request's
      body for a request of its own, which a proxy before us would never see.
    * What is no HTTP is refused in our own words, after the requests before it have been answered.
    * Every request has a context of its own, and knows nothing of the one before it.

    It tells the gateway when a client leaves.
    """

    refused: ClassVar[Counter[HTTPStatus]] = Counter()
    """What was refused before it was a request, of all connections of this process."""

    _unread = 0  # bytes since the parser last got somewhere
    _unheard = 0  # bytes since the request that they belong to was answered
    _reading = ""  # "head" or "body" of a request that has begun to arrive
    _unwished = False  # its wish for another protocol was not heard
    _refusal: bytes | None = None  # the last that is sent here, after answers that are under way
    _limit: tuple[str, asyncio.TimerHandle] | None = None  # what is waited for, and how long
    _watched: tuple[asyncio.Future[None], ...] = ()

    def departure(self) -> asyncio.Future[None]:
        """Done when the connection is lost."""
        found: asyncio.Future[None] = self.loop.create_future()
        if self.transport.is_closing():
            self._nobody_waits()
            found.set_result(None)
        else:
            self.flow.resume_reading()  # else nobody sees it: a body that fills the buffer pauses
        still = (one for one in self._watched if not one.done())  # several where requests queue up
        self._watched = (*still, found)
        return found

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As the base class."""
        self._unanswered: deque[RequestResponseCycle] = deque()  # `cycle` is the last that came
        super().connection_made(OneWrite(transport, self.loop))  # type: ignore[arg-type]
        self._limit_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """As the base class."""
        if self._limit is not None:
            self._limit[1].cancel()
        super().connection_lost(exc)
        self._nobody_waits()
        for one in self._watched:
            if not one.done():
                one.set_result(None)

    def _nobody_waits(self) -> None:
        """For the request at work: the base class knows the last that came, perhaps another."""
        if self._unanswered:
            self._unanswered[0].disconnected = True
            self._unanswered[0].message_event.set()

    def data_received(self, data: bytes) -> None:
        """Read what has come, all of it."""
        if self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        self._unread += len(data)
        if self._reading == "body" and not self._at_work:
            self._unheard += len(data)
            if self._unheard > MOST_UNHEARD_BYTES:
                self._close(b"")
                return
        left: bytes | None = data
        while left is not None:
            left = self._read(left)
        if self._unread > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too long")
        self._limit_time()

    def _read(self, data: bytes) -> bytes | None:
        """Feed the parser; what it is to be fed next, None for nothing."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            if not self._at_work:
                return self._without_wish() + data[error.args[0] :]
            self._refuse(HTTPStatus.BAD_REQUEST, "only the first request may ask to upgrade")
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "this is no valid HTTP/1.1 request")
        return None

    def _without_wish(self) -> bytes:
        """The head of the request that was read last, for a new parser, without `upgrade`."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        kept = ((name, value) for name, value in self.headers if name != b"upgrade")
        lines = b"".join(b"%b: %b\r\n" % pair for pair in kept)
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version.encode(), lines)
        self.parser = httptools.HttpRequestParser(self)
        self._unwished = False
        return head

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._reading = "head"

    def on_headers_complete(self) -> None:
        """Its headers are there.

        Raises:
            ValueError: Proxies could read them another way than we do; the parser gives up.
        """
        hosts = sum(name == b"host" for name, _ in self.headers)
        codings = [
            value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"
        ]
        readable = not codings or self.parser.get_http_version() != "1.0"
        if not readable or codings not in ([], [b"chunked"]) or hosts > 1:
            raise ValueError
        if self.parser.get_method() == b"CONNECT":
            raise ValueError
        if len(self.pipeline) >= MOST_WAITING:
            self._refuse(HTTPStatus.BAD_REQUEST, "too many requests wait on this connection")
            raise ValueError
        self._unwished = self.parser.should_upgrade()
        if self._unwished:
            return
        self.scope["extensions"] = {DEPARTURE: {"watch": self.departure}}
        Context().run(super().on_headers_complete)  # which may begin to answer
        self._unanswered.append(self.cycle)
        self.headers = []  # the scope has its own; trailers are none of them (RFC 9110, 6.5.1)
        self._unread = self._unheard = 0
        self._reading = "body"

    def on_body(self, body: bytes) -> None:
        """A part of its body is there."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        if self._unwished:
            return
        self._unread = 0
        self._reading = ""
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request was answered."""
        last = not self.pipeline
        self._unanswered.popleft()
        Context().run(super().on_response_complete)  # which begins the next
        if last and self._refusal is not None:
            self._close(self._refusal)
        elif not last and self._limit is not None:  # its turn begins: nothing was read meanwhile
            self._limit[1].cancel()
            self._limit = None
            self._limit_time()

    @property
    def _at_work(self) -> bool:
        """Whether a request that came here is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Read nothing more, and say so once all requests that came whole are answered."""
        if self.transport.is_closing() or self._refusal is not None:
            return
        self.refused[status] += 1
        body = openai.error_body(status, why)
        self._refusal = (
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (status, status.phrase.encode(), len(body), body)
        )
        half = self._at_work and self.cycle.more_body
        if half and self.pipeline:
            self.pipeline.popleft()  # the newest
        elif self._reading == "body" and (not half or self.cycle.response_started):
            self._close(b"")  # it has its answer already
        elif half or not self._at_work:
            self._close(self._refusal)

    def _close(self, last: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(last)
            self.transport.close()

    def _limit_time(self) -> None:
        """Limit the time until the client sends what it is to send next."""
        waits_for = self._reading or ("" if self._at_work else "idle")
        if self._limit is not None:
            if self._limit[0] == waits_for:
                return
            self._limit[1].cancel()
        self._limit = None
        if waits_for and not self.transport.is_closing():
            seconds = {"idle": IDLE_S, "head": HEAD_S, "body": BODY_S}[waits_for]
            self._limit = waits_for, self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        """Time is over; but where an earlier request is at work, nothing was read meanwhile."""
        self._limit = None
        if self._at_work and (self.pipeline or self._reading == "head"):
            self._limit_time()
        elif self._reading:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive")
        else:
            self._close(b"")
