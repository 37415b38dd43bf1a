"""How planning grows with the size of a profile: time, processor time and memory.

Certified questions on made profiles (`benchmarks.broken_promises.world`, 1,000 queries per class),
a floor halfway between the cheapest allocation and the best. Every size runs in processes of its
own, several times in turn, after a warm-up on a tiny profile. The steps:

- "build": estimates, the Pyomo model and its arrays, nothing solved;
- "first_plan": from the profile to the first certified plan, building included;
- "resolve": the floor moves and the same planner answers again, median of ten;
- "frontier": the certified frontier at twenty budgets, by the same planner.

    python -m benchmarks.plan_growth [--sizes 5x20 10x50] [--picture docs/images/plan_growth.png]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.broken_promises import Size, answered, measured, profile_of, size_of, spec_of, world
from planner.frontiers.frontier import frontier
from planner.planner import Planner
from planner.spec import Spec
from profiles.profile import Profile

RESULT = Path("benchmarks/results/plan_growth.json")
SEED = 40_000
SIZES = ((5, 20), (10, 50), (50, 200), (100, 400), (200, 500), (500, 200))
WARM_UP = (2, 4)
QUERIES = 1000
FLOOR, MOVED = 0.5, tuple(np.linspace(0.5, 0.7, 11)[1:].tolist())
"""Shares of the way from the cheapest allocation's accuracy to the best one's."""

POINTS = 20
RUNS = 3
LARGE = 1_000
"""Exponents are fitted to sizes of at least so many cells."""

STEPS = ("build", "first_plan", "resolve", "frontier")
DEFINITIONS = {
    "cells": "classes times strategies.",
    "processor_s": "of one process on one core; medians over runs, from the least to the most "
    "beside them. wall_s in the same way.",
    "build": "estimates, the Pyomo model and its arrays; nothing is solved.",
    "first_plan": "from the profile in memory to the first certified plan, building included.",
    "resolve": f"median of {len(MOVED)} moved floors, in rising order, by the same planner.",
    "frontier": f"the certified frontier at {POINTS} budgets, by the same planner.",
    "peak_above_profile_mb": "the process's peak memory by the end of the step, less that with the "
    "profile made and nothing planned; the largest of all runs.",
    "exponent": "of a power law in cells through processor seconds, least squares on logarithms, "
    f"over sizes of at least {LARGE:,} cells.",
}


class Clock:
    """Seconds and peak memory of steps."""

    def __init__(self) -> None:
        self.told: dict[str, dict[str, float]] = {}
        self._before = _peak_mb()

    def time(self, name: str, steps: Sequence[Callable[[], Any]]) -> None:
        """Run steps of one name; their median counts."""
        walls, processors = [], []
        for step in steps:
            wall, processor = time.perf_counter(), time.process_time()
            step()
            walls.append(time.perf_counter() - wall)
            processors.append(time.process_time() - processor)
        self.told[name] = {
            "wall_s": statistics.median(walls),
            "processor_s": statistics.median(processors),
            "peak_above_profile_mb": _peak_mb() - self._before,
        }


def grown(size: Size) -> dict[str, dict[str, float]]:
    """All steps at one size, in this process."""
    rng = np.random.default_rng([SEED, *size])
    truth = world(rng, size)
    profile = profile_of(measured(truth, rng, QUERIES, 0.0))
    spec = spec_of(profile, 0.95, {"overall": truth.floor(FLOOR)})
    clock, planners = Clock(), []

    def first() -> None:
        planners.append(Planner(profile, spec))
        _solved(planners[-1], truth.floor(FLOOR))

    clock.time("build", [partial(_built, profile, spec)])
    clock.time("first_plan", [first])
    floors = [truth.floor(share) for share in MOVED]
    clock.time("resolve", [partial(_solved, planners[-1], floor) for floor in floors])
    clock.time("frontier", [partial(frontier, planners[-1], POINTS)])
    return clock.told


def _built(profile: Profile, spec: Spec) -> None:
    planner = Planner(profile, spec)
    planner.programme(planner.limits)


def _solved(planner: Planner, floor: float) -> None:
    if answered(planner, floor) is None:
        raise RuntimeError(f"a floor of {floor:.4f} was refused")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def in_own_process(size: Size) -> dict[str, dict[str, float]]:
    """One size on one core."""
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.plan_growth", "--one", _name(size)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return dict(json.loads(done.stdout))


def summary_of(size: Size, runs: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians over runs."""
    row: dict[str, Any] = {
        "classes": size[0],
        "strategies": size[1],
        "cells": size[0] * size[1],
        "runs": len(runs),
    }
    for step in STEPS:
        found: dict[str, Any] = {}
        for clock in ("processor_s", "wall_s"):
            seconds = [run[step][clock] for run in runs]
            found[clock] = round(statistics.median(seconds), 5)
            found[f"{clock}_from_to"] = [round(min(seconds), 5), round(max(seconds), 5)]
        peak = max(run[step]["peak_above_profile_mb"] for run in runs)
        row[step] = found | {"peak_above_profile_mb": round(peak, 1)}
    return row


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """By step; None with fewer than two large sizes."""
    large = [row for row in rows if row["cells"] >= LARGE]
    cells = np.log([row["cells"] for row in large])
    if len(set(cells.tolist())) < 2:
        return dict.fromkeys(STEPS)
    seconds = {step: np.log([row[step]["processor_s"] for row in large]) for step in STEPS}
    return {step: round(float(np.polyfit(cells, of, 1)[0]), 2) for step, of in seconds.items()}


