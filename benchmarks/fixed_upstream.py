"""A model server that does nearly nothing: one fixed answer with its usage, at once or later.

It speaks to asyncio's transports itself, so that beside a gateway it takes little of a processor.
It keeps the bill: `GET /bill` says how many answers it has given, `GET /delay/0.05` sets how long
the next ones take.

    python -m benchmarks.fixed_upstream [--port N] [--delay-s S]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import socket
from dataclasses import dataclass, field
from typing import Any

import uvloop

MODEL = "fixed"
PIECES = ("So ", "one ", "adds ", "both ", "and ", "gets ", "answer: ", "42")
ANSWER = "".join(PIECES)
TOKENS_IN, TOKENS_OUT = 40, 16
USAGE = {
    "prompt_tokens": TOKENS_IN,
    "completion_tokens": TOKENS_OUT,
    "total_tokens": TOKENS_IN + TOKENS_OUT,
}
USD_IN, USD_OUT = 0.1e-6, 0.4e-6
"""Dollars per token."""
USD_PER_ANSWER = TOKENS_IN * USD_IN + TOKENS_OUT * USD_OUT

_HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": MODEL}
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
_DELAY = re.compile(rb"GET /delay/([0-9.]+) ")
_END = b"data: [DONE]\n\n"


def _response(content_type: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (content_type, len(body)) + body


def _whole() -> bytes:
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}
    return _response(b"application/json", json.dumps(body).encode())


def _event(delta: dict[str, str] | None, finish: str | None = None) -> bytes:
    """One event; without a delta the one that brings the usage."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    more: dict[str, Any] = {"choices": choices} if delta is not None else {"choices": []}
    usage = {"usage": USAGE if delta is None else None}
    body = {**_HEAD, "object": "chat.completion.chunk", **more, **usage}
    return b"data: %b\n\n" % json.dumps(body).encode()


def _parts() -> tuple[bytes, ...]:
    """What is written for a stream: head and first piece, the other pieces, the end."""
    first, *pieces = [_event({"content": piece}) for piece in PIECES]
    end = _event({}, "stop") + _event(None) + _END
    opening = _event({"role": "assistant", "content": ""}) + first
    length = len(opening) + sum(map(len, pieces)) + len(end)
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-accel-buffering: no\r\n"
        b"content-length: %d\r\n\r\n" % length
    )
    return (head + opening, *pieces[:-1], pieces[-1] + end)


WHOLE = _whole()
PARTS = _parts()


@dataclass(slots=True)
class Bill:
    """What was asked of the server.

    Attributes:
        delay_s: Seconds until an answer is there; a stream's pieces are spread over them.
        answers: Given so far, those included whose reader has left.
    """

    delay_s: float = 0.0
    answers: int = 0

    def text(self) -> bytes:
        """The page `/bill`."""
        usd = round(self.answers * USD_PER_ANSWER, 12)
        return _response(
            b"application/json", json.dumps({"answers": self.answers, "usd": usd}).encode()
        )


@dataclass(slots=True)
class Connection(asyncio.Protocol):
    """Answers every request on its connection."""

    bill: Bill
    transport: Any = None
    read: bytearray = field(default_factory=bytearray)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where answers are written."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self.read += data
        while (end := self.read.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self.read, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self.read) < size:
                return
            request = bytes(self.read[:size])
            del self.read[:size]
            self.answer(request)

    def answer(self, request: bytes) -> None:
        """Write one answer, or ask the loop to."""
        if not request.startswith(b"POST "):
            if asked := _DELAY.match(request):
                self.bill.delay_s = float(asked[1])
            self.transport.write(self.bill.text())
            return
        self.bill.answers += 1
        parts = PARTS if _STREAM.search(request) else (WHOLE,)
        step_s = self.bill.delay_s / len(parts)
        if not step_s:
            self.transport.write(b"".join(parts))
            return
        loop = asyncio.get_running_loop()
        for index, part in enumerate(parts, 1):
            loop.call_later(index * step_s, self.transport.write, part)


async def serve(port: int, delay_s: float) -> None:
    """Listen until killed; a line on stdout says where."""
    bill = Bill(delay_s)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(bill), "127.0.0.1", port, family=socket.AF_INET, backlog=2048
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    gc.freeze()
    await server.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-s", type=float, default=0.0)
    asked = parser.parse_args()
    uvloop.run(serve(asked.port, asked.delay_s))


if __name__ == "__main__":
    main()
