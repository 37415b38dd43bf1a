"""Bytes to a gateway and what comes back, many at once; and the tally of what came."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.hostile_clients import world

AT_ONCE = 48
SILENCE_S, LONG_SILENCE_S = 2.0, 30.0
"""A connection that says nothing for so long says nothing more."""
_ENDED_S = 0.02
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_MOST_FAILURES = 40


@dataclass(slots=True)
class Tally:
    """What one part sent and saw.

    Attributes:
        requests: Sent, whole or not.
        statuses: Replies by kind of request and status; ``none`` where there was no reply.
        figures: Whatever else the part measured.
        failures: What must not be, with what brought it about.
        most_memory_mb: That the gateway may take.
    """

    requests: int = 0
    statuses: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    most_memory_mb: float = 300.0

    def fail(self, what: str) -> None:
        """Keep a failure, and the first of many like it."""
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(what)

    def saw(
        self, kind: str, statuses: list[int], sent: object, excused: tuple[int, ...] = ()
    ) -> None:
        """Count the replies to what was sent.

        Args:
            kind: Of request.
            statuses: Of the replies.
            sent: It, for whoever looks for the cause.
            excused: Those from 500 on that are not the gateway's own fault here.
        """
        self.requests += 1
        for status in statuses:
            self.statuses[kind][str(status)] += 1
            if status >= 500 and status not in excused:
                self.fail(f"{kind}: {status} for {sent!r:.3000}")
        if not statuses:
            self.statuses[kind]["none"] += 1


async def exchanged(port: int, data: bytes, how: str = "waits") -> bytes:
    """All that comes back for some bytes on a connection of their own.

    Args:
        port: Of the gateway or a proxy.
        data: To send.
        how: ``waits`` for replies, ``waits long`` for them, ``leaves`` at once, ``resets`` the
            connection, or sends in ``pieces``.
    """
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b""
    found = b""
    with suppress(ConnectionError):
        if how == "pieces":
            step = max(len(data) // 4, 1)
            for at in range(0, len(data), step):
                writer.write(data[at : at + step])
                await writer.drain()
                await asyncio.sleep(0.001)
        else:
            writer.write(data)
            await writer.drain()
        if how in ("waits", "waits long", "pieces"):
            found = await _replies(reader, LONG_SILENCE_S if how == "waits long" else SILENCE_S)
    if how == "resets" and (own := writer.get_extra_info("socket")) is not None:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return found


async def _replies(reader: asyncio.StreamReader, most_s: float) -> bytes:
    found = b""
    while True:
        silence_s = _ENDED_S if _is_whole(found) else most_s
        try:
            async with asyncio.timeout(silence_s):
                more = await reader.read(65536)
        except TimeoutError:
            return found
        if not more:
            return found
        found += more


_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


def _is_whole(found: bytes) -> bool:
    """Whether the last reply in these bytes is there to its end."""
    at = found.rfind(b"HTTP/1.1 ")
    end = found.find(b"\r\n\r\n", at) if at >= 0 else -1
    if end < 0:
        return False
    length = _LENGTH.search(found, at, end + 2)
    if length is None:
        return found.endswith(b"0\r\n\r\n") or found[at + 9 : at + 12] in (b"204", b"304")
    return len(found) >= end + 4 + int(length[1])


def statuses_in(found: bytes) -> list[int]:
    """Of all replies, but for those that ask to go on."""
    return [int(status) for status in _STATUS.findall(found) if status != b"100"]


async def all_of(
    numbers: range, one: Callable[[int], Awaitable[None]], at_once: int = AT_ONCE
) -> None:
    """Do something for every number, some of them at once."""
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            await one(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())


def authorization(key: str = "fuzz") -> bytes:
    """The header of one of the world's keys."""
    return b"authorization: Bearer " + world.KEYS[key].encode()


def request(
    body: bytes,
    path: bytes = b"/v1/chat/completions",
    more: tuple[bytes, ...] = (),
    key: str = "fuzz",
) -> bytes:
    """A proper POST."""
    lines = (
        b"POST " + path + b" HTTP/1.1",
        b"host: gateway",
        authorization(key),
        b"content-type: application/json",
        *more,
        b"content-length: %d" % len(body),
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CHAT = b'{"messages":[{"role":"user","content":"%b add 2 and 2"}]}' % world.MARK.encode()
