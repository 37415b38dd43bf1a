"""A connection's transport that hands on in one write what is written in one turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any


class OneWrite:
    """In place of the transport that it writes to.

    uvicorn writes the head and the body of an answer one after the other, and each write would be a
    system call and a packet of its own.

    Args:
        transport: Where it writes; all but writing and closing is left to it.
        loop: The event loop of the transport.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
