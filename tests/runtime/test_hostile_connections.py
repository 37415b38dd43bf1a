"""What a connection does with bytes that are hostile, slow, or read differently by a proxy."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from runtime.client import DEPARTURE, Receive, Send
from runtime.gateway import connection
from runtime.gateway.connection import Connection

pytestmark = pytest.mark.asyncio
WHO: ContextVar[str | None] = ContextVar("who", default=None)
HEAD = b"POST /a HTTP/1.1\r\nhost: x\r\n"
HIDDEN = b"POST /hidden HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
WISH = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n"


@dataclass
class Served:
    """A server that answers with what it was asked; `go` lets answers out."""

    port: int = 0
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    found: list[str | None] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    connections: set[Any] = field(default_factory=set)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.found.append(WHO.get())
        WHO.set(scope["path"])
        body = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event["body"]
            if not event["more_body"] or scope["path"] == "/early":
                break
        self.asked.append((scope["path"], body))
        self.headers.append(dict(scope["headers"]))
        if scope["path"] == "/closing":
            watch = scope["extensions"][DEPARTURE]["watch"]
            watch.__self__.transport.close()
            assert watch().done()
            return
        if scope["path"] == "/waits":
            assert (await receive())["type"] == "http.disconnect"
            self.left.set()
            return
        await self.go.wait()
        content = scope["path"].encode()
        length = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": content})

    async def said(self, *parts: bytes) -> bytes:
        """All that it sends until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            found = await reader.read()
        writer.close()
        return found


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    found = Served()
    found.go.set()
    config = uvicorn.Config(found, log_config=None, lifespan="off", http=Connection)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    found.connections = server.server_state.connections
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        found.port = listener.getsockname()[1]
        task = asyncio.create_task(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        yield found
        server.should_exit = True
        await task


def post(body: bytes, more: bytes = b"", path: bytes = b"/a") -> bytes:
    head = HEAD.replace(b"/a", path)
    return head + more + b"content-length: %d\r\n\r\n" % len(body) + body


LAST = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("cut", [False, True], ids=["one packet", "body in a packet of its own"])
async def test_the_body_of_a_request_that_wishes_to_upgrade_is_its_body(cut: bool) -> None:  # noqa: FBT001
    async with serving() as server:
        whole = post(HIDDEN, WISH)
        at = whole.index(HIDDEN) if cut else len(whole)
        said = await server.said(whole[:at], whole[at:], LAST)
    assert server.asked == [("/a", HIDDEN), ("/last", b"")]
    assert said.count(b"HTTP/1.1 200") == 2


async def test_a_chunked_body_beside_a_wish_to_upgrade_is_read() -> None:
    async with serving() as server:
        chunked = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        await server.said(HEAD + WISH + chunked + LAST)
    assert server.asked == [("/a", b"abc"), ("/last", b"")]


async def test_many_wishes_to_upgrade_in_one_packet_are_not_read_one_after_another() -> None:
    async with serving() as server:
        said = await server.said(post(b"", WISH) * 500)
    assert server.asked == [("/a", b"")]
    assert said.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 400" in said


REFUSED = {
    "nothing of HTTP": b"\x00\x01\r\n\r\n",
    "two lengths": HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n12",
    "a length and chunks": HEAD
    + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": HEAD + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": HEAD + b"x-a: b\r\n  c\r\ncontent-length: 0\r\n\r\n",
    "a bare CR": HEAD + b"x-a: b\rc\r\ncontent-length: 0\r\n\r\n",
    "a NUL": HEAD + b"x-a: b\x00c\r\ncontent-length: 0\r\n\r\n",
    "bare LF": post(b"").replace(b"\r\n", b"\n"),
    "chunks in HTTP/1.0": HEAD.replace(b"1.1", b"1.0")
    + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks of something else": HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks of nothing": HEAD + b"transfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": HEAD + b"transfer-encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "two hosts": post(b"", b"host: y\r\n"),
    "a tunnel": b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a chunk of no size": HEAD + b"transfer-encoding: chunked\r\n\r\n-1\r\n",
    "an address without a path": b"GET http://a HTTP/1.1\r\nhost: a\r\n\r\n",
    "an address that is none": b"GET http://[ HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("bytes_", REFUSED.values(), ids=REFUSED)
async def test_what_is_unclear_is_refused_in_our_words_and_closed(bytes_: bytes) -> None:
    async with serving() as server:
        said = await server.said(bytes_)
    assert server.asked == []
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nconnection: close" in head
    assert b'"invalid_request_error"' in body


@pytest.mark.parametrize("unclear", ["nothing of HTTP", "two hosts", "an address that is none"])
async def test_an_answer_under_way_comes_before_the_refusal_of_what_follows(unclear: str) -> None:
    async with serving() as server:
        server.go.clear()
        asking = asyncio.create_task(
            server.said(post(b"x") + post(b"y", path=b"/b") + REFUSED[unclear])
        )
        while not server.asked:
            await asyncio.sleep(0.01)
        server.go.set()
        said = await asking
    assert re.findall(rb"HTTP/1.1 ([0-9]+)", said) == [b"200", b"200", b"400"]
    assert [path for path, _ in server.asked] == ["/a", "/b"]


@pytest.mark.parametrize("cut", [False, True], ids=["one packet", "trailers in their own"])
async def test_trailers_are_no_headers(cut: bool) -> None:  # noqa: FBT001
    """A proxy that takes a header away may leave a trailer of that name (RFC 9110, 6.5.1)."""
    whole = HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-late: y\r\n\r\n"
    at = whole.index(b"x-late") if cut else len(whole)
    async with serving() as server:
        await server.said(whole[:at], whole[at:], LAST)
    assert server.asked == [("/a", b"abc"), ("/last", b"")]
    assert list(server.headers[0]) == [b"host", b"transfer-encoding"]
    assert list(server.headers[1]) == [b"host", b"connection"]


async def test_a_request_at_work_learns_that_its_client_left_others_behind_too() -> None:
    async with serving() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post(b"x", path=b"/waits") + post(b"y", path=b"/b") + post(b"z", path=b"/c"))
        while not server.asked:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        async with asyncio.timeout(10):
            await server.left.wait()
    assert server.asked == [("/waits", b"x")]


async def test_a_connection_that_is_just_being_closed_is_no_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as server:
        await server.said(post(b"", path=b"/closing"))
    assert server.asked == [("/closing", b"")]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_requests_that_wait_for_their_turn_are_few() -> None:
    async with serving() as server:
        server.go.clear()
        asking = asyncio.create_task(server.said(post(b"") * 500))
        while not server.asked:
            await asyncio.sleep(0.01)
        server.go.set()
        said = await asking
    assert len(server.asked) == connection.MOST_WAITING + 1
    assert re.findall(rb"HTTP/1.1 ([0-9]+)", said)[-2:] == [b"200", b"400"]


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
async def test_no_request_begins_in_the_context_of_the_one_before_it(*, at_once: bool) -> None:
    """What is logged for it would name the other one."""
    requests = [post(b"x" * 100_000), post(b"y", path=b"/b"), post(b"", path=b"/c"), LAST]
    async with serving() as server:
        await server.said(*([b"".join(requests)] if at_once else requests))
    assert [path for path, _ in server.asked] == ["/a", "/b", "/c", "/last"]
    assert server.found == [None] * 4


@pytest.mark.parametrize(
    "body",
    [b"content-length: 10000000000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n"],
    ids=["of a length", "of chunks"],
)
async def test_of_a_body_that_has_its_answer_not_all_is_read(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_UNHEARD_BYTES", 1_000_000)
    chunk = b"1\r\nx\r\n" * 2_000
    sent = 0
    async with serving() as server, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEAD.replace(b"/a", b"/early") + body + chunk)
        answer = await reader.readuntil(b"/early")
        while not writer.is_closing():
            writer.write(chunk)
            sent += len(chunk)
            with suppress(ConnectionError):
                await writer.drain()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert sent > 1_000_000


async def test_a_body_that_ends_soon_after_its_answer_keeps_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "MOST_UNHEARD_BYTES", 1_000_000)
    body = b"x" * 700_000  # two of them are more than is read of one
    async with serving() as server:
        early = post(body, path=b"/early")
        said = await server.said(*(early[:100], early[100:]) * 3, LAST)
    assert said.count(b"HTTP/1.1 200") == 4


