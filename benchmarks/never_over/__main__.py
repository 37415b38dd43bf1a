"""Never over: real gateways, a real store, a bill that somebody else keeps, and everything fails.

Each arm starts a model server that keeps its own bill, a store (Redis with its persistence, a
SQLite file, or none), gateways (`inferbudget serve`), and clients; harms all but the model server;
and compares the bill with every budget, the store and the audit log (`checks`). While it
runs, the store is asked again and again whether ``spent + held <= limit`` everywhere.

An arm whose result lies in the folder is not run again, so a run that was broken off goes on where
it was.

    python -m benchmarks.never_over [--arms NAME ...] [--requests N] [--seconds S] [--replicas N]
        [--faults KIND ...] [--seed N] [--folder DIR] [--result FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.never_over.arms import ARMS, Arm
from benchmarks.never_over.checks import write_json
from benchmarks.never_over.faults import ALL
from benchmarks.never_over.result import result_of
from benchmarks.never_over.run import TTL_S, Run

RESULT = Path(__file__).parents[1] / "results" / "never_over.json"


def _arms(asked: argparse.Namespace) -> list[Arm]:
    chosen = [arm for arm in ARMS if not asked.arms or any(part in arm.name for part in asked.arms)]
    if asked.replicas:
        chosen = [replace(arm, replicas=asked.replicas) for arm in chosen]
    if asked.faults is not None:
        chosen = [replace(arm, harm=tuple(asked.faults)) for arm in chosen]
    if asked.seconds:
        chosen = [replace(arm, seconds=asked.seconds) for arm in chosen]
    return chosen


def _machine() -> dict[str, Any]:
    server = subprocess.run(  # noqa: S603
        [shutil.which("redis-server") or "valkey-server", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "redis-py": version("redis"),
        "sqlite": sqlite3.sqlite_version,
        "uvicorn": version("uvicorn"),
        "aiohttp": version("aiohttp"),
        "server": server.stdout.split(" sha=")[0].strip(),
    }


def _summary(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of all arms; one whose store was emptied shows a limit that is documented, and no fault."""
    return {
        "requests": sum(row["requests"] for row in rows.values()),
        "answered": sum(part["answered"] for row in rows.values() for part in row["clients"]),
        "faults": sum(sum(row["harm"].values()) for row in rows.values()),
        "checks": sum(sum(row["checks"].values()) for row in rows.values()),
        "broken": {
            name: row["broken"]
            for name, row in rows.items()
            if row["broken"] and not row["arm"]["wiped"]
        },
    }


def main() -> None:
    """Run the arms and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="*", help="parts of their names; all where absent")
    parser.add_argument("--requests", type=int, default=1_000_000, help="of all arms together")
    parser.add_argument("--seconds", type=float, help="most of each arm")
    parser.add_argument("--replicas", type=int)
    parser.add_argument("--faults", nargs="*", choices=ALL)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="never-over-"))
    print(f"seed {asked.seed}, folder {folder}", flush=True)
    rows: dict[str, Any] = {}
    chosen = _arms(asked)
    whole = sum(arm.share for arm in chosen)
    for arm in chosen:
        place = folder.absolute() / arm.name.replace(" ", "-").replace(",", "").replace(
            "%", "percent"
        )
        done = place / "result.json"
        if not done.is_file():
            if place.exists():
                place.rename(place.with_name(f"{place.name}.broken-off-{int(time.time())}"))
            requests = round(asked.requests * arm.share / whole)
            run = Run(arm, place, requests, asked.seed)
            asyncio.run(run.run())
            write_json(done, {**result_of(run), "seconds": run.said["seconds"]})
        rows[arm.name] = json.loads(done.read_text())
        _print(arm.name, rows[arm.name])
        result = {"seed": asked.seed, "ttl_s": TTL_S, "summary": _summary(rows), "arms": rows}
        write_json(asked.result, {**result, "machine": _machine()})


def _print(name: str, row: Mapping[str, Any]) -> None:
    print(
        name,
        json.dumps({key: row[key] for key in row if key not in ("events", "arm", "course")}),
        flush=True,
    )


if __name__ == "__main__":
    main()
