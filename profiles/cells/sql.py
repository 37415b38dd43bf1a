"""The statements behind cells. Every sum is one of integers, so no order of rows can change it.

A measure ``v`` enters as ``round(v * 2^k)``, where k is chosen once per workload so that the
largest value stays below ``2^61``: finer than a double for all but the smallest values. Sums are
128-bit integers. Squares use the upper 49 bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiles.pricing.rates import Rate
from profiles.store.schema import ALL_OBSERVATIONS

SPREAD = ("score", "cost_usd")
MEANS = (
    "tokens_in",
    "tokens_out",
    "tokens_reasoning",
    "tokens_cached",
    "calls",
    "gpu_s",
    "energy_j",
)
MEASURES = (*SPREAD, *MEANS)
QUANTILES = (0.5, 0.95, 0.99)
COARSE = 2**12
"""What squares leave off of a measure's integer."""

ONE = 2.0**61
"""The integer of a variance or a cube that equals the largest possible one."""

_WITHIN = 2**21
_SMALLEST = 200  # bits below 1; a request of fewer than 2^-200 dollars costs nothing

_BY_LABEL = "SELECT query_id, class_label AS class_name FROM queries WHERE workload = ?"
_BY_ESTIMATOR = """
    SELECT query_id, class_name FROM queries LEFT JOIN (
        SELECT query_id, class_name FROM classes WHERE workload = ? AND estimator_digest = ?
    ) USING (query_id)
    WHERE workload = ? AND prompt IS NOT NULL
"""
_PRICED = """
    CASE WHEN usd_in IS NOT NULL AND usd_out IS NOT NULL THEN
        CASE WHEN coalesce(tokens_cached > tokens_in, false)
            OR coalesce(tokens_reasoning > tokens_out, false) THEN NULL
        WHEN tokens_cached IS NULL THEN tokens_in * greatest(usd_in, coalesce(usd_cached, usd_in))
        ELSE (tokens_in - tokens_cached) * usd_in + tokens_cached * coalesce(usd_cached, usd_in)
        END
        + CASE WHEN tokens_reasoning IS NULL
        THEN tokens_out * greatest(usd_out, coalesce(usd_reasoning, usd_out))
        ELSE (tokens_out - tokens_reasoning) * usd_out
            + tokens_reasoning * coalesce(usd_reasoning, usd_out)
        END
    ELSE gpu_s * usd_gpu_s END
"""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement, or a part of one, with the values of its placeholders in their order."""

    sql: str
    values: tuple[Any, ...] = ()


def classes_of(workload: str, estimator_digest: str | None) -> Query:
    """Every query that can have a class: its id and `class_name`, null where it has none."""
    if estimator_digest is None:
        return Query(_BY_LABEL, (workload,))
    return Query(_BY_ESTIMATOR, (workload, estimator_digest, workload))


def scored_rows(workload: str, concurrency: int | None, rates: Sequence[Rate]) -> Query:
    """Scored rows of a workload; times and energy only where measured at `concurrency`.

    `recorded` tells rows whose dollars were recorded from those priced by `rates`.
    """
    cost = f"coalesce(cost_usd, {_PRICED})" if rates else "cost_usd"
    level = "true" if concurrency is None else f"concurrency = {int(concurrency)}"
    timed = ("latency_s", "gpu_s", "energy_j")
    whole = [f"CASE WHEN {level} THEN {column} END AS {column}" for column in timed]
    at_level = ", ".join(timed if concurrency is None else whole)
    sql = f"""
        SELECT query_id, strategy, sample, concurrency, evidence, observed_at, score, score_sd,
            {cost} AS cost_usd, observations.cost_usd IS NOT NULL AS recorded, {level} AS at_level,
            tokens_in, tokens_out, tokens_reasoning, tokens_cached, calls, {at_level}
        FROM {ALL_OBSERVATIONS} AS observations {_rates_join(rates)}
        WHERE workload = ? AND score IS NOT NULL
    """  # noqa: S608 - fixed names
    return Query(sql, (*_rate_values(rates), workload))


def _rates_join(rates: Sequence[Rate]) -> str:
    if not rates:
        return ""
    row = "(?::VARCHAR, ?::DOUBLE, ?::DOUBLE, ?::DOUBLE, ?::DOUBLE, ?::DOUBLE)"
    names = "strategy, usd_in, usd_out, usd_cached, usd_reasoning, usd_gpu_s"
    return f"LEFT JOIN (VALUES {', '.join([row] * len(rates))}) rates({names}) USING (strategy)"


def _rate_values(rates: Sequence[Rate]) -> tuple[Any, ...]:
    found: list[Any] = []
    for rate in rates:
        found += [rate.strategy, rate.usd_per_token_in, rate.usd_per_token_out]
        found += [rate.usd_per_token_cached, rate.usd_per_token_reasoning, rate.usd_per_gpu_s]
    return tuple(found)


def classed(rows: Query, classes: Query, *, inner: bool) -> Query:
    """Rows with the class of their query; `inner` leaves out queries that cannot have one."""
    kind = "INNER" if inner else "LEFT"
    sql = f"SELECT * FROM ({rows.sql}) {kind} JOIN ({classes.sql}) USING (query_id)"  # noqa: S608
    return Query(sql, rows.values + classes.values)


def survey(rows: Query) -> Query:
    """One row about all rows: what is known at all, and the largest values."""
    known = ", ".join(f"count({m}) AS {m}_known, max({m}) AS {m}_most" for m in MEASURES)
    sql = f"""
        SELECT count(*) AS n, {known}, max(score_sd) AS score_sd_most,
            min(latency_s) FILTER (latency_s > 0) AS fastest, max(latency_s) AS slowest,
            count(latency_s) AS timed, count(recorded) FILTER (recorded) AS recorded,
            min(sample) = max(sample) AND (count(concurrency) = 0 OR
                (count(concurrency) = count(*) AND min(concurrency) = max(concurrency)))
            AS single, count(observed_at) AS dated, list(DISTINCT evidence) AS evidence
        FROM ({rows.sql})
    """  # noqa: S608 - fixed names
    return Query(sql, rows.values)


def scale(most: float | None, rows: int = 1) -> float:
    """The power of two that brings `rows` times `most` below ``2^61``."""
    return math.ldexp(ONE / 2 ** rows.bit_length(), _bits(most)) if most else 1.0


def _bits(most: float) -> int:
    return min(-math.frexp(most)[1], _SMALLEST)


def scales_of(known: Mapping[str, Any]) -> dict[str, float]:
    """Scales of all measures that any row has, from the survey.

    Sums of measures that only have a mean fit into 64 bits.
    """
    found = {"score": scale(1.0)}  # so are standard deviations of scores at most
    if known["cost_usd_known"]:
        found["cost_usd"] = scale(known["cost_usd_most"])
    means = (m for m in MEANS if known[f"{m}_known"])
    return found | {m: scale(known[f"{m}_most"], known["n"]) for m in means}


def literal(number: float) -> str:
    """A double as SQL text; a bare 0.5 would be a decimal."""
    return f"'{number!r}'::DOUBLE"


def _sum(integers: str, times: str = "1") -> str:
    """A sum of 128-bit integers.

    A sum of 64-bit ones would do, but DuckDB 2.0 lets it wrap around silently where its
    statistics promise few rows, as they wrongly do after a join with an empty table.
    """
    product = "" if times == "1" else f" * {times}"
    return f"sum({integers}::HUGEINT{product})"


def per_row(source: Query, scales: Mapping[str, float], *, spread_inside: bool) -> Query:
    """Rows with every measure as an integer: x_score, ...; w_score is a row's own variance."""
    integers = ", ".join(
        f"CAST({m} * {literal(factor)} AS BIGINT) AS x_{m}" for m, factor in scales.items()
    )
    own = f"CAST(score_sd * score_sd * {literal(scales['score'] ** 2 / ONE)} AS BIGINT)"
    sql = f"""
        SELECT class_name, strategy, query_id, evidence, observed_at, latency_s, recorded,
            at_level, tokens_out, cost_usd, {integers},
            {own if spread_inside else "NULL::BIGINT"} AS w_score, NULL::BIGINT AS w_cost_usd,
            latency_s IS NOT NULL AS timed
        FROM ({source.sql})
    """  # noqa: S608 - fixed names
    return Query(sql, source.values)