async def test_headers_that_are_too_long_are_told_so() -> None:
    async with serving() as server:
        said = await server.said(HEAD + b"x-a: " + b"y" * 70_000)
    assert said.startswith(b"HTTP/1.1 431 ")


SLOW = {
    "nothing": (b"", b""),
    "a part of a head": (HEAD, b"HTTP/1.1 408 Request Timeout"),
    "empty lines": (b"\r\n\r\n", b""),
    "a part of a body": (HEAD + b"content-length: 9\r\n\r\nabc", b"HTTP/1.1 408 Request Timeout"),
    "a part of a chunk": (
        HEAD + b"transfer-encoding: chunked\r\n\r\n9\r\nabc",
        b"HTTP/1.1 408 Request Timeout",
    ),
    "the rest of a body that has its answer": (
        HEAD.replace(b"/a", b"/early") + b"content-length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK",
    ),
}


@pytest.mark.parametrize(("sent", "last"), SLOW.values(), ids=SLOW)
async def test_a_client_that_does_not_go_on_is_let_go(
    sent: bytes, last: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDLE_S", "HEAD_S", "BODY_S"):
        monkeypatch.setattr(connection, name, 0.2)
    async with serving() as server:
        said = await server.said(sent)
    assert said.split(b"\r\n")[0] == last
    assert said.count(b"HTTP/1.1 ") == bool(last)


async def test_a_body_that_waits_for_its_turn_has_its_whole_time_from_there() -> None:
    async with serving() as server:
        server.go.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        half = HEAD.replace(b"/a", b"/b") + b"content-length: 9\r\n\r\nabc"
        writer.write(post(b"x") + half)
        while not server.asked:
            await asyncio.sleep(0.01)
        (one,) = server.connections
        waiting = one._limit
        server.go.set()
        while one.pipeline:
            await asyncio.sleep(0.01)
        assert waiting
        assert one._limit
        assert one._limit[1].when() > waiting[1].when()
        assert waiting[1].cancelled()
        writer.close()


async def test_time_does_not_run_while_an_earlier_request_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    monkeypatch.setattr(connection, "BODY_S", 0.05)
    for half in (HEAD, HEAD + b"content-length: 9\r\n\r\nabc"):
        async with serving() as server:
            server.go.clear()
            asking = asyncio.create_task(server.said(post(b"x") + half))
            await asyncio.sleep(0.3)
            server.go.set()
            said = await asking
        assert said.startswith(b"HTTP/1.1 200 OK")
        assert said.count(b"HTTP/1.1 408") == 1