def picture(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Processor seconds and memory against cells, both axes logarithmic."""
    import altair as alt  # noqa: PLC0415 - timing needs no pictures

    words = {
        "build": "build",
        "first_plan": "first certified plan, build included",
        "resolve": "moved floor, planned again",
        "frontier": f"certified frontier, {POINTS} budgets",
    }
    points = [
        {
            "cells": row["cells"],
            "size": f"{row['classes']} x {row['strategies']}",
            "step": words[step],
            "seconds": row[step]["processor_s"],
            "megabytes": max(row[step]["peak_above_profile_mb"], 1),
        }
        for row in rows
        for step in STEPS
    ]
    log, powers = alt.Scale(type="log"), [10.0**power for power in range(-3, 6)]
    x = alt.X("cells:Q", title="classes x strategies", scale=log).axis(values=powers)
    seconds = (
        alt.Chart(alt.Data(values=points))
        .mark_line(point=True)
        .encode(
            x=x,
            y=alt.Y("seconds:Q", title="processor seconds", scale=log).axis(values=powers),
            color=alt.Color("step:N", title=None, sort=list(words.values())),
        )
    )
    memory_axis = alt.Y("megabytes:Q", title="peak above profile, MB", scale=log)
    memory_axis = memory_axis.axis(values=powers)
    memory = (
        alt.Chart(alt.Data(values=[p for p in points if p["step"] == words["frontier"]]))
        .mark_line(point={"color": "#444444"}, color="#444444")
        .encode(x=x, y=memory_axis)
    )
    both = [chart.properties(width=330, height=260) for chart in (seconds, memory)]
    alt.hconcat(*both).save(str(path), scale_factor=2)


def main() -> None:
    """Time and write."""
    chosen = _arguments()
    if chosen.one:
        grown(WARM_UP)
        print(json.dumps(grown(chosen.one)))
        return
    before = round(os.getloadavg()[0], 1)
    jobs = [size for _ in range(RUNS) for size in chosen.sizes]
    runs: dict[Size, list[dict[str, dict[str, float]]]] = {size: [] for size in chosen.sizes}
    for size in tqdm(jobs, disable=None, leave=False, unit=" runs"):
        runs[size].append(in_own_process(size))
    rows = [summary_of(size, runs[size]) for size in chosen.sizes]
    loads = [before, round(os.getloadavg()[0], 1)]
    result = {
        "definitions": DEFINITIONS,
        "seed": SEED,
        "queries_per_class": QUERIES,
        "confidence": 0.95,
        "sizes": rows,
        "exponents": exponents(rows),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load_average_before_and_after": loads,
            "python": platform.python_version(),
            **{name: version(name) for name in ("highspy", "numpy", "pyomo", "scipy")},
        },
    }
    for row in rows:
        print(row["classes"], row["strategies"], {step: row[step] for step in STEPS})
    print(result["exponents"], loads)
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    if chosen.picture:
        picture(rows, chosen.picture)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_growth")
    parser.add_argument("--sizes", type=size_of, nargs="+", default=SIZES, metavar="5x20")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--picture", type=Path, help="where to draw it; needs altair")
    parser.add_argument("--one", type=size_of, help=argparse.SUPPRESS)
    return parser.parse_args()


def _name(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


if __name__ == "__main__":
    main()
