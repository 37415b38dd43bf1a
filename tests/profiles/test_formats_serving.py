"""Load tests: vLLM, SGLang and GuideLLM."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from profiles.errors import InputError
from profiles.importing.formats import guidellm, sglang, vllm
from profiles.notes import Notes

FIXTURES = Path(__file__).parent / "fixtures"


def read(module, path, **options):
    notes = Notes()
    found = module.read(path, workload="w", notes=notes, **options)
    return found, {note.text: note.count for note in notes.all()}


def rewritten(tmp_path, name, **changes):
    path = tmp_path / name
    document = json.loads((FIXTURES / name).read_text())
    path.write_text(json.dumps(document | changes))
    return path


def test_vllm_summaries_become_serving_points_in_seconds():
    found, notes = read(vllm, FIXTURES / "vllm_appended.json", gpus=2, system="h200")
    first, second = found.serving
    raw = json.loads((FIXTURES / "vllm_appended.json").read_text().splitlines()[0])
    assert (first.model, first.backend, first.system) == ("acme/tiny-2b", "openai-chat", "h200")
    assert first.ttft_p99_s == pytest.approx(raw["p99_ttft_ms"] / 1000)
    assert first.latency_p95_s == pytest.approx(raw["p95_e2el_ms"] / 1000)
    assert first.request_rate_per_s is None
    assert notes["all requests came at once: no request rate"] == 1
    assert second.request_rate_per_s == 2.0
    assert first.requests == 7
    assert first.gpu_s == pytest.approx(2 * 1.75 / 7)
    assert first.concurrency == pytest.approx(raw["mean_e2el_ms"] / 1000 * 7 / 1.75)
    assert first.observed_at == datetime(2026, 3, 4, 10, 11, 12, tzinfo=UTC)
    assert (found.rows, found.set_aside, found.observations) == (2, (), ())


def test_vllm_lists_give_the_same_figures_and_leave_failed_requests_out():
    found, notes = read(vllm, FIXTURES / "vllm_detailed.json")
    (point,) = found.serving
    raw = json.loads((FIXTURES / "vllm_detailed.json").read_text())
    fine = [i for i, error in enumerate(raw["errors"]) if not error]
    ttfts = [raw["ttfts"][i] for i in fine]
    latencies = [raw["ttfts"][i] + sum(raw["itls"][i]) for i in fine]
    assert point.requests == len(fine) == 7
    assert point.ttft_p95_s == pytest.approx(np.percentile(ttfts, 95))
    assert point.latency_p99_s == pytest.approx(np.percentile(latencies, 99))
    assert point.tokens_in == pytest.approx(np.mean([raw["input_lens"][i] for i in fine]))
    assert notes == {"all requests came at once: no request rate": 1}


def test_vllm_lists_overrule_a_summary_that_contradicts_them(tmp_path):
    path = rewritten(tmp_path, "vllm_detailed.json", mean_ttft_ms=5.0, output_throughput=1e5)
    found, notes = read(vllm, path)
    assert found.serving[0].ttft_mean_s > 0.03
    assert notes["ttft_mean_s of the summary contradicts the lists: taken from the lists"] == 1
    assert notes["output_throughput is not what total and duration say: kept as written"] == 1


def test_vllm_lists_of_other_lengths_are_not_used(tmp_path):
    path = rewritten(tmp_path, "vllm_detailed.json", ttfts=[0.1], mean_ttft_ms=5.0)
    found, notes = read(vllm, path)
    assert found.serving[0].ttft_mean_s == 0.005
    assert notes["lists of other lengths than errors: not used"] == 1


def test_vllm_zeros_and_words_are_unknown_and_never_zero(tmp_path):
    path = rewritten(
        tmp_path, "vllm_detailed.json", errors=None, mean_ttft_ms=0.0, median_itl_ms="fast",
        p99_e2el_ms=None, date="yesterday",
    )  # fmt: skip
    found, notes = read(vllm, path)
    point = found.serving[0]
    assert (point.ttft_mean_s, point.itl_p50_s, point.latency_p99_s) == (None, None, None)
    assert point.observed_at is None
    assert notes["mean_ttft_ms is not above 0"] == 1
    assert notes["median_itl_ms not a number"] == 1


def test_vllm_without_a_model_asks_for_one(tmp_path):
    path = rewritten(tmp_path, "vllm_detailed.json", model_id=None)
    with pytest.raises(InputError, match="does not say which model"):
        read(vllm, path)
    assert read(vllm, path, model="m")[0].serving[0].model == "m"


def test_sglang_reads_bare_infinity_and_reports_it():
    found, notes = read(sglang, FIXTURES / "sglang.jsonl", model="llama", gpus=4)
    first, second = found.serving
    assert notes["a bare Infinity or NaN is not JSON: read as such"] == 2
    assert (first.model, first.request_rate_per_s, second.request_rate_per_s) == ("llama", None, 5)
    assert (first.concurrency, first.tokens_in, first.tokens_out) == (30.0, 100.0, 50.0)
    assert (first.latency_mean_s, first.latency_p99_s) == (1.5, 2.9)
    assert first.gpu_s == pytest.approx(4 * 20 / 400)
    assert notes["output_throughput is not what total and duration say: kept as written"] == 1
    assert [(item.line, item.reason) for item in found.set_aside] == [(3, "no request completed")]


def test_sglang_without_a_model_says_that_the_file_stands_for_it():
    found, notes = read(sglang, FIXTURES / "sglang.jsonl")
    assert found.serving[0].model == "sglang"
    assert found.serving[0].gpu_s is None
    assert notes["the tool writes no model: the file's name stands for it"] == 2


@pytest.mark.data
def test_sglang_output_on_h200_imports_as_its_readme_says(data_dir):
    lines, infinite = 0, 0
    for path in sorted((data_dir / "sglang_bench_h200").glob("*.jsonl")):
        found, notes = read(sglang, path)
        lines += len(found.serving)
        infinite += notes.get("a bare Infinity or NaN is not JSON: read as such", 0)
        raw = [json.loads(line) for line in path.read_text().splitlines()]
        for point, row in zip(found.serving, raw, strict=True):
            assert math.isclose(point.output_tokens_per_s, row["output_throughput"])
            assert math.isclose(point.latency_p50_s, row["median_e2e_latency_ms"] / 1000)
            assert math.isclose(point.tokens_in * point.requests, row["total_input_tokens"])
            assert (point.request_rate_per_s is None) == math.isinf(row["request_rate"])
        assert found.set_aside == ()
    assert lines == 21
    assert infinite == 8


@pytest.mark.parametrize(("name", "rate"), [("guidellm_v2.json", 4.0), ("guidellm_v1.json", 2.5)])
def test_guidellm_reads_both_schemas(name, rate):
    found, _ = read(guidellm, FIXTURES / name, gpus=1)
    point = found.serving[0]
    assert (point.model, point.backend) == ("acme/tiny-2b", "openai_http")
    assert point.request_rate_per_s == rate
    assert (point.requests, point.concurrency) == (40, 6.1)
    assert (point.ttft_mean_s, point.ttft_p99_s) == (pytest.approx(0.08), pytest.approx(0.15))
    assert (point.latency_mean_s, point.latency_p95_s) == (1.5, 2.1)
    assert point.gpu_s == pytest.approx(point.duration_s / 40)
    assert point.observed_at is not None


def test_guidellm_statistics_over_nothing_are_unknown_and_failed_runs_set_aside():
    found, _ = read(guidellm, FIXTURES / "guidellm_v2.json")
    assert found.rows == 3
    assert [point.label for point in found.serving] == [
        "benchmark 1: poisson, rate 4.0",
        "benchmark 2: concurrent, streams 8",
    ]
    assert found.serving[1].ttft_mean_s is None
    assert [(item.line, item.reason) for item in found.set_aside] == [
        (3, "no request was successful")
    ]


@pytest.mark.parametrize("module", [vllm, sglang, guidellm])
@pytest.mark.parametrize("content", ["", "[]", "nonsense", '{"a": 1}', '{"benchmarks": []}'])
def test_a_file_of_another_shape_is_refused(tmp_path, module, content):
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(InputError):
        read(module, path, model="m")
