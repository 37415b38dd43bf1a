"""How the gateway learns that a client has left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from runtime.client import (
    Client,
    DisconnectedError,
    Receive,
    Reply,
    Send,
    departure_of,
    first_of,
)
from runtime.gateway.connection import Connection

pytestmark = pytest.mark.asyncio
ASKED = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
Serve = Callable[[Client], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """A server whose requests are served so; yields its port."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        await serve(Client(receive, send, departure_of(scope)))

    config = uvicorn.Config(app, log_level="critical", lifespan="off", http=Connection)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        task = asyncio.create_task(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        yield listener.getsockname()[1]
        server.should_exit = True
        await task


async def answer(client: Client) -> None:
    await client._send({"type": "http.response.start", "status": 204, "headers": []})
    await client._send({"type": "http.response.body", "body": b""})


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def test_a_client_that_leaves_is_gone_and_one_that_waits_is_not() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def serve(client: Client) -> None:
        gone = client.gone()
        assert not gone.done()
        asked.set()
        await gone
        left.set()

    async with serving(serve) as port:
        _, writer = await connected(port)
        writer.write(ASKED)
        await asked.wait()
        assert not left.is_set()
        writer.close()
        await left.wait()


async def test_every_request_of_a_connection_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[asyncio.Future[Any]] = []

    async def serve(client: Client) -> None:
        gone = client.gone()
        told.append(gone)
        if len(told) < 3:
            gone.cancel()
            await answer(client)
        else:
            await gone

    async with serving(serve) as port:
        reader, writer = await connected(port)
        for _ in range(2):
            writer.write(ASKED)
            await reader.readuntil(b"\r\n\r\n")
        writer.write(ASKED)
        while len(told) < 3:
            await asyncio.sleep(0.005)
        writer.close()
        await told[2]
    assert [one.cancelled() for one in told] == [True, True, False]
    assert not caplog.records


async def test_who_asks_after_the_client_left_hears_it_at_once() -> None:
    late = asyncio.Event()

    async def serve(client: Client) -> None:
        await client.gone()
        await client.gone()
        late.set()

    async with serving(serve) as port:
        _, writer = await connected(port)
        writer.write(ASKED)
        await writer.drain()
        writer.close()
        await late.wait()


async def test_a_client_whose_body_filled_the_buffer_at_last_is_seen_to_leave() -> None:
    reading, asked, left = (asyncio.Event() for _ in range(3))
    clients: list[Client] = []

    async def serve(client: Client) -> None:
        clients.append(client)
        reading.set()
        assert not (await client.receive())["more_body"]
        gone = client.gone()
        asked.set()
        await gone
        left.set()

    async with serving(serve) as port, asyncio.timeout(20):
        _, writer = await connected(port)
        writer.write(ASKED.replace(b"\r\n\r\n", b"\r\ncontent-length: 70001\r\n\r\nx"))
        await reading.wait()
        await asyncio.sleep(0.05)  # it waits for the rest
        assert clients[0]._departure is not None
        connection = clients[0]._departure.__self__  # type: ignore[attr-defined]
        connection.data_received(b"y" * 70_000)  # the network may cut it in smaller pieces
        await asked.wait()
        writer.close()
        await left.wait()


async def test_a_server_without_departures_is_asked_by_receive() -> None:
    events = [{"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return events.pop()

    async def send(_: dict[str, Any]) -> None:
        raise AssertionError("nothing is sent")

    assert departure_of({"type": "http", "extensions": {"tls": {}}}) is None
    await Client(receive, send).gone()
    assert not events


async def test_who_is_told_the_body_again_has_not_left() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"again", "more_body": False}

    async def send(_: dict[str, Any]) -> None:
        raise AssertionError("nothing is sent")

    gone = Client(receive, send).gone()
    await asyncio.sleep(0.02)
    assert not gone.done()
    gone.cancel()


async def test_a_server_that_says_in_its_way_that_nobody_takes_the_reply() -> None:
    """ASGI's HTTP specification, 2.4: sending to who has left raises some `OSError`."""

    async def send(_: dict[str, Any]) -> None:
        raise BrokenPipeError

    client = Client(asyncio.Event().wait, send)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(DisconnectedError):
            await client.reply(Reply(200, b"{}"))


@pytest.mark.parametrize("ending", ["result", "error", "cancelled"])
async def test_the_first_of_several_ends_the_wait_however_it_ends(ending: str) -> None:
    loop = asyncio.get_running_loop()
    one, other = loop.create_future(), loop.create_future()
    waiting = asyncio.ensure_future(first_of(one, other))
    await asyncio.sleep(0)
    assert not waiting.done()
    if ending == "cancelled":
        other.cancel()
    elif ending == "error":
        other.set_exception(KeyError())
        assert other.exception()
    else:
        other.set_result(None)
    await waiting
    assert not one.done()
    assert not one._callbacks
