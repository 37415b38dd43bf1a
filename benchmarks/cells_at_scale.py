"""Cells of millions of observations against a bare DuckDB aggregation and pandas.

Every contender runs in a process of its own and computes, for 50 classes x 200 strategies: counts,
mean and deviation of score and dollars, skewness of dollars, means of tokens and calls, extremes,
exceedance of about 60 latency limits, p95 of latency and p50/p95/p99 of completion tokens. `cells`
is `Store.profile`, from the file to the finished profile with its digest. `duckdb` is one GROUP BY
with native double functions over the same join, its limits given. `pandas` starts with all rows in
memory; reading them from the same file, which `cells` does too, is timed apart as `load_wall_s`.
`cells_of_samples` has two samples of every query and half as many queries: means by query first.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from profiles.store.store import Store

RESULT = Path("benchmarks/results/cells_at_scale.json")
SEED = 7
CLASSES, STRATEGIES = 50, 200
MILLIONS = (1, 10, 50)
RUNS = {1: 5, 10: 5, 50: 1}
RUNS_OF_PANDAS = 3
LIMITS_S = np.geomspace(0.05, 20, 60).tolist()

_QUERIES = """
    INSERT INTO queries (workload, query_id, class_label)
    SELECT 'made', 'q' || i, 'class' || (i % {classes}) FROM range({queries}) r(i)
"""
_ROWS = """
    INSERT INTO observations (workload, query_id, strategy, sample, score, cost_usd, latency_s,
        tokens_in, tokens_out, calls, evidence, source)
    SELECT 'made', 'q' || q // {samples}, 'model' || s || '/single', q % {samples},
        (u(q, s, 1) < 0.3 + 0.003 * s)::INT::DOUBLE, 1e-5 * (1 + s) * (0.5 + u(q, s, 2) ** 3),
        exp(2 * (u(q, s, 3) + u(q, s, 4) + u(q, s, 5) - 1.5)), 50 + hash(q) % 2000,
        20 + (1000 * u(q, s, 6))::BIGINT, 1, 'measured', 'made'
    FROM range({queries}) r(q), range({strategies}) t(s)
"""
_JOINED = """
    (SELECT * FROM observations WHERE workload = 'made' AND score IS NOT NULL)
    LEFT JOIN (SELECT query_id, class_label FROM queries WHERE workload = 'made') USING (query_id)
"""
_BARE = """
    SELECT class_label, strategy, count(*), avg(score), stddev(score), avg(cost_usd),
        stddev(cost_usd), skewness(cost_usd), max(cost_usd), avg(tokens_in), avg(tokens_out),
        max(tokens_out), avg(calls), count(latency_s), histogram(latency_s, {limits}),
        quantile_disc(latency_s, 0.95), quantile_disc(tokens_out, [0.5, 0.95, 0.99])
    FROM {joined} GROUP BY class_label, strategy
