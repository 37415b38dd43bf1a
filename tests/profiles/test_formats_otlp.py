"""OpenTelemetry GenAI spans as OTLP JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from profiles.errors import InputError
from profiles.importing.formats import otlp
from profiles.notes import Notes
from profiles.observation import Evidence

FIXTURES = Path(__file__).parent / "fixtures"
CASCADE = "cascade(accept=checker,stages=[acme/tiny-2b/single,acme/big-70b/single])"


def read(path, **options):
    notes = Notes()
    found = otlp.read(path, workload="w", notes=notes, **options)
    return found, {note.text: note.count for note in notes.all()}


@pytest.fixture
def export(tmp_path):
    def write(*spans):
        path = tmp_path / "spans.json"
        path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}))
        return path

    return write


def span(number, attributes=(), *, parent="", trace="a" * 32, start=10**18, end=2 * 10**18, **more):
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue"}
    given = [{"key": k, "value": {kinds[type(v)]: v}} for k, v in dict(attributes).items()]
    return {
        "traceId": trace, "spanId": f"{number:016x}", "parentSpanId": parent, "name": "chat",
        "startTimeUnixNano": str(start), "endTimeUnixNano": str(end), "attributes": given, **more,
    }  # fmt: skip


def chat(number, tokens_in="10", tokens_out="5", **more):
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": tokens_in,
        "gen_ai.usage.output_tokens": tokens_out,
    }
    return span(number, {k: v for k, v in attributes.items() if v is not None}, **more)


def test_the_calls_below_a_strategy_span_join_into_one_observation():
    found, _ = read(FIXTURES / "otlp.jsonl")
    row = next(row for row in found.observations if row.query_id == "q17")
    assert row.strategy == CASCADE
    assert (row.calls, row.tokens_in, row.tokens_out) == (2, 300, 90)
    assert (row.latency_s, row.cost_usd, row.score) == (2.5, 0.00042, 1.0)
    assert (row.tokens_cached, row.tokens_reasoning) == (None, None)
    assert row.evidence is Evidence.LIVE
    assert row.observed_at == datetime.fromtimestamp(1772619072, UTC)
    label = {query.query_id: query.class_label for query in found.queries}
    assert label["q17"] == "hard"


def test_a_call_of_its_own_is_one_observation():
    found, notes = read(FIXTURES / "otlp.jsonl")
    row = next(row for row in found.observations if row.query_id.startswith("b"))
    assert (row.strategy, row.calls) == ("acme/tiny-2b/single", 1)
    assert (row.tokens_in, row.tokens_out, row.latency_s) == (50, 10, 1.25)
    assert (row.score, row.cost_usd) == (None, None)
    assert notes["spans that are no model call: not read"] == 2


def test_attributes_of_earlier_conventions_are_read():
    found, _ = read(FIXTURES / "otlp.jsonl")
    row = next(row for row in found.observations if row.query_id.startswith("d"))
    assert (row.strategy, row.tokens_in, row.tokens_out) == ("acme/tiny-2b/single", 40, 8)


def test_failed_and_repeated_spans_are_set_aside():
    found, _ = read(FIXTURES / "otlp.jsonl")
    assert [(item.line, item.reason) for item in found.set_aside] == [
        (3, "the request failed"),
        (4, "the span again"),
    ]
    assert found.rows == len(found.observations) + len(found.set_aside) == 5


def test_one_document_and_json_lines_are_the_same():
    whole, _ = read(FIXTURES / "otlp.json")
    lines, _ = read(FIXTURES / "otlp.jsonl")
    (joined,) = whole.observations
    other = next(row for row in lines.observations if row.query_id == "q17")
    assert (joined.calls, joined.tokens_in) == (other.calls, other.tokens_in)


def test_one_call_of_unknown_usage_makes_the_sum_unknown(export):
    top = span(1, {"inferbudget.strategy": "m/best_of_n(n=2)"})
    below = [chat(2, parent=top["spanId"]), chat(3, None, parent=top["spanId"])]
    (row,) = read(export(top, *below))[0].observations
    assert (row.calls, row.tokens_in, row.tokens_out) == (2, None, 10)


def test_a_part_larger_than_its_whole_is_unknown(export):
    call = chat(1)
    key = "gen_ai.usage.cache_read.input_tokens"
    call["attributes"].append({"key": key, "value": {"intValue": "400"}})
    found, notes = read(export(call))
    assert found.observations[0].tokens_cached is None
    assert notes[f"{key} exceeds the tokens it is part of: unknown"] == 1


def test_several_evaluations_and_none_chosen_lists_them(export):
    def event(name, value):
        pairs = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value}
        kinds = {str: "stringValue", float: "doubleValue"}
        return {"attributes": [{"key": k, "value": {kinds[type(v)]: v}} for k, v in pairs.items()]}

    path = export(chat(1, events=[event("tone", 0.5), event("truth", 4.0)]))
    with pytest.raises(InputError, match="several evaluations; expected one of tone, truth"):
        read(path)
    assert read(path, metric="tone")[0].observations[0].score == 0.5
    found, notes = read(path, metric="truth")
    assert found.observations[0].score is None
    assert notes["truth outside 0..1: score unknown"] == 1


def test_a_query_answered_again_is_a_further_sample(export):
    attributes = {"inferbudget.strategy": "m/single", "inferbudget.query": "q1"}
    found, _ = read(export(span(1, attributes), span(2, attributes), chat(3)))
    assert [(row.query_id[:2], row.sample) for row in found.observations] == [
        ("q1", 0), ("q1", 1), ("aa", 0),
    ]  # fmt: skip


def test_a_parent_that_is_its_own_grandparent_ends_the_search(export):
    one, two = chat(1, parent=f"{2:016x}"), chat(2, parent=f"{1:016x}")
    assert len(read(export(one, two))[0].observations) == 2


def test_a_span_that_ends_before_it_starts_has_no_latency(export):
    found, notes = read(export(chat(1, end=1)))
    assert found.observations[0].latency_s is None
    assert notes["a span without start before end: latency unknown"] == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"doc_id": 1, "filtered_resps": []}'])
def test_a_file_of_another_shape_is_refused(tmp_path, content):
    path = tmp_path / "spans.json"
    path.write_text(content)
    with pytest.raises(InputError):
        read(path)
