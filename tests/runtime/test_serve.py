"""The gateway as its own process: ready line, drain on SIGTERM, refusals at the start."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from fake_upstream import FakeUpstream, served
from small_policies import DEAR, policy, written

from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard
from runtime import serve as module
from runtime.serve import serve
from runtime.settings import GatewaySettings, LedgerSettings

ROOT = Path(__file__).parents[2]
KEY = {"authorization": "Bearer k"}
KEYS = {"INFERBUDGET_API_KEY": "k", "INFERBUDGET_OPERATOR_KEY": "o"}
SCRIPT = """
import sys
from pathlib import Path
from runtime.serve import serve
from runtime.settings import GatewaySettings
serve(Path(sys.argv[1]), upstream=sys.argv[2], port=0, drain_s=float(sys.argv[3]),
      linger_s=float(sys.argv[4]),
      settings=GatewaySettings(format_version="1.0", logs=sys.argv[5]),
      verifiers={"checker": lambda prompt, answer: 1.0})
"""
BODY = {
    "messages": [{"role": "user", "content": "two and two"}],
    "metadata": {"class": "easy"},
}


@asynccontextmanager
async def process(
    folder: Path, upstream: str, drain_s: float, *, linger_s: float = 0.0, logs: str = "text"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A gateway of its own, and where it listens."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        str(written(policy(), folder)),
        upstream,
        str(drain_s),
        str(linger_s),
        logs,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **KEYS},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert started.stdout is not None
        ready = json.loads(await started.stdout.readline())
        assert set(ready) == {"url", "policy", "provider"}
        yield started, ready["url"]
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def ask(client: aiohttp.ClientSession) -> tuple[int, Any]:
    async with client.post("/v1/chat/completions", json=BODY) as found:
        return found.status, await found.json()


@pytest.mark.asyncio
async def test_sigterm_lets_running_requests_end_and_exits_with_0(tmp_path: Path) -> None:
    async with (
        served(FakeUpstream(delay_s=0.5)) as fake,
        process(tmp_path, fake.url, 10.0) as (gateway, url),
        aiohttp.ClientSession(url, headers=KEY) as client,
    ):
        asked = asyncio.ensure_future(ask(client))
        while not fake.calls:
            await asyncio.sleep(0.01)
        gateway.send_signal(signal.SIGTERM)
        status, body = await asked
        assert status == 200
        assert body["choices"][0]["message"]["content"] == "four"
        assert await gateway.wait() == 0


async def readiness(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession(url) as client, client.get("/ready") as found:
        return found.status, await found.json()


@pytest.mark.asyncio
async def test_a_gateway_that_lingers_serves_what_a_balancer_still_sends(tmp_path: Path) -> None:
    """It is not ready, new requests are answered, and each asks for another connection."""
    async with (
        served(FakeUpstream()) as fake,
        process(tmp_path, fake.url, 10.0, linger_s=600.0) as (gateway, url),
        aiohttp.ClientSession(url, headers=KEY) as client,
    ):
        async with client.post("/v1/chat/completions", json=BODY) as found:
            assert (found.status, found.headers.get("connection")) == (200, None)
        gateway.send_signal(signal.SIGTERM)
        while (await readiness(url))[0] == 200:
            await asyncio.sleep(0.01)
        assert await readiness(url) == (503, {"status": "stopping"})
        for _ in range(3):
            async with client.post("/v1/chat/completions", json=BODY) as found:
                assert (found.status, found.headers["connection"]) == (200, "close")
        fake.delay_s = 0.5
        asked = asyncio.ensure_future(ask(client))
        while len(fake.calls) < 5:
            await asyncio.sleep(0.01)
        gateway.send_signal(signal.SIGTERM)  # a second one ends the lingering, not the request
        assert (await asked)[0] == 200
        assert await gateway.wait() == 0


@pytest.mark.asyncio
async def test_an_upstream_that_hangs_delays_a_stop_by_no_more_than_the_drain(
    tmp_path: Path,
) -> None:
    async with (
        served(FakeUpstream(delay_s=8.0)) as fake,
        process(tmp_path, fake.url, 1.0) as (gateway, url),
        aiohttp.ClientSession(url, headers=KEY) as client,
    ):
        asked = [asyncio.ensure_future(ask(client)) for _ in range(3)]
        while len(fake.calls) < 3:
            await asyncio.sleep(0.01)
        start = time.monotonic()
        gateway.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        async with client.get("/ready") as found:
            assert (found.status, await found.json()) == (503, {"status": "stopping"})
        for status, body in await asyncio.gather(*asked):
            assert status == 502
            assert "is charged" in body["error"]["message"]
        assert await gateway.wait() == 0
        assert 1.0 <= time.monotonic() - start < 5.0


async def pour(writer: asyncio.StreamWriter, size: int) -> None:
    for _ in range(size // 4096):
        writer.write(b"x-long: " + b"a" * 4096 + b"\r\n")
        await writer.drain()


@pytest.mark.asyncio
async def test_a_connection_may_be_idle_longer_than_clients_keep_it(tmp_path: Path) -> None:
    async with process(tmp_path, "http://127.0.0.1:9", 1.0) as (_, url):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for idle_s in (0.0, 6.0):  # servers commonly close after 5 s
            await asyncio.sleep(idle_s)
            writer.write(b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n")
            await writer.drain()
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()


@pytest.mark.asyncio
async def test_headers_that_never_end_close_their_connection(tmp_path: Path) -> None:
    async with process(tmp_path, "http://127.0.0.1:9", 1.0) as (_, url):
        port = int(url.rsplit(":", 1)[1])
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        trailers = head + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"
        for start in (head, trailers):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(start)
            with pytest.raises(ConnectionError):
                await pour(writer, 64 * 1024 * 1024)
            writer.close()
        async with aiohttp.ClientSession(url, headers=KEY) as client:
            large = json.dumps({**BODY, "n": 2, "user": "x" * 500_000}).encode()
            async with client.post("/v1/chat/completions", data=large) as found:
                assert found.status == 400


@pytest.mark.asyncio
@pytest.mark.parametrize("logs", ["text", "json"])
async def test_what_is_no_request_is_counted_and_leaves_no_line(logs: str, tmp_path: Path) -> None:
    """Whoever reaches the port could fill the disk of the logs."""
    async with process(tmp_path, "http://127.0.0.1:9", 1.0, logs=logs) as (gateway, url):
        port = int(url.rsplit(":", 1)[1])
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x16\x03\x01 of a client\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
            writer.close()
        operator = {"authorization": "Bearer o"}
        async with (
            aiohttp.ClientSession(url, headers=operator) as client,
            client.get("/metrics") as found,
        ):
            text = await found.text()
        assert 'inferbudget_refused_connections_total{status="400"} 20.0' in text
        assert ("inferbudget_log_lines_lost_total 0.0" in text) == (logs == "json")
        gateway.send_signal(signal.SIGTERM)
        _, written_to_the_log = await gateway.communicate()
        assert written_to_the_log == b""


def test_an_empty_key_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERBUDGET_API_KEY", "")
    verifiers = {"checker": lambda prompt, answer: 1.0}
    with pytest.raises(InputError, match="INFERBUDGET_API_KEY: the API key for clients is empty"):
        serve(written(policy(), tmp_path), upstream="http://127.0.0.1:9", verifiers=verifiers)


def test_what_cannot_be_served_is_refused_at_the_start(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    with pytest.raises(UnknownValueError, match="no price is known"):
        serve(written(policy(prices=PriceCard()), tmp_path), upstream=url)
    with pytest.raises(InputError, match="no verifier is called 'checker'"):
        serve(written(policy(rungs=((DEAR, 0.1),)), tmp_path), upstream=url)
    verifiers = {"checker": lambda prompt, answer: 1.0}
    with pytest.raises(InputError, match="cannot listen on this address"):
        serve(written(policy(), tmp_path), upstream=url, host="203.0.113.1", verifiers=verifiers)


@pytest.mark.parametrize("exits", [True, False], ids=["uvicorn exits", "older ones return"])
def test_a_store_that_cannot_be_opened_is_why_it_does_not_start(
    exits: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def startup(server: uvicorn.Server, sockets: Any = None) -> None:
        await server.lifespan.startup()
        server.should_exit = True

    if not exits:
        monkeypatch.setattr(uvicorn.Server, "startup", startup)
    ledger = LedgerSettings(store=f"sqlite:///{tmp_path}")
    with pytest.raises(InputError, match="cannot be opened"):
        serve(
            written(policy(), tmp_path),
            upstream="http://127.0.0.1:9/v1",
            port=0,
            settings=GatewaySettings(format_version="1.0", ledger=ledger),
            verifiers={"checker": lambda prompt, answer: 1.0},
        )


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux")
def test_a_client_that_takes_nothing_keeps_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALLED_S", 0.2)
    with module._listen("127.0.0.1", 0) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        served_by, _ = listener.accept()
        served_by.settimeout(20.0)
        with served_by, pytest.raises(OSError, match="timed out") as error:
            served_by.sendall(bytes(64 * 1024 * 1024))
    assert error.value.errno == errno.ETIMEDOUT
