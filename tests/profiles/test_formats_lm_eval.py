"""Sample logs of lm-evaluation-harness."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from profiles.errors import InputError
from profiles.importing.formats import lm_eval
from profiles.notes import Notes
from profiles.observation import Evidence

FOLDER = Path(__file__).parent / "fixtures" / "lm_eval"
GSM8K = FOLDER / "samples_gsm8k_2026-03-04T10-11-12.345678.jsonl"
ARC = FOLDER / "samples_arc_easy_2026-03-04T10-11-12.345678.jsonl"


def read(path, **options):
    return lm_eval.read(path, workload="w", notes=Notes(), **options)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path):
    def write(*rows, name="samples_t_2026-03-04T10-11-12.5.jsonl"):
        path = tmp_path / name
        texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(texts))
        return path

    return write


def test_every_document_is_one_observation_under_the_chosen_filter():
    found = read(GSM8K, filter="flexible-extract")
    assert [(row.query_id, row.score, row.answer) for row in found.observations] == [
        ("gsm8k/0", 1.0, "84"),
        ("gsm8k/1", 1.0, "15"),
        ("gsm8k/2", 0.0, "34"),
    ]
    first = found.observations[0]
    assert first.strategy == "acme/tiny-2b/single"
    assert (first.calls, first.cost_usd, first.latency_s, first.tokens_in) == (1, None, None, None)
    assert first.evidence is Evidence.MEASURED
    assert first.observed_at == datetime.fromtimestamp(1772619072.5, UTC)
    assert found.queries[0].prompt.startswith("Question: A crate holds 12 jars.")
    assert found.queries[0].class_label is None
    assert (found.rows, found.set_aside) == (3, ())


def test_several_filters_and_none_chosen_lists_them():
    with pytest.raises(InputError, match="2 filters; expected one of strict-match, flexible-extra"):
        read(GSM8K)


def test_several_metrics_and_none_chosen_lists_them():
    with pytest.raises(
        InputError, match=r"(?s)2 metrics; expected one of acc, acc_norm.*--option metric=NAME"
    ):
        read(ARC)


def test_a_metric_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="no line has the metric 'f1'"):
        read(ARC, metric="f1")


def test_likelihoods_of_choices_are_no_generated_answer():
    found = read(ARC, metric="acc_norm")
    assert {row.strategy for row in found.observations} == {"acme/tiny-2b/loglikelihood"}
    assert {(row.answer, row.calls) for row in found.observations} == {(None, None)}
    assert [row.score for row in read(ARC, metric="acc").observations] == [1.0, 0.0]


def test_a_folder_gives_every_task_as_a_class():
    found = read(FOLDER, metric="acc", filter="strict-match")
    assert {query.class_label for query in found.queries} == {"gsm8k", "arc_easy"}
    assert len(found.observations) == 5


def test_without_results_next_to_it_the_model_must_be_named(log):
    path = log(*lines(ARC))
    with pytest.raises(InputError, match="does not say which model answered"):
        read(path, metric="acc")
    assert read(path, metric="acc", model="m").observations[0].strategy == "m/loglikelihood"


def test_a_vote_over_several_answers_is_self_consistency(log):
    row = lines(GSM8K)[0] | {"resps": [["a", "b", "c", "d"]], "filter": "maj@4"}
    (found,) = read(log(row), model="m").observations
    assert (found.strategy, found.calls) == ("m/self_consistency(k=4)", 4)


def test_one_score_per_repeat_is_one_observation_per_repeat(log):
    row = lines(GSM8K)[0] | {
        "resps": [["a", "b"]], "filtered_resps": [["1", "2"]], "exact_match": [1, 0],
    }  # fmt: skip
    found = read(log(row), model="m").observations
    assert [(row.sample, row.score, row.answer) for row in found] == [(0, 1.0, "1"), (1, 0.0, "2")]


def test_broken_lines_are_set_aside_with_their_reason(log):
    good, again, *_ = lines(GSM8K)
    path = log(
        good,
        '{"doc_id": 1, "filt',
        good,
        good | {"doc_hash": "other"},
        again | {"exact_match": 7},
        again | {"exact_match": None},
        again | {"doc_id": None},
        {"doc_id": 3},
        "[1]",
        again,
    )
    found = read(path, model="m")
    reasons = {(item.line, item.reason.partition(":")[0]) for item in found.set_aside}
    assert reasons == {
        (2, "this is not JSON"),
        (3, "the document again"),
        (4, "another document under the same doc_id"),
        (5, "exact_match is no number in 0..1"),
        (6, "exact_match is no number in 0..1"),
        (7, "doc_id is no number and no name"),
        (8, "no doc_id or no filtered_resps"),
        (9, "this is not a JSON object"),
    }
    assert found.rows == 10
    assert [row.query_id for row in found.observations] == ["t/0", "t/1"]


def test_the_older_arguments_in_lists_are_read_too(log):
    row = lines(GSM8K)[0] | {"arguments": [["What?", {"until": ["\n"]}]]}
    assert read(log(row), model="m").queries[0].prompt == "What?"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"resourceSpans": []}', "\xff"])
def test_a_file_of_another_shape_is_refused(tmp_path, content):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError):
        read(path, model="m")
