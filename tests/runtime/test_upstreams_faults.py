"""Real servers on localhost that fail in every way: elsewhere only where nothing can be paid."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_upstream import PRICES, FakeUpstream, served
from msgspec.structs import replace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from several_upstreams import CALL, settings

from profiles.errors import UpstreamError
from runtime.caller import HeldCaller
from runtime.ledger import Ledger, Scope
from runtime.tracing import TracedChat, Tracing
from runtime.upstream import Completion
from runtime.upstreams import (
    BreakerSettings,
    BreakerState,
    HealthSettings,
    RetrySettings,
    Upstreams,
)

pytestmark = pytest.mark.asyncio

Wire = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Served = Callable[[], Any]
WHOLE = b'{"choices":[{"message":{"content":"four"}}],"usage":null}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(WHOLE)


def status(code: int, body: bytes = b"{}", **headers: str) -> Wire:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {**named, "content-length": str(len(body))}
        lines = [f"HTTP/1.1 {code} X", *(f"{name}: {value}" for name, value in fields.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    return answer


async def request(reader: asyncio.StreamReader) -> None:
    """Until all of a request has come."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    await reader.readexactly(length)


async def reset_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def reset_after_the_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await request(reader)
    writer.transport.abort()


async def end_after_the_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.close()


async def half_a_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(HEAD + WHOLE[:20])
    await writer.drain()
    writer.close()


async def slow_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    for byte in HEAD:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await writer.drain()
    writer.close()


