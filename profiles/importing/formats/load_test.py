"""What the load tests of vLLM and SGLang have in common: one flat object per run, times in ms."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from profiles.errors import InputError
from profiles.importing.formats.entries import Entry, Figures, read_entries, set_aside, word
from profiles.importing.formats.found import Found
from profiles.notes import Kind, Notes
from profiles.observation import Evidence
from profiles.serving import ServingPoint

TOLERANCE = 0.01
_MS = 1e-3
_REQUIRED = ("completed", "duration", "total_output_tokens")


def read_runs(
    path: Path,
    notes: Notes,
    point: Callable[[int, Entry], ServingPoint],
    tool: str,
) -> Found:
    """Every run of a file; runs that did not complete a request are set aside.

    Raises:
        InputError: No entry is a run of this tool.
    """
    entries = read_entries(path, notes)
    runs = [(line, entry) for line, entry in entries.rows if all(k in entry for k in _REQUIRED)]
    if not runs:
        raise InputError(
            f"this is not the output of {tool}",
            where=entries.name,
            expected=f"objects with {', '.join(_REQUIRED)}",
            got=f"the keys {', '.join(list(entries.rows[0][1])[:12]) or 'of an empty object'}",
        )
    known = {line for line, _ in runs}
    aside = [*entries.set_aside]
    aside += [
        set_aside(line, f"no run of {tool}", entry)
        for line, entry in entries.rows
        if line not in known
    ]
    found = []
    for line, entry in runs:
        if Figures(f"line {line}", Notes()).count(entry, "completed") is None:
            aside.append(set_aside(line, "no request completed", entry))
        else:
            found.append(point(line, entry))
    rows = len(entries.rows) + len(entries.set_aside)
    return Found(
        serving=tuple(found),
        rows=rows,
        set_aside=tuple(sorted(aside, key=lambda item: item.line)),
    )


def flat_point(
    line: int,
    entry: Entry,
    *,
    latency: str,
    model: str,
    backend: str | None,
    system: str | None,
    gpus: float | None,
    notes: Notes,
    evidence: Evidence,
    source: str,
    observed_at: datetime | None = None,
) -> ServingPoint:
    """A serving point from the flat keys that both tools share.

    Concurrency is the mean number in flight: as the tool says, else by Little's law from mean
    latency, completed requests and duration, else the cap. GPU-seconds per request are
    ``gpus * duration / completed``.

    Args:
        line: Of the file.
        entry: One run.
        latency: What the tool calls a request's latency in its keys, e.g. ``e2el``.
        model: Whose speed it is.
        backend: The serving software.
        system: The hardware.
        gpus: GPUs in use, None where unknown.
        notes: Collects remarks.
        evidence: Where the numbers come from.
        source: The file.
        observed_at: When it ran.
    """
    figures = Figures(f"line {line}", notes)
    completed = figures.count(entry, "completed")
    duration = figures.amount(entry, "duration")
    mean_latency = figures.amount(entry, f"mean_{latency}_ms", _MS)
    _check_rates(entry, figures, completed, duration)
    return ServingPoint(
        model=model,
        backend=backend,
        system=system,
        label=f"line {line}",
        gpus=gpus,
        concurrency=_concurrency(entry, figures, mean_latency, completed, duration),
        request_rate_per_s=_rate(entry, figures),
        requests=completed,
        duration_s=duration,
        tokens_in=_each(figures.amount(entry, "total_input_tokens"), completed),
        tokens_out=_each(figures.amount(entry, "total_output_tokens"), completed),
        output_tokens_per_s=figures.amount(entry, "output_throughput"),
        ttft_mean_s=figures.amount(entry, "mean_ttft_ms", _MS),
        ttft_p50_s=figures.amount(entry, "median_ttft_ms", _MS),
        ttft_p95_s=figures.amount(entry, "p95_ttft_ms", _MS),
        ttft_p99_s=figures.amount(entry, "p99_ttft_ms", _MS),
        itl_mean_s=figures.amount(entry, "mean_itl_ms", _MS),
        itl_p50_s=figures.amount(entry, "median_itl_ms", _MS),
        latency_mean_s=mean_latency,
        latency_p50_s=figures.amount(entry, f"median_{latency}_ms", _MS),
        latency_p95_s=figures.amount(entry, f"p95_{latency}_ms", _MS),
        latency_p99_s=figures.amount(entry, f"p99_{latency}_ms", _MS),
        gpu_s=_each(gpus * duration if gpus and duration else None, completed),
        evidence=evidence,
        source=source,
        observed_at=observed_at,
    )


def contradicts(reported: float | None, recomputed: float | None) -> bool:
    """Whether two known values of one thing differ by more than 1 %."""
    if reported is None or recomputed is None:
        return False
    return not math.isclose(reported, recomputed, rel_tol=TOLERANCE)


def named_model(entry: Entry, model: str | None, where: str) -> str:
    """The model that a person names, else the one that the entry names.

    Raises:
        InputError: Neither does.
    """
    found = model or word(entry, "model_id", "model_name", "model")
    if found is None:
        raise InputError(
            "the file does not say which model it measured",
            where=where,
            next_step="name it with --option model=NAME",
        )
    return found


def _rate(entry: Entry, figures: Figures) -> float | None:
    value = entry.get("request_rate")
    if str(value).strip().lower() in ("inf", "infinity"):
        figures.notes.add("all requests came at once: no request rate", figures.where)
        return None
    return figures.amount(entry, "request_rate")


def _concurrency(
    entry: Entry,
    figures: Figures,
    latency_s: float | None,
    completed: int | None,
    duration_s: float | None,
) -> float | None:
    said = figures.amount(entry, "concurrency")
    if said is not None or not (latency_s and completed and duration_s):
        return said if said is not None else figures.amount(entry, "max_concurrency")
    return latency_s * completed / duration_s


def _each(total: float | None, requests: int | None) -> float | None:
    return total / requests if total is not None and requests else None


def _check_rates(
    entry: Entry, figures: Figures, completed: int | None, duration_s: float | None
) -> None:
    tokens = figures.amount(entry, "total_output_tokens")
    for key, total in (("output_throughput", tokens), ("request_throughput", completed)):
        again = total / duration_s if total and duration_s else None
        said = figures.amount(entry, key)
        if contradicts(said, again):
            text = f"{key} is not what total and duration say: kept as written"
            figures.notes.add(text, f"{figures.where}: {said} but {again}", kind=Kind.SUSPICIOUS)
