"""One trace per request: from the client's header, through ours, to the upstream's."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_upstream import FakeUpstream, served
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from pydantic import ValidationError

from app.cli.main import cli
from profiles.errors import InputError, UpstreamError
from profiles.store.store import Store
from runtime import tracing
from runtime.chat import ChatCall, Completion, Message
from runtime.trace_export import TracingSettings, open_tracing
from runtime.tracing import TracedChat, Tracing
from runtime.upstream import Upstream

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
ROUTE = "/v1/chat/completions"
CALL = ChatCall("small", (Message("user", "a secret"),), 20, temperature=0.5, seed=7)
REPLY = Completion(("hidden answer",), 12, 3, ("stop",), 0.1, 1, 4)


class Scripted:
    """Replies, or fails; keeps the headers that a call was to carry."""

    def __init__(self, *replies: Completion | BaseException) -> None:
        self.replies = list(replies)
        self.headers: list[dict[str, str]] = []

    async def chat(self, call: ChatCall) -> Completion:
        self.headers.append(tracing.outgoing_headers())
        await asyncio.sleep(0)
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply


class InMemory:
    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider, **options)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def attributes(self, name: str) -> dict[str, Any]:
        (span,) = (span for span in self.spans if span.name == name)
        return dict(span.attributes or {})


@pytest.fixture(autouse=True)
def no_request() -> Iterator[None]:
    token = tracing._REQUEST.set(None)
    yield
    tracing._REQUEST.reset(token)


def begin(found: Tracing, *headers: tuple[bytes, bytes]) -> tracing.RequestSpan:
    span = found.request("POST", ROUTE, headers)
    span.begun(
        "r1",
        class_name="hard",
        strategy="small/self_consistency(n=2)",
        rung=1,
        hold_nano_usd=5_000,
        policy="d1",
        tenant="org:acme",
    )
    return span


@pytest.mark.asyncio
async def test_a_request_and_its_calls_are_one_trace() -> None:
    memory = InMemory()
    chat = TracedChat(Scripted(REPLY, REPLY), memory.tracing)
    span = begin(memory.tracing)
    await asyncio.gather(chat.chat(CALL), chat.chat(CALL))
    span.ended("answered", 200, cost_nano_usd=2_500)
    first, second, top = memory.spans
    assert {first.name, second.name} == {"chat small"}
    assert top.name == f"POST {ROUTE}"
    assert top.parent is None
    for child in (first, second):
        assert child.parent is not None
        assert child.parent.span_id == top.context.span_id
        assert child.context.trace_id == top.context.trace_id
    assert dict(top.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": ROUTE,
        "http.response.status_code": 200,
        "inferbudget.query": "r1",
        "inferbudget.class": "hard",
        "inferbudget.strategy": "small/self_consistency(n=2)",
        "inferbudget.rung": 1,
        "inferbudget.hold_usd": 0.000_005,
        "inferbudget.cost_usd": 0.000_002_5,
        "inferbudget.outcome": "answered",
        "inferbudget.policy": "d1",
        "inferbudget.tenant": "org:acme",
    }
    assert dict(first.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "inferbudget.purpose": "answer",
    }


def test_every_name_that_is_not_ours_is_one_of_the_conventions() -> None:
    known = {
        value
        for module in (gen_ai_attributes, http_attributes, server_attributes, error_attributes)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    names = {
        value
        for name, value in vars(tracing).items()
        if name.isupper() and isinstance(value, str) and "." in value
    }
    assert len(names) > 25
    assert {name for name in names if not name.startswith("inferbudget.")} <= known


@pytest.mark.asyncio
async def test_the_clients_trace_goes_on_here_and_at_the_upstream() -> None:
    memory = InMemory()
    scripted = Scripted(REPLY)
    span = begin(memory.tracing, (b"traceparent", PARENT.encode()), (b"tracestate", b"v=1"))
    assert span.trace_id == TRACE
    await TracedChat(scripted, memory.tracing).chat(CALL)
    span.ended("answered", 200)
    call, top = memory.spans
    assert top.parent is not None
    assert f"{top.parent.span_id:016x}" == "b7ad6b7169203331"
    assert scripted.headers == [
        {
            "traceparent": f"00-{TRACE}-{call.context.span_id:016x}-01",
            "tracestate": "v=1",
        }
    ]
    assert tracing.outgoing_headers() == {}


@pytest.mark.parametrize(
    "headers",
    [
        [(b"traceparent", b"nonsense")],
        [(b"traceparent", PARENT.encode()), (b"traceparent", PARENT.replace("b7", "c7").encode())],
        [(b"traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01".encode())],
        [(b"traceparent", PARENT.encode() + b"\xff\x00")],
        [(b"tracestate", b"v=1")],
        [(b"traceparent", b"00-" + b"9" * 100_000)],
    ],
)
def test_a_header_that_is_no_trace_begins_a_new_one(headers: list[tuple[bytes, bytes]]) -> None:
    memory = InMemory()
    begin(memory.tracing, *headers).ended("answered", 200)
    (top,) = memory.spans
    assert top.parent is None
    assert f"{top.context.trace_id:032x}" != TRACE


@pytest.mark.asyncio
async def test_requests_in_one_process_do_not_mix_their_calls() -> None:
    memory = InMemory()
    chat = TracedChat(Scripted(*[REPLY] * 20), memory.tracing)

    async def request(number: int) -> None:
        span = memory.tracing.request("POST", ROUTE, ())
        await asyncio.gather(chat.chat(CALL), chat.chat(CALL))
        span.begun(str(number), class_name="c", strategy="s", rung=0, hold_nano_usd=1)
        span.ended("answered", 200)

    await asyncio.gather(*(asyncio.create_task(request(number)) for number in range(10)))
    tops = {span.context.span_id: span for span in memory.spans if span.parent is None}
    above = [span.parent.span_id for span in memory.spans if span.parent]
    assert len(tops) == 10
    assert sorted(above) == sorted([*tops, *tops])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamError("it said: a secret", status=503), "503"),
        (UpstreamError("no connection"), "UpstreamError"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
@pytest.mark.asyncio
async def test_a_failed_call_says_what_kind_of_error_and_nothing_of_its_words(
    error: BaseException, kind: str
) -> None:
    memory = InMemory()
    span = begin(memory.tracing)
    with pytest.raises(type(error)):
        await TracedChat(Scripted(error), memory.tracing).chat(CALL)
    span.ended("failed", 502, error=error)
    for found in memory.spans:
        assert (found.attributes or {})["error.type"] == kind
        assert not found.status.is_ok
        assert not found.status.description
        assert not found.events
        assert "secret" not in found.to_json()


def test_a_refused_request_is_no_error_of_the_gateway() -> None:
    memory = InMemory()
    memory.tracing.request("POST", ROUTE, ()).ended("refused", 429)
    (top,) = memory.spans
    assert not top.status.description
    assert "error.type" not in (top.attributes or {})
    assert top.status.status_code.name == "UNSET"


@pytest.mark.asyncio
async def test_prompts_and_answers_are_in_spans_only_where_they_are_asked_for() -> None:
    for asked in (False, True):
        memory = InMemory(prompts=asked)
        begin(memory.tracing)
        await TracedChat(Scripted(REPLY), memory.tracing).chat(CALL)
        found = "".join(span.to_json() for span in memory.spans)
        assert ("a secret" in found) == ("hidden answer" in found) == asked
    attributes = memory.attributes("chat small")
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "a secret"}]}
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "hidden answer"}],
            "finish_reason": "stop",
        }
    ]


@pytest.mark.asyncio
async def test_a_call_without_a_request_has_no_span_and_no_headers() -> None:
    memory = InMemory()
    scripted = Scripted(REPLY)
    assert await TracedChat(scripted, memory.tracing).chat(CALL) is REPLY
    tracing.note_upstream("nobody")
    assert scripted.headers == [{}]
    assert memory.spans == ()


@pytest.mark.asyncio
async def test_the_upstream_that_was_asked_last_is_named() -> None:
    memory = InMemory()

    class Failing(Scripted):
        async def chat(self, call: ChatCall) -> Completion:
            tracing.note_upstream("first", "a.example", 443)
            tracing.note_upstream("second", "b.example", 8443)
            return await super().chat(call)

    begin(memory.tracing)
    await TracedChat(Failing(REPLY), memory.tracing).chat(CALL)
    found = memory.attributes("chat small")
    assert found["inferbudget.upstream"] == "second"
    assert (found["server.address"], found["server.port"]) == ("b.example", 8443)


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP as a collector does."""

    received: list[ExportTraceServiceRequest]
    headers_seen: list[dict[str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        assert self.headers["content-type"] == "application/x-protobuf"
        self.received.append(ExportTraceServiceRequest.FromString(body))
        self.headers_seen.append(dict(self.headers))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def collector() -> Iterator[tuple[str, type[Collector]]]:
    kind = type("OneCollector", (Collector,), {"received": [], "headers_seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", kind
    server.shutdown()
    thread.join()
    server.server_close()


def exported(kind: type[Collector]) -> list[dict[str, Any]]:
    """Every export as OTLP JSON, whose ids are hexadecimal."""
    found = []
    for request in kind.received:
        export = MessageToDict(request)
        spans = [
            span
            for resource in export["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
        raw = [
            span
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        for span, message in zip(spans, raw, strict=True):
            span["traceId"], span["spanId"] = message.trace_id.hex(), message.span_id.hex()
            if message.parent_span_id:
                span["parentSpanId"] = message.parent_span_id.hex()
        found.append(export)
    return found


async def served_requests(endpoint: str, headers: list[tuple[bytes, bytes]], **options: Any) -> str:
    """Real calls to a real upstream, exported; the traceparent that the upstream saw last."""
    found = open_tracing(
        TracingSettings(endpoint=endpoint, **options), version="0.1.0", replica="a"
    )
    seen = ""
    fake = FakeUpstream()
    async with served(fake) as server, Upstream(server.url, "sk-upstream-key") as client:

        class Sending:
            async def chat(self, call: ChatCall) -> Completion:
                nonlocal seen
                seen = tracing.outgoing_headers().get("traceparent", "")
                tracing.note_upstream("main", "127.0.0.1", 80)
                return await client.chat(call)

        chat = TracedChat(Sending(), found)
        for number in range(3):
            span = found.request("POST", ROUTE, headers)
            span.begun(
                f"r{number}",
                class_name="hard",
                strategy="small/self_consistency(n=2)",
                rung=0,
                hold_nano_usd=9_000,
            )
            await chat.chat(CALL)
            await chat.chat(CALL)
            span.ended("answered", 200, cost_nano_usd=4_800 + number)
    await asyncio.to_thread(found.close)
    return seen


@pytest.mark.asyncio
async def test_a_collector_gets_the_spans_and_a_profile_reads_them_as_observations(
    collector: tuple[str, type[Collector]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, kind = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=abc")
    seen = await served_requests(endpoint, [(b"traceparent", PARENT.encode())])
    assert seen.startswith(f"00-{TRACE}-")
    assert kind.headers_seen[0]["x-collector-key"] == "abc"
    content = json.dumps(exported(kind))
    assert "secret" not in content
    assert "sk-upstream-key" not in content
    resource = exported(kind)[0]["resourceSpans"][0]["resource"]["attributes"]
    named = {item["key"]: item["value"].get("stringValue") for item in resource}
    assert (named["service.name"], named["service.instance.id"]) == ("inferbudget", "a")
    path = tmp_path / "spans.jsonl"
    path.write_text("\n".join(json.dumps(item) for item in exported(kind)))
    words = ["profile", "import", str(path), "--format", "otlp", "--workload", "w"]
    store = tmp_path / "store.duckdb"
    done = CliRunner().invoke(cli, [*words, "--profiles", str(store), "--report", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kept"] == 3
    with Store.open(store) as opened:
        rows = sorted(opened.observations("w"), key=lambda row: row.query_id)
    for number, row in enumerate(rows):
        assert (row.query_id, row.strategy) == (f"r{number}", "small/self_consistency(n=2)")
        assert row.cost_usd == (4_800 + number) / 1e9
        assert (row.tokens_in, row.tokens_out, row.calls) == (2 * 16, 2 * 4, 2)
        assert row.evidence == "live"


@pytest.mark.parametrize(
    ("sample", "follow", "flags", "kept"),
    [(1.0, True, "00", 0), (0.0, True, "01", 9), (0.0, False, "01", 0), (1.0, False, "00", 9)],
)
@pytest.mark.asyncio
async def test_a_clients_wish_to_be_traced_counts_where_clients_are_followed(
    collector: tuple[str, type[Collector]], sample: float, follow: object, flags: str, kept: int
) -> None:
    endpoint, kind = collector
    header = (b"traceparent", PARENT.encode()[:-2] + flags.encode())
    seen = await served_requests(endpoint, [header], sample=sample, follow_clients=follow)
    spans = sum(
        len(scope.spans)
        for request in kind.received
        for resource in request.resource_spans
        for scope in resource.scope_spans
    )
    assert spans == kept
    assert seen.endswith("-01" if kept else "-00")  # the upstream hears what was decided


@pytest.mark.asyncio
async def test_no_collector_costs_traces_and_nothing_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    seen = await served_requests("http://127.0.0.1:9/v1/traces", [])
    assert seen


def test_without_tracing_nothing_of_opentelemetry_is_imported() -> None:
    code = "import sys, runtime.trace_export; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_where_opentelemetry_is_missing_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InputError) as refused:
        open_tracing(
            TracingSettings(endpoint="http://localhost:4318/v1/traces"), version="1", replica="a"
        )
    assert "inferbudget[trace]" in (refused.value.next_step or "")


@pytest.mark.parametrize(
    "fields", [{"endpoint": "localhost:4318"}, {"endpoint": "http://h/", "sample": 1.5}, {}]
)
def test_settings_that_cannot_be_meant_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TracingSettings.model_validate(fields)
