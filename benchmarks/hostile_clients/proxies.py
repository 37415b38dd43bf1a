"""Requests hidden in requests: straight to the gateway, and through nginx and HAProxy before it.

Whatever a proxy forwards, the gateway must see exactly as many requests. Straight, the judge is
h11, a strict parser of another family: of the same bytes the gateway may
read no more requests than it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h11

from benchmarks.hostile_clients.exchanges import (
    CHAT,
    Tally,
    all_of,
    exchanged,
    request,
    statuses_in,
)
from benchmarks.hostile_clients.running import Running
from benchmarks.never_over.processes import free_port

_PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin"
_UNREAD = b"this is no valid HTTP/1.1 request"
_INNER = request(CHAT, key="bound")
_TE = (
    b"transfer-encoding: chunked",
    b"Transfer-Encoding : chunked",
    b"transfer-encoding: xchunked",
    b"transfer-encoding:\x0bchunked",
    b"transfer-encoding: chunked\r\ntransfer-encoding: identity",
    b"x-a: b\r\n transfer-encoding: chunked",
    b"transfer-encoding\x00: chunked",
    b"transfer_encoding: chunked",
    b"transfer-encoding: identity, chunked",
    b"transfer-encoding:\n chunked",
    b"x-a: b\rtransfer-encoding: chunked",
)
_OTHERS = (
    b"connection: upgrade\r\nupgrade: websocket",
    b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
    b"expect: 100-continue",
    b"connection: close",
    b"connection: content-length",
    b"connection: transfer-encoding, content-length",
    b"content-length: 0",
    b"content-length : 0",
    b"content-length: +0",
    b"content-length: 0, 0",
    b"content-length: 00",
)


def case(seed: int, number: int) -> tuple[str, bytes]:
    """What is sent as this number, and its kind: requests that hold another one in their body."""
    chance = random.Random(f"{seed} proxies {number}")
    kind = ("lengths and codings", "other headers", "chunks", "versions")[number % 4]
    ended = b"0\r\n\r\n" + _INNER
    whole = request(ended)
    head, body = whole[: -len(ended)], ended
    if kind == "lengths and codings":
        more = chance.choice(_TE)
        head = head.replace(b"content-length", more + b"\r\ncontent-length")
        if chance.random() < 0.3:
            head = re.sub(rb"content-length: [0-9]+\r\n", b"", head)
    elif kind == "other headers":
        body = chance.choice((_INNER, ended, CHAT))
        more = chance.choice(_OTHERS)
        head = request(body)[: -len(body)].replace(b"content-type", more + b"\r\ncontent-type")
    elif kind == "chunks":
        head = re.sub(rb"content-length: [0-9]+", b"transfer-encoding: chunked", head)
        sizes = (b"0", b"%x" % len(_INNER), b"0x0", b"-0", b"0;a=\n", b"0 ", b"00000000000000000")
        ends = (b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n")
        body = chance.choice(sizes) + chance.choice(ends) + chance.choice(ends) + _INNER
    else:
        version = chance.choice((b"HTTP/1.0", b"HTTP/1.1", b"HTTP/1.2", b"HTTP/1.1 ", b"http/1.1"))
        more = chance.choice((*_TE, *_OTHERS))
        head = head.replace(b"HTTP/1.1", version).replace(
            b"content-type", more + b"\r\ncontent-type"
        )
    return kind, head + body + chance.choice((b"", request(CHAT)))


def requests_in(data: bytes) -> int:
    """How many a strict parser reads."""
    found = 0
    if not data:  # to h11 that is the end of the connection
        return found
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(data)
    try:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return found
            if isinstance(event, h11.EndOfMessage):
                found += 1
                parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                parser.send(h11.EndOfMessage())
                if parser.our_state is not h11.DONE:
                    return found
                # empty lines before a request are nothing to most parsers (RFC 9112, 2.2)
                return found + requests_in(bytes(parser.trailing_data[0]).lstrip(b"\r\n"))
    except h11.ProtocolError:
        return found


def _seen(running: Running) -> int:
    """Requests that the gateway counted."""
    lines = running.page("/metrics").decode().splitlines()
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in lines
        if line.startswith("inferbudget_requests_total")
    )


async def attack(running: Running, tally: Tally, seed: int, count: int) -> None:
    """Straight first, then through every proxy that is installed."""
    before = _seen(running)
    allowed = 0

    async def straight(number: int) -> None:
        nonlocal allowed
        kind, data = case(seed, number)
        allowed += requests_in(data)
        tally.saw(f"straight, {kind}", statuses_in(await exchanged(running.port, data)), data)

    await all_of(range(count), straight)
    seen = _seen(running) - before
    tally.figures["straight"] = {"h11_reads": allowed, "gateway_saw": seen}
    for name, proxy in (("nginx", _nginx), ("haproxy", _haproxy)):
        program = shutil.which(name, path=_PATHS)
        if program is None:
            tally.figures[name] = "not installed"
            continue
        folder = running.folder / name
        folder.mkdir()
        before, unread = _seen(running), 0
        with proxy(program, folder, running.port) as (port, log):

            async def through(number: int, name: str = name, port: int = port) -> None:
                kind, data = case(seed, number)
                nonlocal unread
                found = await exchanged(port, data)
                unread += found.count(_UNREAD)
                tally.saw(f"{name}, {kind}", statuses_in(found), data, excused=(501, 502, 504))

            await all_of(range(count), through)
            time.sleep(1.0)
        forwarded, seen = _forwarded(log), _seen(running) - before
        said = {"forwarded": forwarded, "gateway_saw": seen, "gateway_refused_to_read": unread}
        tally.figures[name] = said
        if seen + unread > forwarded or forwarded == 0:
            tally.fail(f"{name}: {said}")
    if tally.figures["straight"]["gateway_saw"] > allowed:
        tally.fail(f"h11 reads {allowed} requests, the gateway saw {tally.figures}")


def _forwarded(log: Path) -> int:
    """Lines are `F` where a request went to the gateway."""
    lines = log.read_text(errors="replace").splitlines()
    return sum(line.rstrip().endswith(" F") for line in lines)


@contextmanager
def _nginx(program: str, folder: Path, gateway: int) -> Iterator[tuple[int, Path]]:
    port, log = free_port(), folder / "access.log"
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(f"""{user} daemon off; worker_processes 1; pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  map $upstream_addr $went {{ "" "-"; default "F"; }}
  log_format brief escape=json '$status $went';
  access_log {log} brief; {temporary}
  upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    if ($request_method != POST) {{ return 405; }}
    location / {{ return 404; }}
    location = /v1/chat/completions {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
""")
    with _process([program, "-p", str(folder), "-c", str(config)], port):
        yield port, log


@contextmanager
def _haproxy(program: str, folder: Path, gateway: int) -> Iterator[tuple[int, Path]]:
    port, log = free_port(), folder / "access.log"
    config = folder / "haproxy.cfg"
    config.write_text(f"""global
  log stdout format raw local0
defaults
  mode http
  log global
  retries 0
  timeout connect 5s
  timeout client 10s
  timeout server 10s
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  log-format "%ST %[var(txn.went)]"
  http-request deny deny_status 405 unless METH_POST
  http-request deny deny_status 404 unless {{ path /v1/chat/completions }}
  http-request set-var(txn.went) str(F)
  default_backend gateway
backend gateway
  server one 127.0.0.1:{gateway}
""")
    with log.open("wb") as kept, _process([program, "-db", "-f", str(config)], port, kept):
        yield port, log


@contextmanager
def _process(command: list[str], port: int, out: object = subprocess.DEVNULL) -> Iterator[None]:
    process = subprocess.Popen(  # noqa: S603 our own command
        command,
        stdout=out,  # type: ignore[call-overload]
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(port)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _await(port: int) -> None:
    import socket  # noqa: PLC0415 for this alone

    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the proxy did not start")
