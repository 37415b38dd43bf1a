"""Connections that send a byte a second, in headers and in bodies, while others are served."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from contextlib import suppress

import aiohttp

from benchmarks.hostile_clients import world
from benchmarks.hostile_clients.exchanges import CHAT, Tally, request, statuses_in
from benchmarks.hostile_clients.running import Running
from runtime.gateway.connection import BODY_S, HEAD_S, IDLE_S

_CLIENTS = 4
_QUIET_S = 15.0
_GRACE_S = 10.0
_LONG = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-long: " + b"y" * 200
_WHOLE = request(CHAT)
_HEAD = _WHOLE[: _WHOLE.index(b"\r\n\r\n") + 4].replace(
    b"content-length: %d" % len(CHAT), b"content-length: 5000"
)
_CHUNKS = _HEAD.replace(b"content-length: 5000", b"transfer-encoding: chunked") + b"9999\r\n"
_REFUSED = _HEAD.replace(b"Bearer ib-", b"Bearer ib_")
KINDS: dict[str, tuple[bytes, bytes, float]] = {
    "headers": (b"", _LONG, HEAD_S),
    "body": (_HEAD, b" " * 5000, BODY_S),
    "chunks": (_CHUNKS, b" " * 5000, BODY_S),
    "body of a refused request": (_REFUSED, b" " * 5000, BODY_S),
    "empty lines": (b"", b"\r\n" * 5000, IDLE_S),
    "nothing": (b"", b"", IDLE_S),
}
"""What is sent at once, what a byte a second, and after how many seconds the gateway ends it."""


async def _drip(port: int, begin: bytes, rest: bytes) -> tuple[float, bytes]:
    """How long one connection lasts, and what it was told."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began_s = time.monotonic()
    heard = asyncio.create_task(reader.read())
    with suppress(ConnectionError):
        writer.write(begin)
        for at in range(len(rest)):
            if (await asyncio.wait((heard,), timeout=1.0))[0]:
                break
            writer.write(rest[at : at + 1])
    found = b""
    with suppress(ConnectionError):
        found = await heard
    writer.close()
    return time.monotonic() - began_s, found


async def _ordinary(port: int, ended: asyncio.Event, tally: Tally) -> list[float]:
    """Latencies in ms of an ordinary tenant who asks again and again."""
    headers = {"authorization": f"Bearer {world.KEYS['fuzz']}"}
    took_ms: list[float] = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        while not ended.is_set():
            began_s = time.perf_counter()
            async with session.post("/v1/chat/completions", data=CHAT) as found:
                await found.read()
            took_ms.append(1000 * (time.perf_counter() - began_s))
            tally.saw("ordinary clients", [found.status], CHAT)
            if found.status != 200:
                tally.fail(f"an ordinary client was answered with {found.status}")
            await asyncio.sleep(0.02)
    return took_ms


async def _served(port: int, tally: Tally, during: asyncio.Future[object]) -> dict[str, float]:
    ended = asyncio.Event()
    during.add_done_callback(lambda _: ended.set())
    found = await asyncio.gather(*(_ordinary(port, ended, tally) for _ in range(_CLIENTS)))
    cuts = statistics.quantiles([one for each in found for one in each], n=100)
    return {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2), "p99": round(cuts[98], 2)}


async def attack(running: Running, tally: Tally, _seed: int, count: int) -> None:
    """Drip on `count` connections."""
    port = running.port
    quiet = asyncio.create_task(asyncio.sleep(_QUIET_S))
    tally.figures["latency_ms_before"] = await _served(port, tally, quiet)
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(count)]
    drips = asyncio.gather(*(_drip(port, *KINDS[kind][:2]) for kind in kinds))
    tally.figures["latency_ms_meanwhile"] = await _served(port, tally, drips)
    lasted: dict[str, list[float]] = {kind: [] for kind in KINDS}
    told: Counter[str] = Counter()
    for kind, (seconds, found) in zip(kinds, await drips, strict=True):
        lasted[kind].append(seconds)
        tally.saw(kind, statuses_in(found), kind)
        told[f"{kind}: {statuses_in(found)}"] += 1
        if seconds > KINDS[kind][2] + _GRACE_S:
            tally.fail(f"{kind}: the connection lasted {seconds:.0f} s")
    tally.figures["lasted_s"] = {
        kind: {"least": round(min(found), 1), "most": round(max(found), 1)}
        for kind, found in lasted.items()
        if found
    }
