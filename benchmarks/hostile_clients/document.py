"""Schemathesis, driven by the OpenAPI document: right and wrong data for every operation."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from benchmarks.hostile_clients import world
from benchmarks.hostile_clients.exchanges import Tally
from benchmarks.hostile_clients.running import Running

DOCUMENT = Path("docs/reference/openapi.json")
PROGRAM: Path | None = None
_HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
_PHASES = "examples,coverage,fuzzing"


async def attack(running: Running, tally: Tally, seed: int, count: int) -> None:
    """Run it.

    Args:
        running: The gateway.
        tally: Counts.
        seed: Of its data.
        count: Examples for each operation.
    """
    report, counts = running.folder / "schemathesis.json", running.folder / "counts.json"
    command = [str(PROGRAM), "run", str(DOCUMENT), "--url", f"http://127.0.0.1:{running.port}"]
    command += ["-H", f"authorization: Bearer {world.KEYS['fuzz']}", "--checks", "all"]
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += ["--max-examples", str(count), "--seed", str(seed), "--continue-on-failure"]
    command += ["--phases", _PHASES, "--report-json-path", str(report), "--no-shrink"]
    command += ["--generation-database", "none", "--no-color", "--warnings", "off"]
    command += ["--suppress-health-check", "all"]
    environ = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": str(_HOOKS),
        "HOSTILE_CLIENTS_COUNTS": str(counts),
        "PYTHONPATH": "",
    }
    with (running.folder / "schemathesis.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env=environ
        )
        await process.wait()
    found = json.loads(report.read_text())
    tally.requests = found["test_cases"]["generated"]
    for name, seen in json.loads(counts.read_text()).items():
        operation, _, status = name.rpartition(" ")
        tally.statuses[operation][status] += seen
        if int(status) >= 500:
            tally.fail(f"{operation}: {status}")
    if not found["complete"] or found["test_cases"]["errored"]:
        tally.fail(f"schemathesis did not end well: {found['stop_reason']}")
    for failure in found["failures"]:
        tally.fail(f"{failure['code']} {failure['title']}: {', '.join(failure['operations'])}")
