"""Fitting a difficulty estimator on 1,000 to 100,000 made prompts: seconds and peak memory.

Each step runs in a process of its own, on one core, over the same store. `lessons` reads the
store, `folds` groups near-duplicates and deals them, `features` learns the vocabulary and makes
rows of all prompts, `train` fits the predictor and predicts out of fold, features included; `fit`
is the whole of `profiles.difficulty.fit.fit`. `seconds_by_function` is its time by function of
ours, callees included, under Python's profiler, which costs a little.
"""

from __future__ import annotations

import cProfile
import json
import os
import platform
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.made_prompts import STRATEGIES, WORKLOAD, make_store
from profiles.difficulty.fit import WEIGHT, fit
from profiles.difficulty.folds import folds
from profiles.difficulty.lessons import read_lessons
from profiles.difficulty.predicting.predictor import train
from profiles.difficulty.reading.recipes import RECIPES, Reading
from profiles.store.store import Store

RESULT = Path("benchmarks/results/difficulty_at_scale.json")
SEED = 11
SIZES = (1_000, 10_000, 100_000)
STEPS = ("lessons", "folds", "features", "train", "fit")
CLASSES, FOLDS = 3, 5
OURS = str(Path("profiles") / "difficulty")


def peak_gb() -> float:
    """Of this process, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def timed(step: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """What a step returns, and its seconds and memory."""
    before, wall, processor = peak_gb(), time.perf_counter(), time.process_time()
    found = step()
    return found, {
        "wall_s": round(time.perf_counter() - wall, 3),
        "processor_s": round(time.process_time() - processor, 3),
        "peak_gb": round(peak_gb(), 3),
        "peak_gb_before": round(before, 3),
    }


def run_step(name: str, file: Path) -> dict[str, Any]:
    """One step, in this process."""
    with Store.open(file) as store:
        if name == "fit":
            return whole_fit(store)
        lessons, row = timed(lambda: read_lessons(store, WORKLOAD))
        if name == "folds":
            found, row = timed(lambda: folds(lessons.prompts, FOLDS, SEED))
            row["groups"] = int(found.group_of.max()) + 1
            row["prompts_per_processor_s"] = round(len(lessons.prompts) / row["processor_s"])
        elif name == "features":
            (_, rows), row = timed(lambda: Reading.learn(RECIPES[WEIGHT], lessons.prompts))
            row["filled_per_prompt"] = round(rows.nnz / rows.shape[0], 1)
            row["prompts_per_processor_s"] = round(len(lessons.prompts) / row["processor_s"])
        elif name == "train":
            fold_of = folds(lessons.prompts, FOLDS, SEED).fold_of
            _, row = timed(lambda: train(lessons, fold_of, WEIGHT))
    return row


def whole_fit(store: Store) -> dict[str, Any]:
    """The public face, with what dominates it."""
    profiler = cProfile.Profile(time.process_time)
    estimator, row = timed(
        lambda: profiler.runcall(fit, store, WORKLOAD, classes=CLASSES, folds=FOLDS, seed=SEED)
    )
    spent = {
        f"{Path(file).stem}.{function}": cumulative
        for (file, _, function), (_, _, _, cumulative, _) in pstats.Stats(profiler).stats.items()  # type: ignore[attr-defined]
        if OURS in file and not function.startswith("<")
    }
    largest = sorted(spent.items(), key=lambda item: -item[1])[:12]
    row["seconds_by_function"] = {name: round(seconds, 2) for name, seconds in largest}
    row["r2"] = [round(quality.r2, 4) for quality in estimator.report.strategies]
    return row


def in_own_process(*arguments: str) -> dict[str, Any]:
    """One step, in a process of its own with one thread."""
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.difficulty_at_scale", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    return dict(json.loads(done.stdout))


def at_size(folder: Path, size: int) -> dict[str, Any]:
    """Every step at one size."""
    file = folder / f"{size}.duckdb"
    found: dict[str, Any] = {"queries": size, **in_own_process("make", str(file), str(size))}
    for step in STEPS:
        load = round(os.getloadavg()[0], 1)
        found[step] = in_own_process(step, str(file)) | {"load_average_at_start": load}
        print(size, step, found[step], file=sys.stderr, flush=True)
    file.unlink()
    return found


def growth_of(sizes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times the processor's seconds and the memory grow with ten times the queries."""
    return [
        {
            "queries": f"{small['queries']} to {large['queries']}",
            **{
                f"{step}_{what}": round(large[step][what] / small[step][what], 1)
                for step in STEPS
                for what in ("processor_s", "peak_gb")
            },
        }
        for small, large in pairwise(sizes)
    ]


def main() -> None:
    """Time and write."""
    if len(sys.argv) > 1:
        name, file = sys.argv[1], Path(sys.argv[2])
        if name == "make":
            make_store(file, int(sys.argv[3]), SEED)
        print(json.dumps({} if name == "make" else run_step(name, file)))
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = [at_size(Path(folder), size) for size in SIZES]
    result = {
        "strategies": STRATEGIES,
        "classes": CLASSES,
        "folds": FOLDS,
        "seed": SEED,
        "threads": 1,
        "sizes": sizes,
        "growth": growth_of(sizes),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("duckdb", "numpy", "onnxruntime", "scipy")},
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
