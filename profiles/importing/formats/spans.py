"""Spans of OTLP JSON, and the names that their attributes go by.

The names are those of the OpenTelemetry GenAI semantic conventions, earlier versions' included, and
our own under ``inferbudget.``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiles.importing.formats.entries import Entry, part, word

STRATEGY = "inferbudget.strategy"
CLASS = "inferbudget.class"
QUERY = "inferbudget.query"
COST = "inferbudget.cost_usd"
OPERATION = "gen_ai.operation.name"
MODELS = ("gen_ai.request.model", "gen_ai.response.model")
TOKENS_IN = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
TOKENS_OUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
TOKENS_CACHED = ("gen_ai.usage.cache_read.input_tokens",)
TOKENS_REASONING = ("gen_ai.usage.reasoning.output_tokens",)
EVALUATION = "gen_ai.evaluation.name"
SCORE = "gen_ai.evaluation.score.value"
CALLS = ("chat", "text_completion", "generate_content")
_ERRORS = (2, "2", "STATUS_CODE_ERROR")
_UNNAMED = "(unnamed)"


@dataclass(frozen=True, slots=True)
class Span:
    """A span with its attributes read.

    Attributes:
        line: Of the file.
        trace: Identifies the trace.
        id: Identifies the span within it.
        parent: The span above, None where there is none.
        start_ns: Nanoseconds since 1970, None where unusable.
        end_ns: Likewise.
        failed: Its status or an error type says so.
        attributes: By name.
        scores: Evaluations of the span by name, as they stand there.
    """

    line: int
    trace: str
    id: str
    parent: str | None
    start_ns: int | None
    end_ns: int | None
    failed: bool
    attributes: Mapping[str, Any]
    scores: Mapping[str, float]

    @property
    def is_call(self) -> bool:
        """Whether a model answered; agent and workflow spans repeat what their calls say."""
        operation = self.attributes.get(OPERATION)
        if operation is None:
            return STRATEGY not in self.attributes and text_of(self, *MODELS) is not None
        return operation in CALLS

    @property
    def key(self) -> tuple[str, str]:
        """Identifies the span."""
        return self.trace, self.id


def raw_spans(export: Entry) -> Iterator[object]:
    """Every span of one export, as it stands there."""
    for resource in _list(export, "resourceSpans"):
        for scope in _list(resource, "scopeSpans", "instrumentationLibrarySpans"):
            yield from _list(scope, "spans")


def _list(holder: object, *keys: str) -> Sequence[object]:
    found = (part(holder).get(key) for key in keys)
    return next((value for value in found if isinstance(value, list)), [])


def span_of(line: int, raw: object) -> Span | None:
    """A span with its attributes read, None where it has no ids."""
    entry = part(raw)
    trace, span_id = word(entry, "traceId"), word(entry, "spanId")
    if trace is None or span_id is None:
        return None
    attributes = _attributes(entry)
    events = [_attributes(event) for event in _list(entry, "events")]
    scores = [(item.get(EVALUATION), item.get(SCORE)) for item in (attributes, *events)]
    status = part(entry, "status").get("code")
    return Span(
        line=line,
        trace=trace,
        id=span_id,
        parent=word(entry, "parentSpanId"),
        start_ns=_nanos(entry.get("startTimeUnixNano")),
        end_ns=_nanos(entry.get("endTimeUnixNano")),
        failed=status in _ERRORS or "error.type" in attributes,
        attributes=attributes,
        scores={str(name or _UNNAMED): value for name, value in scores if value is not None},
    )


def _attributes(holder: object) -> dict[str, Any]:
    """Attributes by name; int64 come as strings, and single values stand in an object each."""
    found: dict[str, Any] = {}
    for item in _list(holder, "attributes"):
        key, value = part(item).get("key"), part(item, "value")
        if isinstance(key, str):
            kinds = ("stringValue", "intValue", "doubleValue", "boolValue")
            found[key] = next((value[kind] for kind in kinds if kind in value), None)
    return found


def _nanos(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value < 1 << 64 else None


def text_of(span: Span, *names: str) -> str | None:
    """The first of these attributes that holds a text."""
    return word(span.attributes, *names)
