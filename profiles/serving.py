"""A serving measurement: how fast a model on some hardware answered under some load."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from profiles.observation import Evidence


@dataclass(frozen=True, slots=True)
class ServingPoint:
    """One benchmark run of a server at one load. It says nothing about accuracy.

    Attributes:
        model: The model as the benchmark names it.
        backend: The serving software, e.g. ``vllm``.
        system: The hardware, e.g. ``h200_sxm``.
        label: What tells this run from others of its file, e.g. a line number or the tool's id.
        gpus: GPUs in use.
        concurrency: Requests in flight.
        request_rate_per_s: Requests offered per second, None where all came at once or unknown.
        requests: Requests that completed.
        duration_s: Seconds of the whole run.
        tokens_in: Mean prompt tokens per request.
        tokens_out: Mean completion tokens per request.
        output_tokens_per_s: Completion tokens per second of the whole system.
        ttft_mean_s: Time to the first token, seconds; also as quantiles.
        ttft_p50_s: Its median.
        ttft_p95_s: Its 95th percentile.
        ttft_p99_s: Its 99th percentile.
        itl_mean_s: Time between two tokens of a request, seconds.
        itl_p50_s: Its median.
        latency_mean_s: Seconds from request to complete answer.
        latency_p50_s: Its median.
        latency_p95_s: Its 95th percentile.
        latency_p99_s: Its 99th percentile.
        gpu_s: GPU-seconds of one request, measured or derived from the figures above.
        evidence: Where the numbers come from.
        source: File or publication.
        observed_at: When it was measured.
    """

    model: str
    backend: str | None
    system: str | None
    label: str
    gpus: float | None = None
    concurrency: float | None = None
    request_rate_per_s: float | None = None
    requests: int | None = None
    duration_s: float | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    output_tokens_per_s: float | None = None
    ttft_mean_s: float | None = None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    ttft_p99_s: float | None = None
    itl_mean_s: float | None = None
    itl_p50_s: float | None = None
    latency_mean_s: float | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    gpu_s: float | None = None
    evidence: Evidence = Evidence.PUBLISHED
    source: str = ""
    observed_at: datetime | None = None
