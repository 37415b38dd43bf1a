"""Clients in a closed loop: each asks, waits for the whole answer, checks it, and asks again.

One connection a client, kept open, spoken by hand over asyncio's transports. Every answer is read
and compared with what the fixed upstream gives: status, text and usage. Prints one JSON object:
latencies of the requests that ended within the measured time, and the processor time and the
memory that the watched processes (a gateway with its children) took meanwhile. The time is longer
where a gateway is too slow to answer every client three times.

    python -m benchmarks.gateway_load --url http://127.0.0.1:8080 --clients 32 [--seconds S]
        [--stream] [--key KEY] [--model NAME] [--pid PID]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvloop

from benchmarks.fixed_upstream import ANSWER, TOKENS_IN, TOKENS_OUT

LATE_S = 30.0
EACH = 3
_PATH = "/v1/chat/completions"
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Text(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Text | None = None
    delta: _Text | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_reply = msgspec.json.Decoder(_Reply)


def is_right(status: int, body: bytes, *, stream: bool) -> bool:
    """Whether this is the upstream's answer with its usage, all of it."""
    try:
        replies = list(map(_reply.decode, _events(body) if stream else (body,)))
    except msgspec.MsgspecError:
        return False
    said = [choice.delta or choice.message for reply in replies for choice in reply.choices]
    text = "".join(part.content or "" for part in said if part)
    usages = [reply.usage for reply in replies if reply.usage]
    used = [(usage.prompt_tokens, usage.completion_tokens) for usage in usages]
    whole = not stream or body.rstrip().endswith(b"data: [DONE]")
    return status == 200 and whole and text == ANSWER and used[-1:] == [(TOKENS_IN, TOKENS_OUT)]


def _events(body: bytes) -> list[bytes]:
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [line for line in lines if line.strip() != b"[DONE]"]


@dataclass(slots=True)
class Heard:
    """What the clients saw while it counted.

    Attributes:
        latencies_s: From the request to the end of its answer.
        first_s: From the request to the first byte of the answer's body.
        wrong: Answers that were not right.
        example: The first of them.
        broken: Connections that the gateway closed.
    """

    latencies_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    wrong: int = 0
    example: str = ""
    broken: int = 0


