"""HTTP/1.1 that was changed byte by byte and rule by rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from benchmarks.hostile_clients import world
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

_STREAM = CHAT[:-1] + b',"stream":true}'
_AUTH = authorization()


def _chunked(body: bytes) -> bytes:
    head = request(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


BASES = (
    request(CHAT),
    request(_STREAM),
    _chunked(CHAT),
    request(CHAT.replace(b"messages", b"input"), b"/v1/responses"),
    request(b'{"prompt":"a"}', b"/v1/completions"),
    request(b'{"model":"embedder","input":"a"}', b"/v1/embeddings"),
    b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + _AUTH + b"\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n",
)
Change = Callable[[random.Random, bytes], bytes]


def _at(chance: random.Random, data: bytes) -> int:
    """Somewhere, mostly in the head."""
    end = data.find(b"\r\n\r\n") if chance.random() < 0.8 else len(data)
    return chance.randrange(max(end, 1))


def _bytes(chance: random.Random, data: bytes) -> bytes:
    at = _at(chance, data)
    new = chance.randbytes(chance.randint(0, 4))
    return data[:at] + new + data[at + chance.randint(0, 4) :]


def _control(chance: random.Random, data: bytes) -> bytes:
    at = _at(chance, data)
    odd = (b"\x00", b"\r", b"\n", b"\r\n", b"\t", b"\x0b", b"\x7f", b"\x80", b"\xff", b"\r\n\r\n")
    return data[:at] + chance.choice(odd) + data[at:]


def _line_ends(chance: random.Random, data: bytes) -> bytes:
    return data.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n")))


def _header(chance: random.Random, data: bytes) -> bytes:
    lengths = (b"0", b"1", b"+5", b"5,5", b"0x5", b" 5", b"5 ", b"-1", b"9" * 30, b"", b"5\x0b")
    codings = (
        b"chunked",
        b"xchunked",
        b"chunked, chunked",
        b"identity",
        b"\tchunked",
        b"chunked\x00",
        b"gzip, chunked",
        b"chunked;q=1",
        b"CHUNKED",
    )
    names = (
        b"transfer-encoding",
        b"Transfer-Encoding ",
        b"transfer_encoding",
        b" transfer-encoding",
    )
    lines = [
        b"content-length: " + chance.choice(lengths),
        chance.choice(names) + b": " + chance.choice(codings),
        b"x-folded: a\r\n " + chance.choice((b"b", b"transfer-encoding: chunked")),
        b"expect: " + chance.choice((b"100-continue", b"200-ok", b"100-continue, x")),
        b"connection: upgrade\r\nupgrade: " + chance.choice((b"websocket", b"h2c", b"x" * 99)),
        b"connection: " + chance.choice((b"close", b"keep-alive, close", b"authorization", b"te")),
        b"host: " + chance.choice((b"", b"a b", b"evil@x", b"[::1", b"x" * 9000)),
        chance.choice((b"", b":", b"a b", b"a\x00", b"\xff", b"(x)", b"x" * 9000)) + b": y",
        b"x-much: " + b"y" * chance.choice((8_000, 60_000, 100_000)),
        b"\r\n".join(b"x-%d: y" % n for n in range(chance.choice((100, 1000, 4000)))),
        b"content-encoding: " + chance.choice((b"gzip", b"br", b"x")),
        b"traceparent: " + chance.choice((b"00-" + b"f" * 32 + b"-" + b"f" * 16 + b"-01", b"\xff")),
        authorization(chance.choice(world.OWN_KEYS)),
    ]
    at = data.find(b"\r\n") + 2
    return data[:at] + chance.choice(lines) + b"\r\n" + data[at:]


def _target(chance: random.Random, data: bytes) -> bytes:
    targets = (
        b"http://evil/v1/chat/completions",
        b"*",
        b"//v1/chat/completions",
        b"/v1/../ledger",
        b"/v1/%2e%2e/metrics",
        b"/v1%2fmodels",
        b"/v1/models/%00",
        b"/v1/models/%ff%c0%af",
        b"/v1/models/%",
        b"/v1/models/%zz",
        b"/v1/models/\xc3\xa9",
        b"evil:443",
        b"",
        b"/v1/models?" + b"a" * 5000,
        b"/" + b"a/" * 2000,
        b"/metrics",
        b"/ledger",
        b"/dry-run",
        b"http://[::1",
        b"/v1/models#x",
    )
    method, _, rest = data.partition(b" ")
    return method + b" " + chance.choice(targets) + b" " + rest.partition(b" ")[2]


def _first_line(chance: random.Random, data: bytes) -> bytes:
    methods = (
        b"get",
        b"GET\t",
        b"HEAD",
        b"OPTIONS",
        b"CONNECT",
        b"PRI",
        b"X" * 99,
        b"",
        b"PUT",
        b"TRACE",
    )
    versions = (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b"")
    rest = data.partition(b" ")[2]
    if chance.random() < 0.5:
        return chance.choice(methods) + b" " + rest
    return data.replace(b"HTTP/1.1", chance.choice(versions), 1)


def _chunks(chance: random.Random, _: bytes) -> bytes:
    head = _chunked(b"").partition(b"\r\n\r\n")[0]
    sizes = (b"0x10", b"-1", b"+a", b"%x ;e=1" % len(CHAT), b"f" * 17, b"%x \r" % len(CHAT), b"")
    size = chance.choice((*sizes, b"%x;" % len(CHAT) + b"e" * chance.choice((10, 70_000))))
    last = chance.choice(
        (
            b"0\r\n\r\n",
            b"0\r\nauthorization: Bearer x\r\n\r\n",
            b"0\r\n",
            b"00000\r\n\r\n",
            b"0\n\n",
        )
    )
    return head + b"\r\n\r\n" + size + b"\r\n" + CHAT + b"\r\n" + last


def _pipelined(chance: random.Random, data: bytes) -> bytes:
    return data + b"".join(chance.choices(BASES, k=chance.randint(1, 8)))


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _doubled(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    return b"\r\n".join((*lines[: at + 1], lines[at], *lines[at + 1 :]))


CHANGES: dict[str, Change] = {
    "bytes": _bytes,
    "control characters": _control,
    "line ends": _line_ends,
    "headers": _header,
    "targets": _target,
    "methods and versions": _first_line,
    "chunks": _chunks,
    "pipelined": _pipelined,
    "cut short": _cut,
    "lines twice": _doubled,
}
_HOW = ("waits",) * 8 + ("pieces", "leaves", "resets")


def case(seed: int, number: int) -> tuple[str, bytes, str]:
    """What is sent as this number: its kind, its bytes, how."""
    chance = random.Random(f"{seed} wire {number}")
    kinds: Sequence[str] = chance.choices(tuple(CHANGES), k=chance.choice((1, 1, 1, 2, 3)))
    data = chance.choice(BASES)
    for kind in kinds:
        data = CHANGES[kind](chance, data)
    return kinds[-1], data, chance.choice(_HOW)


async def attack(running: Running, tally: Tally, seed: int, count: int) -> None:
    """Send them."""

    async def one(number: int) -> None:
        kind, data, how = case(seed, number)
        found = await exchanged(running.port, data, how)
        tally.saw(kind, statuses_in(found), (number, how, data))

    await all_of(range(count), one)
