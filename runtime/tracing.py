"""OpenTelemetry traces: one span per request, one below it per upstream call.

All span and attribute names stand here. Calls follow the GenAI conventions of OpenTelemetry
(github.com/open-telemetry/semantic-conventions-genai, as of semantic conventions 1.41), requests
the stable HTTP ones; what only we know is called ``inferbudget.*``. `inferbudget profile import
--format otlp` reads these spans as observations.

OpenTelemetry is imported where a gateway is configured to trace, and not before. Nothing but names
of models, classes and strategies, numbers and ids becomes an attribute, unless prompts are asked
for; keys never do.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import msgspec

from profiles.errors import UpstreamError
from profiles.money import to_usd
from runtime.chat import ChatCall, Completion

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from runtime.caller import Chat

CLASS: Final = "inferbudget.class"
STRATEGY: Final = "inferbudget.strategy"
RUNG: Final = "inferbudget.rung"
REQUEST: Final = "inferbudget.query"
OUTCOME: Final = "inferbudget.outcome"
COST_USD: Final = "inferbudget.cost_usd"
HOLD_USD: Final = "inferbudget.hold_usd"
TENANT: Final = "inferbudget.tenant"
POLICY: Final = "inferbudget.policy"
PURPOSE: Final = "inferbudget.purpose"
UPSTREAM: Final = "inferbudget.upstream"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
TEMPERATURE: Final = "gen_ai.request.temperature"
TOP_P: Final = "gen_ai.request.top_p"
SEED: Final = "gen_ai.request.seed"
CHOICES: Final = "gen_ai.request.choice.count"
STREAM: Final = "gen_ai.request.stream"
OUTPUT_TYPE: Final = "gen_ai.output.type"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TOKENS_IN: Final = "gen_ai.usage.input_tokens"
TOKENS_OUT: Final = "gen_ai.usage.output_tokens"
TOKENS_CACHED: Final = "gen_ai.usage.cache_read.input_tokens"
TOKENS_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
INPUT: Final = "gen_ai.input.messages"
OUTPUT: Final = "gen_ai.output.messages"

ERROR: Final = "error.type"
METHOD: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
ADDRESS: Final = "server.address"
PORT: Final = "server.port"

_CONTEXT_HEADERS: Final = (b"traceparent", b"tracestate")
_SERVER_FAULT: Final = 500
_REQUEST: ContextVar[RequestSpan | None] = ContextVar("request_span", default=None)
_CALL: ContextVar[CallSpan | None] = ContextVar("call_span", default=None)


def outgoing_headers() -> dict[str, str]:
    """What an upstream call of this task must carry so that its trace goes on there."""
    call = _CALL.get()
    return {} if call is None else call.headers


def note_upstream(name: str, host: str | None = None, port: int | None = None) -> None:
    """Say which of several upstreams is asked for the call of this task; the last one counts."""
    call = _CALL.get()
    if call is not None:
        call.note({UPSTREAM: name, ADDRESS: host, PORT: port})


class Tracing:
    """Makes the spans of one gateway.

    Args:
        provider: Where they go.
        prompts: Put prompts and answers into the spans of calls.
    """

    def __init__(self, provider: TracerProvider, *, prompts: bool = False) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - whoever has a provider has it
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._provider = provider
        self._trace = trace
        self._tracer = provider.get_tracer("inferbudget")
        self._propagator = TraceContextTextMapPropagator()
        self._prompts = prompts

    def request(
        self, method: str, route: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> RequestSpan:
        """Begin the span of a request; calls that this task or its tasks make go below it.

        Args:
            method: HTTP method.
            route: One of our paths, not what the client wrote.
            headers: The client's; a valid W3C ``traceparent`` among them is continued.
        """
        span = self._tracer.start_span(
            f"{method} {route}",
            context=self._propagator.extract(_carrier(headers)),
            kind=self._trace.SpanKind.SERVER,
            attributes={METHOD: method, ROUTE: route},
        )
        found = RequestSpan(span, self._trace.set_span_in_context(span))
        _REQUEST.set(found)
        return found

    def call(self, above: RequestSpan, call: ChatCall, provider: str) -> CallSpan:
        """Begin the span of an upstream call."""
        span = self._tracer.start_span(
            f"chat {call.model}",
            context=above.context,
            kind=self._trace.SpanKind.CLIENT,
            attributes={OPERATION: "chat", PROVIDER: provider, MODEL: call.model},
        )
        headers: dict[str, str] = {}
        self._propagator.inject(headers, self._trace.set_span_in_context(span))
        found = CallSpan(span, headers, prompts=self._prompts)
        if span.is_recording():
            found.asked(call)
        return found

    def close(self) -> None:
        """Export what is left. May wait for the collector, so not in the event loop's thread."""
        self._provider.shutdown()


class _OwnSpan:
    """A span of ours, ended once."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def note(self, attributes: dict[str, Any]) -> None:
        """Set those attributes that are known."""
        if self._span.is_recording():
            self._span.set_attributes(
                {name: value for name, value in attributes.items() if value is not None}
            )

    def _fail(self, kind: str) -> None:
        """Without the error's words, which can quote prompts."""
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - whoever has a span has it

        self._span.set_attribute(ERROR, kind)
        self._span.set_status(StatusCode.ERROR)