def per_query(rows: Query, scales: Mapping[str, float]) -> Query:
    """Means of every query's samples in the same integers, and their variance within the query."""
    means = ", ".join(
        f"CAST({_sum(f'x_{m}')}::DOUBLE / count(x_{m}) AS BIGINT) AS x_{m}" for m in scales
    )
    within = ", ".join(_within(m) for m in SPREAD if m in scales)
    sql = f"""
        SELECT class_name, strategy, query_id, {means}, {within}, bool_or(timed) AS timed
        FROM ({rows.sql}) GROUP BY class_name, strategy, query_id
    """  # noqa: S608 - fixed names
    return Query(sql, rows.values)


def _within(measure: str) -> str:
    """N sum(q^2) - sum(q)^2 over n^2, exactly 0 where all samples agree."""
    q = f"(x_{measure} // {_WITHIN})"
    exact = f"(count({q}) * {_sum(q, q)} - {_sum(q)} * {_sum(q)})::DOUBLE"
    back = literal(_WITHIN**2 / ONE)
    own = f"coalesce({_sum(f'w_{measure}')}::DOUBLE / count(*), 0)"
    return f"CAST({exact} / count({q}) / count({q}) * {back} + {own} AS BIGINT) AS w_{measure}"


def row_statistics(
    grid: Sequence[float], evidence: Sequence[str], scales: Mapping[str, float], *, dated: bool
) -> str:
    """Aggregates over the rows of a cell: counts, extremes, quantiles, exceedance."""
    parts = ["count(*) AS n", "count(*) FILTER (at_level) AS n_at_level"]
    parts += [f"count(x_{m}) AS {m}_known" for m in scales if m != "score"]
    if "cost_usd" in scales:
        parts += ["max(cost_usd) AS cost_max", "count(*) FILTER (recorded) AS recorded"]
    if "tokens_out" in scales:
        parts += ["max(tokens_out) AS tokens_out_max"]
        parts += [f"quantile_disc(tokens_out, {list(QUANTILES)}) AS tokens_out_quantiles"]
    if grid:
        bins = ", ".join(map(literal, grid))
        parts += ["count(latency_s) AS timed", "quantile_disc(latency_s, 0.95) AS latency_p95"]
        parts += [f"map_values(histogram(latency_s, [{bins}])) AS not_slower"]
    if dated:
        parts += ["max(observed_at) AS observed_until"]
    kinds = ", ".join("'" + kind.replace("'", "''") + "'" for kind in evidence)
    if len(evidence) > 1:
        parts += [f"bit_or(1 << (list_position([{kinds}], evidence) - 1)) AS evidence"]
    return ", ".join(parts)


