"""Cancelled at every step of the event loop: what is called not sent was not sent."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from runtime.upstream import ChatCall, Message, Upstream, certainly_not_sent

CALL = ChatCall("small", (Message("user", "two and two"),), max_tokens=16)
BODY = b'{"choices":[{"message":{"content":"four"}}]}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
STEPS = 60


class Counting:
    """Answers the calls it is told to, and counts the bytes that come."""

    def __init__(self) -> None:
        self.bytes = 0
        self.answers = True
        self.open = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while found := await reader.read(65_536):
                self.bytes += len(found)
                if self.answers and found.endswith(b"}"):
                    writer.write(REPLY)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


async def cancelled_after(steps: int, *, reused: bool, streamed: bool) -> tuple[bool, int]:
    """Whether the call says that it was not sent, and the bytes of it that arrived."""
    server = Counting()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    call = replace(CALL, on_text=lambda _: None) if streamed else CALL
    async with Upstream(f"http://127.0.0.1:{port}") as upstream:
        if reused:
            await upstream.chat(call)
        before, server.answers = server.bytes, False
        asking = asyncio.create_task(upstream.chat(call))
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await asking
    for _ in range(200):  # until everything that was sent has arrived
        await asyncio.sleep(0.001 if server.open else 0)
        if not server.open:
            break
    listening.close()
    return certainly_not_sent(cancelled.value), server.bytes - before


@pytest.mark.asyncio
@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cancelled_call_that_says_it_was_not_sent_left_no_byte(
    *, reused: bool, streamed: bool
) -> None:
    found = [
        await cancelled_after(steps, reused=reused, streamed=streamed)
        for steps in (*range(12), *range(12, STEPS, 4))
    ]
    assert all(arrived == 0 for not_sent, arrived in found if not_sent)
    # a connection that is there already is had at the first step
    assert any(not_sent for not_sent, _ in found) != reused
    assert any(arrived > 0 for _, arrived in found)