class RequestSpan(_OwnSpan):
    """The span of one request.

    Attributes:
        context: OpenTelemetry's, with this span in it.
    """

    def __init__(self, span: Span, context: Context) -> None:
        super().__init__(span)
        self.context = context

    @property
    def trace_id(self) -> str:
        """For logs, 32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def begun(
        self,
        request_id: str,
        *,
        class_name: str,
        strategy: str,
        rung: int,
        hold_nano_usd: int,
        policy: str | None = None,
        tenant: str | None = None,
    ) -> None:
        """The request is decided and holds its money."""
        self.note(
            {
                REQUEST: request_id,
                CLASS: class_name,
                STRATEGY: strategy,
                RUNG: rung,
                HOLD_USD: to_usd(hold_nano_usd),
                POLICY: policy,
                TENANT: tenant,
            }
        )

    def ended(
        self,
        outcome: str,
        status: int,
        *,
        cost_nano_usd: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        """The request is over; whatever is said of it later is not heard.

        Args:
            outcome: In the words of the metric ``inferbudget_requests_total``.
            status: HTTP status that the client gets; 499 where it left.
            cost_nano_usd: What was charged, None where nothing was held.
            error: What went wrong.
        """
        cost = None if cost_nano_usd is None else to_usd(cost_nano_usd)
        self.note({OUTCOME: outcome, STATUS: status, COST_USD: cost})
        if status >= _SERVER_FAULT and self._span.is_recording():
            self._fail(_error_type(error) if error else str(status))
        self._span.end()


class CallSpan(_OwnSpan):
    """The span of one upstream call.

    Attributes:
        headers: What the call must carry.
    """

    def __init__(self, span: Span, headers: dict[str, str], *, prompts: bool) -> None:
        super().__init__(span)
        self.headers = headers
        self._prompts = prompts

    def asked(self, call: ChatCall) -> None:
        """What is sent."""
        form = call.response_format or {}
        self.note(
            {
                MAX_TOKENS: call.max_tokens,
                TEMPERATURE: call.temperature,
                TOP_P: call.top_p,
                SEED: call.seed,
                CHOICES: None if call.n == 1 else call.n,
                STREAM: True if call.streams else None,
                OUTPUT_TYPE: "json" if str(form.get("type", "")).startswith("json") else None,
                PURPOSE: call.purpose,
            }
        )
        if self._prompts:
            parts = [(message.role, message.content) for message in call.messages]
            self.note({INPUT: _messages(parts)})

    def answered(self, reply: Completion) -> None:
        """What came back."""
        self.note(
            {
                FINISH_REASONS: reply.finish_reasons,
                TOKENS_IN: reply.tokens_in,
                TOKENS_OUT: reply.tokens_out,
                TOKENS_CACHED: reply.tokens_cached,
                TOKENS_REASONING: reply.tokens_reasoning,
            }
        )
        if self._prompts:
            parts = [("assistant", text) for text in reply.texts]
            self.note({OUTPUT: _messages(parts, reply.finish_reasons)})

    def failed(self, error: BaseException) -> None:
        """It brought no reply."""
        if self._span.is_recording():
            self._fail(_error_type(error))

    def ended(self) -> None:
        """It is over."""
        self._span.end()


class TracedChat:
    """Calls with a span each, where the request that makes them has one.

    Args:
        inner: Sends the calls.
        tracing: Makes the spans.
        provider: Whose API the upstream speaks, in the conventions' words.
    """

    def __init__(self, inner: Chat, tracing: Tracing, provider: str = "openai") -> None:
        self._inner = inner
        self._tracing = tracing
        self._provider = provider

    async def chat(self, call: ChatCall) -> Completion:
        """Send one call; raises what `inner` raises."""
        above = _REQUEST.get()
        if above is None:
            return await self._inner.chat(call)
        span = self._tracing.call(above, call, self._provider)
        token = _CALL.set(span)
        try:
            reply = await self._inner.chat(call)
            span.answered(reply)
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            _CALL.reset(token)
            span.ended()
        return reply


def _carrier(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of a trace; several traceparents, joined, are none that anybody continues."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name in _CONTEXT_HEADERS:
            found.setdefault(name.decode(), []).append(value.decode("latin-1"))
    return {name: ",".join(values) for name, values in found.items()}


def _error_type(error: BaseException) -> str:
    """Few words: an upstream's status, or the kind of error."""
    status = error.status if isinstance(error, UpstreamError) else None
    return str(status) if status else type(error).__name__


def _messages(said: Iterable[tuple[str, str]], reasons: Iterable[str] = ()) -> str:
    """In the conventions' JSON; finish reasons where the messages are answers."""
    found: list[dict[str, Any]] = [
        {"role": role, "parts": [{"type": "text", "content": content}]} for role, content in said
    ]
    for message, reason in zip(found, reasons, strict=False):
        message["finish_reason"] = reason
    return msgspec.json.encode(found).decode()
