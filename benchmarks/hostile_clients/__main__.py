"""Hostile clients: a running gateway under requests that are meant to harm it, and its books after.

Each part starts the real gateway (`inferbudget serve` with tenants, a SQLite store, audit log,
recorder, traces and JSON logs) in front of a model server that keeps its own bill, sends what its
module makes, and asks the oracle: the gateway lives, its memory is bounded, no 5xx was its own, the
bill is no more than was charged and within every budget, no other tenant's account moved by a
nano-dollar, and no key or prompt stands in logs, audit log, records, traces or metrics.

Cases are made of the seed and their number. A part whose result lies in the folder is not run
again, so a run that was broken off goes on where it was.

    python -m benchmarks.hostile_clients [--parts NAME ...] [--scale X] [--seed N] [--folder DIR]
        [--schemathesis PROGRAM] [--result FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.hostile_clients import (
    bodies,
    document,
    forged,
    huge,
    oracle,
    proxies,
    slow,
    wire,
)
from benchmarks.hostile_clients.exchanges import Tally
from benchmarks.hostile_clients.running import Running, running
from benchmarks.never_over.checks import write_json

RESULT = Path(__file__).parents[1] / "results" / "hostile_clients.json"
Attack = Callable[[Running, Tally, int, int], Awaitable[None]]
PARTS: Mapping[str, tuple[Attack, int]] = {
    "document": (document.attack, 1500),
    "wire": (wire.attack, 40_000),
    "bodies": (bodies.attack, 40_000),
    "slow": (slow.attack, 400),
    "huge": (huge.attack, 400),
    "proxies": (proxies.attack, 3000),
    "forged": (forged.attack, 6000),
}
"""Each with how many cases; of `document` examples for each operation and phase."""


def _part(name: str, folder: Path, seed: int, scale: float) -> dict[str, Any]:
    attack, count = PARTS[name]
    tally, began_s = Tally(), time.monotonic()
    with running(folder) as found:
        before = found.ledger()
        asyncio.run(attack(found, tally, seed, max(round(count * scale), 1)))
        oracle.check(found, tally, before)
    oracle.check_files(folder, tally)
    return {
        "requests": tally.requests,
        "seconds": round(time.monotonic() - began_s, 1),
        "load": [round(one, 1) for one in os.getloadavg()],
        "statuses": {kind: dict(sorted(seen.items())) for kind, seen in tally.statuses.items()},
        **tally.figures,
        "failures": tally.failures,
    }


def main() -> None:
    """Run the parts and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="times the cases of each part")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    parser.add_argument(
        "--schemathesis", type=Path, help="its program, of an environment of its own"
    )
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args()
    folder = (asked.folder or Path(tempfile.mkdtemp(prefix="hostile-clients-"))).absolute()
    document.PROGRAM = asked.schemathesis
    print(f"seed {asked.seed}, folder {folder}", flush=True)
    rows: dict[str, Any] = {}
    for name in asked.parts:
        if name == "document" and asked.schemathesis is None:
            print("document is left out: it needs --schemathesis", flush=True)
            continue
        done = folder / name / "result.json"
        if not done.is_file():
            place = folder / name
            if place.exists():
                place.rename(place.with_name(f"{name}.broken-off-{int(time.time())}"))
            place.mkdir(parents=True)
            write_json(done, _part(name, place, asked.seed, asked.scale))
        rows[name] = json.loads(done.read_text())
        print(name, json.dumps(rows[name])[:3000], flush=True)
        write_json(asked.result, _result(rows, asked.seed))


def _result(rows: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "requests": sum(row["requests"] for row in rows.values()),
        "failures": sum(len(row["failures"]) for row in rows.values()),
        "parts": rows,
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "python": platform.python_version(),
            "uvicorn": version("uvicorn"),
            "httptools": version("httptools"),
        },
    }


if __name__ == "__main__":
    main()
