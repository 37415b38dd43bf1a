"""Bodies beyond every limit, bombs, and model servers whose replies have no end."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

from benchmarks.hostile_clients.exchanges import (
    CHAT,
    Tally,
    all_of,
    authorization,
    exchanged,
    request,
    statuses_in,
)
from benchmarks.hostile_clients.running import Running

_MIB = 1024 * 1024
_AT_ONCE, _COPIES, _MOST_REPLY_MB = 16, 3, 32.0
_HEAD = request(b"").replace(b"content-length: 0\r\n\r\n", b"")
_PIECE = b'{"messages":[{"role":"user","content":"' + b"x" * 65536


def _fits(size: int) -> bytes:
    empty = b'{"messages":[{"role":"user","content":""}]}'
    return request(empty.replace(b'""', b'"%b"' % (b"x" * (size - len(empty)))))


def _deep(levels: int) -> bytes:
    return request(CHAT[:-1] + b',"metadata":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}")


def _bomb() -> bytes:
    packed = gzip.compress(b" " * (32 * _MIB))
    return request(packed, more=(b"content-encoding: gzip",))


def _upstream(kind: bytes, more: bytes = b"") -> Callable[[], bytes]:
    body = b'{"messages":[{"role":"user","content":"[[%b]]"}]%b}' % (kind, more)
    return lambda: request(body)


WHOLE: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "the longest body": (lambda: _fits(_MIB), (200, 402, 429)),
    "a byte too long": (lambda: _fits(_MIB + 1), (413,)),
    "declared 10 GB": (lambda: _HEAD + b"content-length: 10000000000\r\n\r\n", (413,)),
    "declared beyond 64 bits": (lambda: _HEAD + b"content-length: %d\r\n\r\n" % 10**30, (400,)),
    "a gzip bomb": (_bomb, (400,)),
    "a zlib bomb": (
        lambda: request(zlib.compress(b" " * (32 * _MIB)), more=(b"content-encoding: deflate",)),
        (400,),
    ),
    "200,000 levels": (lambda: _deep(200_000), (400, 413)),
    "500 levels": (lambda: _deep(500), (200, 400)),
    "300,000 messages": (
        lambda: request(b'{"messages":[' + b"{}," * 300_000 + b"{}]}"),
        (400,),
    ),
    "60,000 proper messages": (
        lambda: request(
            b'{"messages":[' + b",".join([b'{"role":"user","content":""}'] * 36_000) + b"]}"
        ),
        (200, 402, 429),
    ),
    "2,048 inputs": (
        lambda: request(
            b'{"model":"embedder","input":[' + b",".join([b'"x"'] * 2049) + b"]}",
            b"/v1/embeddings",
        ),
        (400,),
    ),
    "5,000 headers": (
        lambda: _HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
        (400, 431, 200),
    ),
    "5,000 requests at once": (
        lambda: request(CHAT) + b"GET / HTTP/1.1\r\n\r\n" * 5000,
        (200, 400, 401),
    ),
    "a key of 60 kB": (
        lambda: request(CHAT).replace(authorization(), b"authorization: Bearer " + b"k" * 60_000),
        (401,),
    ),
}
MISBEHAVING: dict[str, Callable[[], bytes]] = {
    "upstream: bomb": _upstream(b"bomb"),
    "upstream: deep": _upstream(b"deep"),
    "upstream: garbage": _upstream(b"garbage"),
    "upstream: heads": _upstream(b"heads"),
    "upstream: huge": _upstream(b"huge", b',"stream":true'),
    "upstream: endless": _upstream(b"endless", b',"stream":true'),
    "upstream: bomb in a stream": _upstream(b"bomb", b',"stream":true'),
    "upstream: deep in a stream": _upstream(b"deep", b',"stream":true'),
}


async def _endless(port: int) -> bytes:
    """Chunks without an end, until the gateway closes; or a length that is never reached."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = asyncio.create_task(reader.read())
    writer.write(_HEAD + b"transfer-encoding: chunked\r\n\r\n")
    with suppress(ConnectionError):
        for _ in range(200):
            writer.write(b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE))
            await writer.drain()
            if heard.done():
                break
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(3):
            await asyncio.shield(heard)
    writer.close()
    with suppress(ConnectionError):
        return await heard
    return b"HTTP/1.1 413 (reset)"


async def attack(running: Running, tally: Tally, _seed: int, count: int) -> None:
    """Send each kind again and again; a few at once."""
    port = running.port
    tally.most_memory_mb = _AT_ONCE * _COPIES * _MOST_REPLY_MB
    kinds = [*WHOLE, *MISBEHAVING, "chunks without an end"]

    async def one(number: int) -> None:
        kind = kinds[number % len(kinds)]
        if kind in MISBEHAVING:
            found = statuses_in(await exchanged(port, MISBEHAVING[kind](), "waits long"))
            tally.saw(kind, found, kind, excused=(502, 504))
            return
        if kind not in WHOLE:
            tally.saw(kind, statuses_in(await _endless(port)), kind)
            return
        make, right = WHOLE[kind]
        found = statuses_in(await exchanged(port, make(), "waits long"))
        tally.saw(kind, found, kind)
        if any(status not in right for status in found):
            tally.fail(f"{kind}: {found}")

    await all_of(range(count), one, _AT_ONCE)
