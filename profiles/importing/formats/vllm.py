"""Output of ``vllm bench serve --save-result``: one JSON object, or lines with ``--append-result``.

With ``--save-detailed`` it lists every request; figures are then computed from the lists, and what
the summary says otherwise is noted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.importing.formats.entries import Entry, word
from profiles.importing.formats.found import Found
from profiles.importing.formats.load_test import contradicts, flat_point, named_model, read_runs
from profiles.notes import Kind, Notes
from profiles.observation import Evidence
from profiles.serving import ServingPoint

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Requests:
    """What the lists say of the requests that succeeded, one entry each."""

    tokens_in: Array | None
    tokens_out: Array | None
    ttft_s: Array | None
    gaps_s: Array | None
    latency_s: Array | None
    succeeded: int


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
    """Read one file.

    The tool writes its date in local time without a zone; it is taken as UTC.

    Args:
        path: The result file.
        workload: Not used.
        notes: Collects remarks.
        evidence: Where the numbers come from.
        model: Overrules ``model_id``.
        system: The hardware.
        gpus: GPUs in use; without it GPU-seconds stay unknown.

    Raises:
        InputError: Unreadable, not of this shape, or no model is named.
    """

    def point(line: int, entry: Entry) -> ServingPoint:
        summary = flat_point(
            line,
            entry,
            latency="e2el",
            model=named_model(entry, model, f"{path.name}:{line}"),
            backend=word(entry, "backend", "endpoint_type"),
            system=system,
            gpus=gpus,
            notes=notes,
            evidence=evidence,
            source=path.name,
            observed_at=_date(entry),
        )
        return _from_lists(summary, _requests(entry, f"line {line}", notes), notes)

    return read_runs(path, notes, point, "vllm bench serve")


def _date(entry: Entry) -> datetime | None:
    try:
        return datetime.strptime(str(entry.get("date")), "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _requests(entry: Entry, where: str, notes: Notes) -> _Requests | None:
    """The lists of ``--save-detailed``, None where they are absent or do not fit together."""
    errors = entry.get("errors")
    ttfts, itls = entry.get("ttfts"), entry.get("itls")
    if not isinstance(ttfts, list) or not isinstance(errors, list):
        return None
    fine = np.array([not error for error in errors], bool)
    named = {key: entry.get(key) for key in ("input_lens", "output_lens", "latencies")}
    lists = [value for value in (ttfts, itls, *named.values()) if isinstance(value, list)]
    if any(len(value) != len(fine) for value in lists):
        notes.add("lists of other lengths than errors: not used", where, kind=Kind.SUSPICIOUS)
        return None
    gaps = _gaps(itls, fine)
    ttft, latency = _numbers(ttfts, fine), _numbers(named["latencies"], fine)
    if latency is None and ttft is not None and gaps is not None:
        latency = ttft + np.array([item.sum() for item in gaps])
    return _Requests(
        tokens_in=_numbers(named["input_lens"], fine),
        tokens_out=_numbers(named["output_lens"], fine),
        ttft_s=ttft,
        gaps_s=np.concatenate(gaps) if gaps else None,
        latency_s=latency,
        succeeded=int(fine.sum()),
    )


def _numbers(values: object, fine: NDArray[np.bool_]) -> Array | None:
    """The values of successful requests, None where one of them is no measured number."""
    if not isinstance(values, list):
        return None
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    try:
        found = np.array(values, np.float64)[fine]
    except OverflowError:
        return None
    return found if found.size and bool(np.all(np.isfinite(found) & (found >= 0))) else None


def _gaps(itls: object, fine: NDArray[np.bool_]) -> list[Array] | None:
    if not isinstance(itls, list):
        return None
    found = []
    for gaps, good in zip(itls, fine, strict=True):
        if not good:
            continue
        numbers = _numbers(gaps, np.ones(len(gaps), bool)) if isinstance(gaps, list) else None
        if numbers is None and gaps != []:
            return None
        found.append(np.empty(0) if numbers is None else numbers)
    return found


def _from_lists(summary: ServingPoint, requests: _Requests | None, notes: Notes) -> ServingPoint:
    if requests is None or not requests.succeeded:
        return summary
    again: dict[str, float | None] = {
        "requests": requests.succeeded,
        "tokens_in": _mean(requests.tokens_in),
        "tokens_out": _mean(requests.tokens_out),
        "itl_mean_s": _mean(requests.gaps_s),
        "itl_p50_s": _quantile(requests.gaps_s, 50),
    }
    for name, values in (("ttft", requests.ttft_s), ("latency", requests.latency_s)):
        again[f"{name}_mean_s"] = _mean(values)
        for q in (50, 95, 99):
            again[f"{name}_p{q}_s"] = _quantile(values, q)
    if requests.latency_s is not None and summary.duration_s:
        again["concurrency"] = float(requests.latency_s.sum()) / summary.duration_s
    known = {name: value for name, value in again.items() if value}
    for name, value in known.items():
        said = getattr(summary, name)
        if name != "concurrency" and contradicts(said, value):
            text = f"{name} of the summary contradicts the lists: taken from the lists"
            notes.add(text, f"{summary.label}: {said} but {value}", kind=Kind.SUSPICIOUS)
    return replace(summary, **known)  # type: ignore[arg-type] # requests is an int among floats


def _mean(values: Array | None) -> float | None:
    return None if values is None or not values.size else float(values.mean())


def _quantile(values: Array | None, per_cent: int) -> float | None:
    return None if values is None or not values.size else float(np.percentile(values, per_cent))
