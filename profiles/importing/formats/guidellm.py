"""Reports of GuideLLM (``benchmarks.json``), schema 2 and the one before it.

Schema 2 keeps a benchmark's strategy under ``config``, the older one under ``args``; the metrics
are the same. The requests of a benchmark follow its load pattern, so they are no recorded traffic
and their synthetic prompts have no right answer: only serving points are read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from profiles.errors import InputError
from profiles.importing.formats.entries import Entry, Figures, part, read_entries, set_aside, word
from profiles.importing.formats.found import Found, SetAside
from profiles.notes import Notes
from profiles.observation import Evidence
from profiles.serving import ServingPoint

_MS = 1e-3


def read(
    path: Path,
    *,
    workload: str,  # noqa: ARG001 - a load test belongs to no traffic
    notes: Notes,
    evidence: Evidence = Evidence.MEASURED,
    model: str | None = None,
    system: str | None = None,
    gpus: float | None = None,
) -> Found:
    """Read one report.

    Args:
        path: The JSON report.
        workload: Not used.
        notes: Collects remarks.
        evidence: Where the numbers come from.
        model: Overrules the report's.
        system: The hardware.
        gpus: GPUs in use; without it GPU-seconds stay unknown.

    Raises:
        InputError: Unreadable, not of this shape, or no model is named.
    """
    entries = read_entries(path, notes)
    report = entries.rows[0][1]
    benchmarks = report.get("benchmarks")
    if not isinstance(benchmarks, list) or not benchmarks:
        raise InputError(
            "this is not a GuideLLM report",
            where=entries.name,
            expected="an object with a list of benchmarks",
            got=f"the keys {', '.join(list(report)[:12]) or 'of an empty object'}",
        )
    reader = _Report(path.name, report, notes, evidence, model, system, gpus)
    found = [reader.point(number, item) for number, item in enumerate(benchmarks, start=1)]
    aside = tuple(item for item in found if isinstance(item, SetAside))
    return Found(
        serving=tuple(item for item in found if isinstance(item, ServingPoint)),
        rows=len(benchmarks) + len(entries.set_aside),
        set_aside=(*entries.set_aside, *aside),
    )


class _Report:
    """One report and what its caller knows beyond it."""

    def __init__(  # noqa: PLR0917 - one call hands all of it over
        self,
        source: str,
        report: Entry,
        notes: Notes,
        evidence: Evidence,
        model: str | None,
        system: str | None,
        gpus: float | None,
    ) -> None:
        self._source = source
        self._report = report
        self._notes = notes
        self._evidence = evidence
        self._model = model
        self._system = system
        self._gpus = gpus

    def point(self, number: int, benchmark: object) -> ServingPoint | SetAside:
        """One benchmark, set aside where it has no successful request."""
        if not isinstance(benchmark, dict) or not part(benchmark, "metrics"):
            return set_aside(number, "this is not a benchmark with metrics", benchmark)
        figures = Figures(f"benchmark {number}", self._notes)
        metrics = part(benchmark, "metrics")
        requests = _requests(metrics, benchmark, figures)
        if requests is None:
            return set_aside(number, "no request was successful", benchmark)
        strategy = part(benchmark, "config", "strategy") or part(benchmark, "args", "strategy")
        duration = _duration(benchmark, figures)
        rate = _of(metrics, "output_tokens_per_second", figures, "mean")
        return ServingPoint(
            model=self._named(benchmark, number),
            backend=self._backend(benchmark),
            system=self._system,
            label=_label(number, strategy),
            gpus=self._gpus,
            concurrency=_of(metrics, "request_concurrency", figures, "mean"),
            request_rate_per_s=figures.amount(strategy, "rate"),
            requests=requests,
            duration_s=duration,
            tokens_in=_of(metrics, "prompt_token_count", figures, "mean"),
            tokens_out=_of(metrics, "output_token_count", figures, "mean"),
            output_tokens_per_s=rate,
            ttft_mean_s=_of(metrics, "time_to_first_token_ms", figures, "mean", _MS),
            ttft_p50_s=_of(metrics, "time_to_first_token_ms", figures, "p50", _MS),
            ttft_p95_s=_of(metrics, "time_to_first_token_ms", figures, "p95", _MS),
            ttft_p99_s=_of(metrics, "time_to_first_token_ms", figures, "p99", _MS),
            itl_mean_s=_of(metrics, "inter_token_latency_ms", figures, "mean", _MS),
            itl_p50_s=_of(metrics, "inter_token_latency_ms", figures, "p50", _MS),
            latency_mean_s=_of(metrics, "request_latency", figures, "mean"),
            latency_p50_s=_of(metrics, "request_latency", figures, "p50"),
            latency_p95_s=_of(metrics, "request_latency", figures, "p95"),
            latency_p99_s=_of(metrics, "request_latency", figures, "p99"),
            gpu_s=self._gpus * duration / requests if self._gpus and duration else None,
            evidence=self._evidence,
            source=self._source,
            observed_at=_started(benchmark),
        )

    def _named(self, benchmark: Entry, number: int) -> str:
        found = self._model or next(filter(None, map(_model, self._backends(benchmark))), None)
        if found is None:
            raise InputError(
                "the report does not say which model it measured",
                where=f"{self._source}: benchmark {number}",
                next_step="name it with --option model=NAME",
            )
        return found

    def _backend(self, benchmark: Entry) -> str | None:
        kinds = (word(item, "backend_type", "type_", "kind") for item in self._backends(benchmark))
        return next(filter(None, kinds), None)

    def _backends(self, benchmark: Entry) -> tuple[Entry, ...]:
        """Where the schemas name the server, the benchmark's own words first."""
        return (
            part(benchmark, "config", "backend"),
            part(benchmark, "worker"),
            part(self._report, "config", "spec", "backend"),
            part(self._report, "args"),
        )


def _model(backend: Entry) -> str | None:
    return word(backend, "model", "backend_model")


def _of(
    metrics: Entry, name: str, figures: Figures, statistic: str, scale: float = 1.0
) -> float | None:
    """A statistic over successful requests; None where there was nothing to take it of."""
    summary = part(metrics, name, "successful")
    if summary.get("count") == 0:  # the tool then writes 0 for every statistic
        return None
    holder = summary if statistic == "mean" else part(summary, "percentiles")
    return figures.amount(
        {f"{name} {statistic}": holder.get(statistic)}, f"{name} {statistic}", scale
    )


def _requests(metrics: Entry, benchmark: Entry, figures: Figures) -> int | None:
    totals = part(metrics, "request_totals") or part(benchmark, "request_totals")
    if "successful" in totals:
        return figures.count(totals, "successful", zero=True) or None
    return figures.count(part(metrics, "request_latency", "successful"), "count")


def _duration(benchmark: Entry, figures: Figures) -> float | None:
    if "duration" in benchmark:
        return figures.amount(benchmark, "duration")
    start, end = (figures.amount(benchmark, key) for key in ("start_time", "end_time"))
    return end - start if start is not None and end is not None and end > start else None


def _started(benchmark: Entry) -> datetime | None:
    start = Figures("", Notes()).amount(benchmark, "start_time")
    try:
        return None if start is None else datetime.fromtimestamp(start, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _label(number: int, strategy: Entry) -> str:
    kind = word(strategy, "type_") or "unknown strategy"
    settings = [
        f"{key} {strategy[key]}"
        for key in ("rate", "streams", "max_concurrency")
        if isinstance(strategy.get(key), int | float)
    ]
    return ", ".join([f"benchmark {number}: {kind}", *settings])