"""


def make(file: Path, millions: int, samples: int) -> None:
    """A store with this many rows, made inside DuckDB."""
    Store.open(file).close()
    queries = millions * 10**6 // STRATEGIES
    with duckdb.connect(str(file)) as connection:
        connection.execute(
            f"CREATE TEMP MACRO u(q, s, k) AS (hash(q, s, k, {SEED}) % 1000003) / 1000003.0::DOUBLE"
        )
        connection.execute(_QUERIES.format(classes=CLASSES, queries=queries // samples))
        rows = _ROWS.format(strategies=STRATEGIES, queries=queries, samples=samples)
        connection.execute(rows)


def cells(file: Path) -> int:
    """The profile."""
    with Store.open(file, read_only=True) as store:
        return len(store.profile("made").cells)


def bare(file: Path) -> int:
    """One GROUP BY, fetched as Arrow."""
    limits = f"[{', '.join(f'{limit!r}::DOUBLE' for limit in LIMITS_S)}]"
    with duckdb.connect(str(file), read_only=True) as connection:
        sql = _BARE.format(limits=limits, joined=_JOINED)
        return int(connection.sql(sql).to_arrow_table().num_rows)


def rows_in_memory(file: Path) -> Any:
    """What pandas starts from."""
    columns = "query_id, strategy, score, cost_usd, latency_s, tokens_in, tokens_out, calls"
    with duckdb.connect(str(file), read_only=True) as connection:
        rows = connection.sql(f"SELECT {columns} FROM observations").df()  # noqa: S608
        return rows, connection.sql("SELECT query_id, class_label FROM queries").df()


def pandas_cells(given: Any) -> int:
    """The same numbers by groupby."""
    rows, queries = given
    joined = rows.merge(queries, on="query_id", how="left")
    joined["bin"] = np.searchsorted(LIMITS_S, joined["latency_s"].to_numpy())
    keys = ["class_label", "strategy"]
    groups = joined.groupby(keys, sort=False)
    found = groups.agg(
        n=("score", "size"),
        accuracy=("score", "mean"),
        accuracy_sd=("score", "std"),
        cost=("cost_usd", "mean"),
        cost_sd=("cost_usd", "std"),
        cost_skewness=("cost_usd", "skew"),
        cost_max=("cost_usd", "max"),
        tokens_in=("tokens_in", "mean"),
        tokens_out=("tokens_out", "mean"),
        tokens_out_max=("tokens_out", "max"),
        calls=("calls", "mean"),
        timed=("latency_s", "count"),
    )
    groups["latency_s"].quantile(0.95, interpolation="lower")
    groups["tokens_out"].quantile([0.5, 0.95, 0.99], interpolation="lower")
    joined.groupby([*keys, "bin"], sort=False).size()
    return len(found)


def timed(step: Callable[[Any], int], given: Any) -> dict[str, float]:
    """One run in this process: wall and processor seconds, and the process's peak memory."""
    wall, processor = time.perf_counter(), time.process_time()
    found = step(given)
    return {
        "cells": found,
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def contend(name: str, file: Path, *more: str) -> dict[str, float]:
    """One contender, in this process."""
    if name == "make":
        make(file, int(more[0]), int(more[1]))
        return {}
    if name == "pandas":
        start = time.perf_counter()
        rows = rows_in_memory(file)
        load = time.perf_counter() - start
        return timed(pandas_cells, rows) | {"load_wall_s": load}
    return timed({"cells": cells, "duckdb": bare}[name], file)


def in_own_process(name: str, file: Path, *more: str) -> dict[str, float]:
    """One contender, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cells_at_scale", name, str(file), *more]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
    return dict(json.loads(done.stdout))


def summary_of(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over the runs of one contender, and from which to which seconds they went."""
    medians = {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
    spread = {
        f"{key}_from_to": [round(f(run[key] for run in runs), 3) for f in (min, max)]
        for key in ("wall_s", "processor_s")
    }
    return {"runs": len(runs), **medians, **spread}


def at_size(folder: Path, millions: int) -> dict[str, Any]:
    """All contenders at one size, in turn, so that a busy machine is busy for all of them."""
    file = folder / f"{millions}.duckdb"
    in_own_process("make", file, str(millions), "1")  # else its peak memory would be inherited
    runs: dict[str, list[dict[str, float]]] = {"cells": [], "duckdb": [], "pandas": []}
    loads = []
    for run in range(RUNS[millions]):
        loads.append(os.getloadavg()[0])
        for name, found in runs.items():
            if name != "pandas" or (millions == 10 and run < RUNS_OF_PANDAS):
                found.append(in_own_process(name, file))
    file.unlink()
    rows = {name: summary_of(found) for name, found in runs.items() if found}
    print(millions, rows, flush=True)
    found = {"million_rows": millions, **rows, "ratios": ratios_of(rows)}
    return found | {"load_average_at_each_run": [round(load, 1) for load in loads]}


def ratios_of(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Of medians."""
    cells, bare, pandas = rows["cells"], rows["duckdb"], rows.get("pandas")
    found = {
        f"{what}_of_cells_to_duckdb": cells[what] / bare[what] for what in ("wall_s", "processor_s")
    }
    if pandas:
        loaded = pandas["wall_s"] + pandas["load_wall_s"]
        found["wall_s_of_pandas_in_memory_to_cells"] = pandas["wall_s"] / cells["wall_s"]
        found["wall_s_of_pandas_with_load_to_cells"] = loaded / cells["wall_s"]
        found["processor_s_of_pandas_in_memory_to_cells"] = (
            pandas["processor_s"] / cells["processor_s"]
        )
    return {name: round(value, 2) for name, value in found.items()}


def of_samples(folder: Path, millions: int) -> dict[str, Any]:
    """Cells where a query has two rows per strategy."""
    file = folder / "samples.duckdb"
    in_own_process("make", file, str(millions), "2")
    found = summary_of([in_own_process("cells", file)])
    file.unlink()
    return {"million_rows": millions, "samples": 2, **found}


def main() -> None:
    """Time and write."""
    if len(sys.argv) > 1:
        print(json.dumps(contend(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])))
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = [at_size(Path(folder), millions) for millions in MILLIONS]
        samples = of_samples(Path(folder), 10)
    result = {
        "classes": CLASSES,
        "strategies": STRATEGIES,
        "seed": SEED,
        "sizes": sizes,
        "cells_of_samples": samples,
        "cells_processor_s_per_million_rows": {
            str(size["million_rows"]): round(size["cells"]["processor_s"] / size["million_rows"], 4)
            for size in sizes
        },
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("duckdb", "numpy", "pandas", "pyarrow")},
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