def moments(scales: Mapping[str, float], *, spread_inside: bool) -> str:
    """Aggregates over the queries of a cell. Texts are integers too long for a double."""
    parts = ["count(*) AS queries", "count(*) FILTER (timed) AS timed_queries"]
    for m in scales:
        total = _sum(f"x_{m}") if m in SPREAD else f"sum(x_{m})"
        parts += [f"{total}::VARCHAR AS {m}_sum", f"count(x_{m}) AS {m}_count"]
    for m in (m for m in SPREAD if m in scales):
        q = f"(x_{m} // {COARSE})"
        parts += [f"{_sum(q)}::VARCHAR AS {m}_coarse"]
        parts += [f"{_sum(q, q)}::VARCHAR AS {m}_squares"]
        if spread_inside:
            parts += [f"{_sum(f'w_{m}')}::VARCHAR AS {m}_within"]
    if "cost_usd" in scales:
        part = f"(x_cost_usd * {literal(1 / ONE)})"
        cubed = f"CAST({part} * {part} * {part} * {literal(ONE)} AS BIGINT)"
        parts += [f"{_sum(cubed)}::DOUBLE AS cost_usd_cubes"]
    return ", ".join(parts)


def grouped(columns: str, rows: Query) -> Query:
    """Aggregates by class and strategy, in their order."""
    sql = f"""
        SELECT class_name, strategy, {columns} FROM ({rows.sql})
        GROUP BY class_name, strategy ORDER BY class_name, strategy
    """  # noqa: S608 - fixed names
    return Query(sql, rows.values)