class Client(asyncio.Protocol):
    """One client: at most one request at a time.

    Args:
        requests: Sent in turn.
        stream: Answers are event streams.
        heard: Where it notes what it saw.
        stop: No request begins once it is set.
    """

    def __init__(
        self, requests: Sequence[bytes], heard: Heard, stop: asyncio.Event, *, stream: bool
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._heard = heard
        self._stop = stop
        self._stream = stream
        self._sent = 0
        self._began = self._first = 0.0
        self._read = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where requests are written."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's name
        """An answer that never comes."""
        if not self.done.done():
            self._heard.broken += 1
            self.done.set_result(None)

    def ask(self) -> None:
        """Send the next request."""
        self._first = 0.0
        self._began = time.perf_counter()
        self._sent += 1
        self._transport.write(self._requests[self._sent % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        """Go on once the answer is whole."""
        now = time.perf_counter()
        read = self._read
        read += data
        end = read.find(b"\r\n\r\n")
        if end < 0:
            return
        if not self._first and len(read) > end + 4:
            self._first = now
        body = _body(read, end)
        if body is None:
            return
        status = _STATUS.match(read)
        right = status is not None and is_right(int(status[1]), body, stream=self._stream)
        self._note(now, right=right)
        read.clear()
        if self._stop.is_set():
            self.done.set_result(None)
        else:
            self.ask()

    def _note(self, now: float, *, right: bool) -> None:
        heard = self._heard
        if right:
            heard.latencies_s.append(now - self._began)
            heard.first_s.append(self._first - self._began)
            return
        heard.wrong += 1
        heard.example = heard.example or bytes(self._read[:2000]).decode(errors="replace")


def _body(read: bytearray, end: int) -> bytes | None:
    """The body of a response whose head ends there, None while it is not whole."""
    length = _LENGTH.search(read, 0, end + 2)
    if length:
        whole = end + 4 + int(length[1])
        return bytes(read[end + 4 : whole]) if len(read) >= whole else None
    if not _CHUNKED.search(read, 0, end + 2) or not read.endswith(_LAST_CHUNK):
        return None
    return _dechunked(bytes(read[end + 4 :]))


def _dechunked(chunks: bytes) -> bytes:
    found: list[bytes] = []
    at = 0
    while True:
        line = chunks.index(b"\r\n", at)
        size = int(chunks[at:line], 16)
        if not size:
            return b"".join(found)
        found.append(chunks[line + 2 : line + 2 + size])
        at = line + 4 + size


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process and its children have taken so far.

    Attributes:
        cpu_s: Processor seconds, user and system.
        rss_mb: Memory now, in 10**6 bytes.
        peak_mb: Most memory so far, likewise.
    """

    cpu_s: float
    rss_mb: float
    peak_mb: float


def taken(pid: int) -> Taken:
    """What this process and its living children have taken."""
    pids = _family(pid)
    return Taken(
        sum(map(_cpu_s, pids)),
        round(sum(_status_mb(one, "VmRSS") for one in pids), 1),
        round(sum(_status_mb(one, "VmHWM") for one in pids), 1),
    )


def _family(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for path in listed for child in path.read_text().split()]
    return [pid, *(member for child in children for member in _family(child))]


def _cpu_s(pid: int) -> float:
    """By nanoseconds where the kernel counts them, else by its ticks."""
    threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    if threads:
        return sum(int(thread.split()[0]) for thread in threads) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _status_mb(pid: int, name: str) -> float:
    found = re.search(rf"{name}:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def requests(netloc: str, bodies: Sequence[bytes], key: str | None) -> list[bytes]:
    """The bytes of each request."""
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {_PATH} HTTP/1.1\r\nHost: {netloc}\r\n{auth}"
        "Content-Type: application/json\r\nAccept: */*\r\n"
    )
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]


def bodies(prompts: Sequence[str], model: str, *, stream: bool) -> list[bytes]:
    """The JSON of each request, with a cap on its tokens as clients send it."""
    more: dict[str, Any] = {"max_tokens": 64}
    if stream:
        more |= {"stream": True, "stream_options": {"include_usage": True}}
    return [
        json.dumps(
            {"model": model, "messages": [{"role": "user", "content": prompt}], **more}
        ).encode()
        for prompt in prompts
    ]


async def load(
    url: str, asked: Sequence[bytes], clients: int, seconds: float, *, stream: bool, pid: int | None
) -> dict[str, Any]:
    """Drive a gateway: a fifth of the time to warm up, then the time that counts."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    heard, stop = Heard(), asyncio.Event()

    def client() -> Client:
        turn = len(protocols) % len(asked)
        return Client([*asked[turn:], *asked[:turn]], heard, stop, stream=stream)

    protocols: list[Client] = []
    for _ in range(clients):
        _, one = await loop.create_connection(client, parts.hostname or "", parts.port or 80)
        protocols.append(one)
    for protocol in protocols:
        protocol.ask()
    await asyncio.sleep(seconds / 5)
    heard.latencies_s.clear()
    heard.first_s.clear()
    before, own, began = taken(pid) if pid else None, time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    while len(heard.latencies_s) < EACH * clients and time.perf_counter() < began + LATE_S:
        await asyncio.sleep(0.01)  # a slow gateway answers every client a few times all the same
    wall_s, own = time.perf_counter() - began, time.process_time() - own
    count = len(heard.latencies_s)
    after = taken(pid) if pid else None
    latencies, first = list(heard.latencies_s), list(heard.first_s)
    stop.set()
    await asyncio.wait([protocol.done for protocol in protocols], timeout=LATE_S)
    found: dict[str, Any] = {
        "requests": count,
        "seconds": round(wall_s, 3),
        "requests_per_s": round(count / wall_s, 1),
        **_quantiles_ms("latency", latencies),
        **(_quantiles_ms("first_byte", first) if stream else {}),
        "load_cpu_us_per_request": round(1e6 * own / count, 1) if count else None,
        "load_cpu_s": round(time.process_time(), 3),
        "wrong": heard.wrong,
        "broken": heard.broken,
        "late": sum(not protocol.done.done() for protocol in protocols),
    }
    if heard.example:
        found["example"] = heard.example
    if before and after and count:
        cpu_us = 1e6 * (after.cpu_s - before.cpu_s) / count
        found |= {
            "cpu_us_per_request": round(cpu_us, 1),
            "cpu_share": round((after.cpu_s - before.cpu_s) / wall_s, 3),
            "rss_mb": after.rss_mb,
            "peak_mb": after.peak_mb,
        }
    return found


def _quantiles_ms(name: str, seconds: Sequence[float]) -> dict[str, float | None]:
    levels = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    if not seconds:
        return {f"{name}_{level}_ms": None for level in levels}
    found = np.quantile(seconds, list(levels.values()))
    return {
        f"{name}_{level}_ms": round(1e3 * float(value), 3)
        for level, value in zip(levels, found, strict=True)
    }


def main() -> None:
    """Load one gateway and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--key")
    parser.add_argument("--model", default="inferbudget")
    parser.add_argument("--pid", type=int, help="Whose processor time and memory are noted.")
    parser.add_argument("--prompts", type=Path, help="JSON list; one short prompt where absent.")
    asked = parser.parse_args()
    prompts = json.loads(asked.prompts.read_text()) if asked.prompts else ["add 17 25"]
    sent = requests(
        urlsplit(asked.url).netloc, bodies(prompts, asked.model, stream=asked.stream), asked.key
    )
    gc.freeze()
    running = load(
        asked.url, sent, asked.clients, asked.seconds, stream=asked.stream, pid=asked.pid
    )
    print(json.dumps(uvloop.run(running)))


if __name__ == "__main__":
    main()
