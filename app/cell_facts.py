"""One cell in words: every figure with what it rests on, and what nobody measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from profiles.observation import Evidence

Fact = tuple[str, str, str]
Between = tuple[float, float | None] | None
_ABSENT, _MEAN = "not measured", "mean per request"


def cell_facts(row: Mapping[str, Any], median_s: Between) -> list[Fact]:
    """Name, value and basis of every figure of a cell that has rows or was published.

    Args:
        row: Of `profiles.cells.report.profile_rows`.
        median_s: From `profiles.cells.tails.quantile_between`; None where nothing was timed.
    """
    return [*_accuracy(row), *_dollars(row), *_latency(row, median_s), *_means(row), *_origin(row)]


def _accuracy(row: Mapping[str, Any]) -> Iterator[Fact]:
    size = "an unknown number of queries"
    if row["queries"] is not None:
        size = f"{row['queries']:,} queries"
        size += "" if _published(row) else f", {row['observations']:,} rows"
    yield "accuracy", _share(row["accuracy"]), size
    if row["accuracy_low"] is None:
        yield "95 % interval", _ABSENT, "nobody says how many queries there were"
    else:
        ends = f"{_share(row['accuracy_low'])} .. {_share(row['accuracy_high'])}"
        yield "95 % interval", ends, f"Wilson, {row['effective_queries']:.4g} effective queries"
    yield (
        "accuracy that plans count on",
        _share(row["accuracy_shrunken"]),
        f"among all cells, standard error {_number(row['accuracy_shrunken_sd'], 100)} points",
    )


def _dollars(row: Mapping[str, Any]) -> Iterator[Fact]:
    cost = row["cost_usd"]
    yield "USD per 1,000 requests", _number(cost, 1000), _priced(row)
    if cost is None:
        return
    if row["cost_low_usd"] is None:
        yield "95 % interval of USD", _ABSENT, "how much queries differ is unknown"
    else:
        ends = f"{_number(row['cost_low_usd'], 1000)} .. {_number(row['cost_high_usd'], 1000)}"
        yield "95 % interval of USD", ends, "over queries"
    if row["cost_max_usd"] is not None:
        yield "dearest request, USD", _number(row["cost_max_usd"]), "of those seen"


def _priced(row: Mapping[str, Any]) -> str:
    if row["cost_usd"] is None:
        return "neither recorded nor priced"
    if not row["cost_priced"]:
        return "as published" if _published(row) else "as recorded"
    every = row["observations"] or row["cost_priced"]
    if row["cost_priced"] >= every:
        return "computed from the store's prices"
    return f"{row['cost_priced']:,} of {every:,} rows computed from the store's prices"


def _latency(row: Mapping[str, Any], median_s: Between) -> Iterator[Fact]:
    timed = f"{row['latency_observations']:,} timed rows"
    if median_s is not None:
        low, high = median_s
        value = f"over {low:.4g} s" if high is None else f"{low:.4g} .. {high:.4g} s"
        yield "latency, half take at most", value, timed
    p95 = row["latency_p95_s"]
    basis = timed if row["latency_observations"] else "published" if p95 is not None else ""
    yield "latency, 95 % take at most", _ABSENT if p95 is None else f"{p95:.4g} s", basis


def _means(row: Mapping[str, Any]) -> Iterator[Fact]:
    metered = f"{_MEAN}, {row['metered_queries']:,} queries" if row["metered_queries"] else _MEAN
    yield _mean("prompt tokens", row["tokens_in"])
    quantiles = _MEAN
    if row["tokens_out_p50"] is not None:
        p50, p95, p99 = (row[f"tokens_out_p{part}"] for part in (50, 95, 99))
        quantiles = f"{_MEAN}; half stay within {p50:,}, 95 % {p95:,}, 99 % {p99:,}"
    yield _mean("completion tokens", row["tokens_out"], quantiles)
    yield _mean("calls to models", row["calls"])
    yield _mean("GPU seconds", row["gpu_s"], metered)
    yield _mean("joules", row["energy_j"], metered)
    if row["compute"] is not None:
        yield _mean(row["compute_unit"], row["compute"])


def _mean(name: str, value: float | None, basis: str = _MEAN) -> Fact:
    return name, _number(value), "" if value is None else basis


def _origin(row: Mapping[str, Any]) -> Iterator[Fact]:
    yield "evidence", ", ".join(row["evidence"]), ""
    until = row["observed_until"]
    yield "newest row", f"{until[:16].replace('T', ' ')} UTC" if until else "no row says when", ""


def _published(row: Mapping[str, Any]) -> bool:
    """Whether the cell is a mean that somebody else computed: there are no rows behind it."""
    return list(row["evidence"]) == [Evidence.PUBLISHED] and not row["latency_observations"]


def _share(value: float | None) -> str:
    return _ABSENT if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, scale: float = 1) -> str:
    return _ABSENT if value is None else f"{scale * value:.4g}"
