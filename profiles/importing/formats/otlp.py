"""OpenTelemetry spans of GenAI calls as OTLP JSON: one export, or a line each (file exporter).

Names follow the GenAI semantic conventions, those of earlier versions included. A span of ours that
carries `STRATEGY` joins the calls below it into one observation: the request as it was answered.
Every other call is an observation of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from profiles.errors import InputError
from profiles.importing.formats.entries import Figures, read_entries, set_aside
from profiles.importing.formats.found import Found, SetAside
from profiles.importing.formats.spans import (
    CLASS,
    COST,
    MODELS,
    QUERY,
    STRATEGY,
    TOKENS_CACHED,
    TOKENS_IN,
    TOKENS_OUT,
    TOKENS_REASONING,
    Span,
    raw_spans,
    span_of,
    text_of,
)
from profiles.importing.numbers import BadNumberError, read_number
from profiles.importing.spelling import strategy_text
from profiles.notes import Kind, Notes
from profiles.observation import Evidence, Observation
from profiles.query import Query

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(
    path: Path,
    *,
    workload: str,
    notes: Notes,
    evidence: Evidence = Evidence.LIVE,
    metric: str | None = None,
) -> Found:
    """Read one export.

    Prompts are left where they are: spans of live traffic hold what users wrote.

    Args:
        path: JSON or JSON lines.
        workload: The traffic these requests belong to.
        notes: Collects remarks.
        evidence: Where the numbers come from.
        metric: Which evaluation is the score; needed where spans have several.

    Raises:
        InputError: Unreadable, not of this shape, or several evaluations and none chosen.
    """
    entries = read_entries(path, notes)
    exports = [(n, item) for n, item in entries.rows if isinstance(item.get("resourceSpans"), list)]
    if not exports:
        raise InputError(
            "this is not an OTLP export of spans",
            where=entries.name,
            expected="objects with resourceSpans",
            got=f"the keys {', '.join(list(entries.rows[0][1])[:12]) or 'of an empty object'}",
        )
    aside = list(entries.set_aside)
    spans: list[Span] = []
    for line, item in exports:
        for raw in raw_spans(item):
            span = span_of(line, raw)
            if span is None:
                aside.append(set_aside(line, "this is not a span with ids", raw))
            else:
                spans.append(span)
    spans = _without_repeats(spans, aside)
    reader = _Reader(workload, path.name, evidence, _evaluation(spans, metric, path), notes)
    return reader.found(spans, aside)


def _without_repeats(spans: list[Span], aside: list[SetAside]) -> list[Span]:
    """Exporters send a batch again where no answer came; a span counts once."""
    unique: dict[tuple[str, str], Span] = {}
    for span in spans:
        if span.key in unique:
            aside.append(set_aside(span.line, "the span again", f"{span.trace}/{span.id}"))
        unique.setdefault(span.key, span)
    return list(unique.values())


def _evaluation(spans: Sequence[Span], metric: str | None, path: Path) -> str | None:
    names = tuple(dict.fromkeys(name for span in spans for name in span.scores))
    if metric in names or (metric is None and len(names) <= 1):
        return metric or (names[0] if names else None)
    raise InputError(
        f"no span has the evaluation {metric!r}"
        if metric
        else "the spans have several evaluations",
        where=str(path),
        expected=f"one of {', '.join(names) or 'none: no span carries a score'}",
        got=repr(metric) if metric else None,
        next_step="choose one with --option metric=NAME" if names else None,
    )


class _Reader:
    """Turns spans into observations."""

    def __init__(
        self, workload: str, source: str, evidence: Evidence, metric: str | None, notes: Notes
    ) -> None:
        self._workload = workload
        self._source = source
        self._evidence = evidence
        self._metric = metric
        self._notes = notes

    def found(self, spans: list[Span], aside: list[SetAside]) -> Found:
        """Observations of strategy spans with their calls, and of every other call."""
        by_key = {span.key: span for span in spans}
        children: dict[tuple[str, str], list[Span]] = {}
        tops: list[Span] = [span for span in spans if STRATEGY in span.attributes]
        for span in spans:
            if span.is_call:
                above = _strategy_above(span, by_key)
                if above is None:
                    tops.append(span)
                else:
                    children.setdefault(above.key, []).append(span)
        observations: list[Observation] = []
        queries: list[Query] = []
        skipped = len(spans) - len(tops) - sum(map(len, children.values()))
        if skipped:
            text = "spans that are no model call: not read"
            self._notes.add(text, f"{self._source}", count=skipped)
        for span in tops:
            read = self._observation(span, children.get(span.key, []))
            if isinstance(read, SetAside):
                aside.append(read)
            else:
                observations.append(read)
                queries.append(Query(read.query_id, class_label=text_of(span, CLASS)))
        unsent = len(aside) - sum(item.reason in _OF_A_TOP for item in aside)
        return Found(
            observations=_numbered(observations),
            queries=tuple(dict.fromkeys(queries)),
            rows=len(tops) + unsent,
            set_aside=tuple(sorted(aside, key=lambda item: item.line)),
        )

    def _observation(self, span: Span, below: list[Span]) -> Observation | SetAside:
        name = f"{span.trace}/{span.id}"
        if span.failed:
            return set_aside(span.line, _FAILED, f"{name}: {span.attributes.get('error.type')}")
        try:
            strategy = strategy_text(
                text_of(span, STRATEGY) or "", text_of(span, *MODELS) or "", "single"
            )
        except InputError:
            return set_aside(span.line, _NO_STRATEGY, name)
        calls = [span] if STRATEGY not in span.attributes else below
        figures = Figures(name, self._notes)
        tokens_in = self._sum(calls, TOKENS_IN)
        tokens_out = self._sum(calls, TOKENS_OUT)
        return Observation(
            workload=self._workload,
            query_id=text_of(span, QUERY) or name,
            strategy=strategy,
            sample=0,
            score=self._score(span, below),
            cost_usd=figures.amount(span.attributes, COST),
            latency_s=self._latency(span),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            tokens_reasoning=self._within(calls, TOKENS_REASONING, tokens_out, name),
            tokens_cached=self._within(calls, TOKENS_CACHED, tokens_in, name),
            calls=len(calls) or None,
            evidence=self._evidence,
            source=self._source,
            observed_at=_time(span.start_ns),
        )

    def _sum(self, calls: list[Span], names: Sequence[str]) -> int | None:
        """Over all calls; one that does not say makes the sum unknown."""
        found = [self._tokens(span, names) for span in calls]
        known = [value for value in found if value is not None]
        return sum(known) if known and len(known) == len(found) else None

    def _tokens(self, span: Span, names: Sequence[str]) -> int | None:
        name = next((name for name in names if name in span.attributes), names[0])
        zero = names is not TOKENS_IN
        figures = Figures(f"{span.trace}/{span.id}", self._notes)
        return figures.count(span.attributes, name, zero=zero)

    def _within(
        self, calls: list[Span], names: Sequence[str], whole: int | None, name: str
    ) -> int | None:
        """Tokens that are part of others; unknown where the part exceeds the whole."""
        found = self._sum(calls, names)
        if found is not None and whole is not None and found > whole:
            text = f"{names[0]} exceeds the tokens it is part of: unknown"
            self._notes.add(text, f"{name}: {found} of {whole}", kind=Kind.SUSPICIOUS)
            return None
        return found

    def _score(self, span: Span, below: list[Span]) -> float | None:
        """The span's own evaluation, else that of the only call which has one."""
        if self._metric is None:
            return None
        holders = [item for item in (span, *below) if self._metric in item.scores]
        if not holders or (holders[0] is not span and len(holders) > 1):
            return None
        value = holders[0].scores[self._metric]
        try:
            score = read_number(value)[0]
        except BadNumberError:
            score = -1.0
        if 0 <= score <= 1:
            return score
        text = f"{self._metric} outside 0..1: score unknown"
        self._notes.add(text, f"{span.trace}/{span.id}: {value}", kind=Kind.UNKNOWN)
        return None

    def _latency(self, span: Span) -> float | None:
        if span.start_ns is not None and span.end_ns is not None and span.end_ns > span.start_ns:
            return (span.end_ns - span.start_ns) / 1e9
        text = "a span without start before end: latency unknown"
        self._notes.add(text, f"{span.trace}/{span.id}", kind=Kind.UNKNOWN)
        return None


_FAILED = "the request failed"
_NO_STRATEGY = "no strategy can be made of the span's names"
_OF_A_TOP = (_FAILED, _NO_STRATEGY)


def _numbered(observations: list[Observation]) -> tuple[Observation, ...]:
    """One query answered again by one strategy is a further sample."""
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for row in observations:
        key = (row.query_id, row.strategy)
        found.append(replace(row, sample=counts[key]))
        counts[key] += 1
    return tuple(found)


def _strategy_above(span: Span, by_key: Mapping[tuple[str, str], Span]) -> Span | None:
    """The nearest strategy span above a call, None where there is none."""
    seen = {span.id}
    parent = span.parent
    while parent is not None and parent not in seen:
        seen.add(parent)
        above = by_key.get((span.trace, parent))
        if above is None or STRATEGY in above.attributes:
            return above
        parent = above.parent
    return None


def _time(nanos: int | None) -> datetime | None:
    try:
        return None if nanos is None else _EPOCH + timedelta(microseconds=nanos // 1000)
    except OverflowError:
        return None
