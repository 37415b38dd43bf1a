"""Tables of the profile store, as migrations: append to the list, never edit an entry."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

KEY = ("workload", "query_id", "strategy", "sample")
VALUES = (
    "score",
    "cost_usd",
    "latency_s",
    "tokens_in",
    "tokens_out",
    "tokens_reasoning",
    "tokens_cached",
    "calls",
    "gpu_s",
    "energy_j",
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the observations table as Arrow carries it there."""

    name: str
    type: pa.DataType


_COUNTS = ("sample", "tokens_in", "tokens_out", "tokens_reasoning", "tokens_cached", "calls")
_NUMBERS = ("score", "cost_usd", "latency_s", "gpu_s", "energy_j")


def _type(name: str) -> pa.DataType:
    if name in _COUNTS:
        return pa.int64()
    if name in _NUMBERS:
        return pa.float64()
    return pa.timestamp("us") if name == "observed_at" else pa.string()


OBSERVATION_COLUMNS = tuple(
    Column(name, _type(name)) for name in (*KEY, *VALUES, "evidence", "source", "observed_at")
)

MIGRATIONS = (
    """
    CREATE TABLE meta (version INTEGER NOT NULL);
    INSERT INTO meta VALUES (0);
    CREATE TABLE observations (
        workload VARCHAR NOT NULL, query_id VARCHAR NOT NULL, strategy VARCHAR NOT NULL,
        sample BIGINT NOT NULL, score DOUBLE, cost_usd DOUBLE, latency_s DOUBLE, tokens_in BIGINT,
        tokens_out BIGINT, tokens_reasoning BIGINT, tokens_cached BIGINT, calls BIGINT,
        gpu_s DOUBLE, energy_j DOUBLE, evidence VARCHAR NOT NULL, source VARCHAR NOT NULL,
        observed_at TIMESTAMP, PRIMARY KEY (workload, query_id, strategy, sample)
    );
    CREATE TABLE queries (
        workload VARCHAR NOT NULL, query_id VARCHAR NOT NULL, prompt VARCHAR, class_label VARCHAR,
        PRIMARY KEY (workload, query_id)
    );
    CREATE TABLE classes (
        estimator_digest VARCHAR NOT NULL, workload VARCHAR NOT NULL, query_id VARCHAR NOT NULL,
        class_name VARCHAR NOT NULL, PRIMARY KEY (estimator_digest, workload, query_id)
    );
    CREATE TABLE imports (
        digest VARCHAR PRIMARY KEY, file VARCHAR NOT NULL, row_count BIGINT NOT NULL,
        imported_at TIMESTAMP NOT NULL
    );
    """,
)