async def silence(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


@asynccontextmanager
async def wire(handle: Wire, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a server that does this with every connection."""
    running: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def nobody_listens() -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"


@asynccontextmanager
async def nobody_accepts() -> AsyncIterator[str]:
    """A queue of connections that is full: whoever connects now waits."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def no_such_name() -> AsyncIterator[str]:
    yield "http://no-such-host.invalid/v1"


@asynccontextmanager
async def another_keys_tls(tmp_path: Path) -> AsyncIterator[str]:
    async with wire(status(200, WHOLE), certificate(tmp_path)) as url:
        yield url.replace("http", "https", 1)


@asynccontextmanager
async def no_tls() -> AsyncIterator[str]:
    async with wire(no_http) as url:
        yield url.replace("http", "https", 1)


@asynccontextmanager
async def a_handshake_that_never_ends() -> AsyncIterator[str]:
    async with wire(silence) as url:
        yield url.replace("http", "https", 1)


def certificate(folder: Path) -> ssl.SSLContext:
    """Of a server, signed by nobody that anybody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "both.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


class Asked:
    """A call to a faulty upstream, with a good one behind it, as it was charged."""

    def __init__(
        self, faulty: str, good: FakeUpstream, *, stream: bool = False, **more: Any
    ) -> None:
        self.upstreams = Upstreams(
            [
                settings("faulty", faulty, **more),
                settings("good", good.url, priority=1),
            ],
            ["small"],
            retries=RetrySettings(backoff_s=0.01),
            environ={},
        )
        ledger = Ledger([Scope("all")])
        self.hold = ledger.hold("r", 10**9)
        self.caller = HeldCaller(self.upstreams, PRICES, self.hold)
        self.call = replace(CALL, on_text=print) if stream else CALL

    async def answer(self) -> Completion:
        async with self.upstreams:
            return await self.caller(self.call)

    @property
    def charged_nano_usd(self) -> int:
        return self.caller.bill.cost_nano_usd

    def failures(self) -> dict[str, int]:
        failures = self.upstreams.snapshot()[0].failures
        return {kind.value: count for kind, count in failures.items()}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "place", [nobody_listens, nobody_accepts, no_such_name, no_tls, a_handshake_that_never_ends]
)
async def test_what_never_had_a_connection_is_asked_elsewhere(
    place: Served, *, stream: bool
) -> None:
    async with place() as url, served(FakeUpstream()) as good:
        asked = Asked(url, good, stream=stream, connect_timeout_s=0.2)
        assert (await asked.answer()).texts == ("four",)
    assert asked.failures() == {"connect": 1}
    assert good.finished == 1
    assert asked.charged_nano_usd == good.bill_nano_usd


async def test_a_certificate_that_nobody_signed_is_no_connection(tmp_path: Path) -> None:
    async with another_keys_tls(tmp_path) as url, served(FakeUpstream()) as good:
        asked = Asked(url, good)
        assert (await asked.answer()).texts == ("four",)
    assert asked.failures() == {"connect": 1}
    assert asked.charged_nano_usd == good.bill_nano_usd


ASK = """
import asyncio, sys
from runtime.upstream import ChatCall, Message, Upstream

async def ask():
    async with Upstream(sys.argv[1]) as upstream:
        print((await upstream.chat(ChatCall("small", (Message("user", "x"),), 16))).texts)

asyncio.run(ask())
"""


async def test_an_authority_of_ones_own_is_trusted_by_the_environment(tmp_path: Path) -> None:
    async with another_keys_tls(tmp_path) as url:
        environ = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "both.pem")}
        asking = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASK, url, env=environ, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await asking.communicate()
    assert printed == b"('four',)\n"


BUSY = b'{"error": {"message": "too many", "type": "rate_limit_error"}}'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (status(429, BUSY), "busy"),
        (status(429, BUSY, retry_after="7"), "busy"),
        (status(503, b"busy", retry_after="1"), "busy"),
        (status(503, b"", retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), "busy"),
        (status(503, BUSY), "unavailable"),
        (status(503, b'{"object": "error", "message": "The queue is full."}'), "unavailable"),
        (status(401, BUSY), "refused"),
        (status(404, BUSY), "refused"),
    ],
)  # fmt: skip
async def test_what_was_turned_down_before_any_work_is_asked_elsewhere(
    fault: Wire, kind: str, *, stream: bool
) -> None:
    async with wire(fault) as url, served(FakeUpstream()) as good:
        asked = Asked(url, good, stream=stream)
        assert (await asked.answer()).texts == ("four",)
    assert asked.failures() == {kind: 1}
    assert asked.charged_nano_usd == good.bill_nano_usd


BILLED = b'{"error": {"message": "x"}, "usage": {"prompt_tokens": 9, "completion_tokens": 1}}'
BEGUN = b'data: {"choices":[{"delta":{"content":"fo"}}]}\n\n'


async def a_stream_that_breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + BEGUN)
    await writer.drain()
    await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        (reset_at_once, {"lost"}),
        (reset_after_the_request, {"lost"}),
        (end_after_the_request, {"lost"}),
        (half_a_reply, {"lost"}),
        (a_stream_that_breaks, {"lost", "unusable"}),
        (no_http, {"lost"}),
        (slow_headers, {"timeout"}),
        (silence, {"timeout"}),
        (status(200, b"<html>"), {"unusable"}),
        (status(500, BUSY), {"status"}),
        (status(500, BUSY, retry_after="1"), {"status"}),
        (status(502), {"status"}),
        (status(503, b"upstream connect error or disconnect/reset before headers"), {"status"}),
        (status(503, b""), {"status"}),
        (status(503, BILLED), {"status"}),
        (status(503, BILLED, retry_after="1"), {"status"}),
        (status(429, BILLED), {"status"}),
    ],
)
async def test_what_may_have_been_sent_is_charged_at_its_bound_and_never_asked_again(
    fault: Wire, kinds: set[str], *, stream: bool
) -> None:
    async with wire(fault) as url, served(FakeUpstream()) as good:
        late = {"timeout_s": 1.5} if kinds == {"timeout"} else {}
        asked = Asked(url, good, stream=stream, **late)
        with pytest.raises(UpstreamError) as error:
            await asked.answer()
    assert error.value.sent
    assert set(asked.failures()) <= kinds
    assert sum(asked.failures().values()) == 1
    assert good.calls == []
    assert asked.charged_nano_usd > PRICES.price("small").cost_nano_usd(9, 4)
    assert not asked.caller.bill.usage_known


async def test_a_server_that_flaps_is_left_when_it_fails_and_found_when_it_is_back() -> None:
    up = True

    async def flaps(request: web.Request, _: dict[str, Any]) -> web.StreamResponse | None:
        return None if up else web.json_response({"error": {"message": "x"}}, status=503)

    async def page(_: web.Request) -> web.Response:
        return web.Response(status=200 if up else 502)

    health = HealthSettings(every_s=0.01)
    breaker = BreakerSettings(failures=2, open_s=60, most_open_s=60)
    async with (
        served_with_page(FakeUpstream(behaviour=flaps), page) as first,
        served(FakeUpstream(reply="five")) as second,
    ):
        listed = [
            settings("first", first.url, health=health, breaker=breaker),
            settings("second", second.url, priority=1),
        ]
        async with Upstreams(listed, ["small"], environ={}) as upstreams:
            for turn in range(6):
                up = turn % 2 == 0
                async with asyncio.timeout(10):
                    while (upstreams.snapshot()[0].breaker is BreakerState.OPEN) == up:
                        await asyncio.sleep(0)
                answers = [(await upstreams.chat(CALL)).texts[0] for _ in range(5)]
                assert answers == (["four"] if up else ["five"]) * 5
                assert upstreams.unready() == ()


@asynccontextmanager
async def served_with_page(
    fake: FakeUpstream, page: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[FakeUpstream]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.handle)
    app.router.add_get("/health", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()


async def test_who_leaves_at_any_moment_is_charged_exactly_where_a_request_arrived() -> None:
    """Cancelled after every number of steps, of a call that is first turned down elsewhere."""
    arrived = 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        while await reader.read(65_536):
            arrived += 1

    seen: set[tuple[bool, bool]] = set()
    async with wire(status(429, BUSY)) as busy, wire(counts) as worker:
        for steps in (*range(40), 60, 90):
            arrived = 0
            upstreams = Upstreams(
                [settings("busy", busy), settings("worker", worker, priority=1)],
                ["small"],
                environ={},
            )
            ledger = Ledger([Scope("all")])
            caller = HeldCaller(upstreams, PRICES, ledger.hold("r", 10**9))
            async with upstreams:
                task = asyncio.create_task(caller(CALL))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.sleep(0.01)  # until all that was sent has arrived
            charged = caller.bill.cost_nano_usd > 0
            assert charged or not arrived
            seen.add((charged, arrived > 0))
    assert (True, True) in seen
    assert (False, False) in seen


async def test_a_trace_goes_on_to_the_upstream_that_answered_and_names_it() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sent: list[str] = []

    async def note(request: web.Request, _: dict[str, Any]) -> None:
        sent.append(request.headers["traceparent"])

    traced = Tracing(provider)
    traced.request("POST", "/v1/chat/completions", [])
    async with nobody_listens() as url, served(FakeUpstream(behaviour=note)) as good:
        asked = Asked(url, good)
        async with asked.upstreams:
            await TracedChat(asked.upstreams, traced).chat(CALL)
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.attributes is not None
    assert sent[0].split("-")[2] == f"{span.context.span_id:016x}"
    assert span.attributes["inferbudget.upstream"] == "good"
    assert span.attributes["server.port"] == int(good.url.split(":")[2].removesuffix("/v1"))


async def test_more_connections_than_allowed_are_never_open() -> None:
    most = now = 0

    async def counts(_: web.Request, __: dict[str, Any]) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1

    async with served(FakeUpstream(behaviour=counts)) as fake:
        listed = [settings("one", fake.url, max_connections=3)]
        async with Upstreams(listed, ["small"], environ={}) as upstreams:
            await asyncio.gather(*(upstreams.chat(CALL) for _ in range(20)))
    assert (most, fake.finished) == (3, 20)
