"""One connection of a client to a gateway, spoken by hand: a request, its reply, or neither."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

from benchmarks.never_over.policy import CLASSES
from benchmarks.never_over.world import KEYS, PROMPT_BYTES

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_ID = re.compile(rb"\r\nx-inferbudget-request-id: *([0-9a-f]{32})\r\n", re.IGNORECASE)
_BUDGET = re.compile(rb"budget")
_LAST_CHUNK = b"0\r\n\r\n"
_WORDS = "what do all of these add up to"
_NONE = (0, b"", 0)
Answer = tuple[int, bytes, int]
"""Status, the gateway's id of the request, whether a budget refused it."""


class Line(asyncio.Protocol):
    """A connection to a gateway: one request at a time."""

    def __init__(self) -> None:
        self._read = bytearray()
        self._reply: asyncio.Future[Answer] | None = None
        self._transport: Any = None
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where requests are written."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's name
        """Whatever was asked is not answered."""
        self.broken = True
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((0, self._id(), 0))

    def data_received(self, data: bytes) -> None:
        """Look whether the reply is whole."""
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0 or self._reply is None or self._reply.done():
            return
        length = _LENGTH.search(self._read, 0, end + 2)
        if length:
            if len(self._read) < end + 4 + int(length[1]):
                return
        elif not self._read.endswith(_LAST_CHUNK):
            return
        status = _STATUS.match(self._read)
        found = int(status[1]) if status else 0
        budget = found in (402, 429) and _BUDGET.search(self._read, end) is not None
        self._reply.set_result((found, self._id(), int(budget)))
        self._read.clear()

    def _id(self) -> bytes:
        found = _ID.search(self._read)
        return bytes(found[1]) if found else b""

    def ask(self, content: bytes) -> asyncio.Future[Answer]:
        """Send one request."""
        self._read.clear()
        self._reply = asyncio.get_running_loop().create_future()
        if self.broken:
            self._reply.set_result(_NONE)
        else:
            self._transport.write(content)
        return self._reply

    def leave(self) -> bytes:
        """Go away in the middle; the id, where the gateway had begun to answer."""
        found = self._id()
        self.broken = True
        self._transport.abort()
        return found


def request_bytes(number: int, key: int, user: int, class_index: int, *, stream: bool) -> bytes:
    """One request, whose prompt says whose it is."""
    now = time.time_ns() // 1000
    tag = f"#r{number:09d} k{key} u{user} c{class_index} t{now:017d}#"
    prompt = f"{_WORDS[: PROMPT_BYTES - len(tag)]:<{PROMPT_BYTES - len(tag)}}{tag}"
    said = {
        "model": "inferbudget",
        "messages": [{"role": "user", "content": prompt}],
        "user": f"u{user}",
        **({"stream": True} if stream else {}),
    }
    body = json.dumps(said).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\nx-inferbudget-class: %b\r\ncontent-length: %d\r\n\r\n%b"
    ) % (KEYS[key].secret.encode(), CLASSES[class_index].encode(), len(body), body)
