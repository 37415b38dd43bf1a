"""`profile measure` killed five times with SIGKILL: the server's bill, next to a run left alone.

A counting door stands before the demo's model server and passes every call on. The calls in flight
at a kill are those that went through the door and whose reply the command had not kept yet, in its
journal or its store; each worker has one call at a time, so they are at most the concurrency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from demo.server.app import running_server
from demo.tasks import problems
from profiles.store.store import Store
from runtime.journal import journal_of

RESULT = Path("benchmarks/results/measure_killed.json")
COMMAND = str(Path(sys.executable).parent / "inferbudget")
CONCURRENCY = 8
KILLS = 5
STRATEGIES = (
    "demo-small/single(max_tokens=56,temperature=0)",
    "demo-large/single(max_tokens=56,temperature=0.8)",
    "demo-small/self_consistency(k=8,max_tokens=56,temperature=0.8)",
    "demo-large/best_of_n(batch=4,max_tokens=56,n=16,temperature=0.8,verifier=checker)",
    "cascade(accept=checker,stages=[demo-small/single(max_tokens=56,temperature=0),"
    "demo-large/best_of_n(max_tokens=56,n=16,temperature=0.8,verifier=checker)])",
)
SAME = ("query_id", "strategy", "sample", "concurrency", "score", "cost_usd", "tokens_in",
        "tokens_out", "calls", "answer", "verdict")  # fmt: skip


class Door:
    """Passes calls on to the server and counts those in flight."""

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self.in_flight = 0
        self.begun = 0
        self._server = server
        self._session = session

    async def handle(self, request: web.Request) -> web.Response:
        """One call, there and back."""
        self.in_flight += 1
        self.begun += 1
        try:
            body = await request.read()
            headers = {"Content-Type": "application/json"}
            url = f"{self._server}{request.path}"
            async with self._session.post(url, data=body, headers=headers) as reply:
                return web.Response(
                    status=reply.status,
                    body=await reply.read(),
                    content_type="application/json",
                )
        finally:
            self.in_flight -= 1

    async def first_call(self, process: asyncio.subprocess.Process) -> None:
        """Wait until the process asks for something."""
        while not self.in_flight and process.returncode is None:
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """The door's URL until the block ends."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.handle)
        # whoever leaves cancels the call behind, as without a door
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class Runs:
    """Runs of the command against one server, each into a store of its own."""

    def __init__(self, folder: Path, count: int, server: str, session: aiohttp.ClientSession):
        self.folder = folder
        self.server = server
        self.session = session
        self.tasks = folder / "tasks.jsonl"
        rows = [{"query": p.query_id, "prompt": p.prompt} for p in problems(11, count)]
        self.tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))

    async def start(self, name: str, endpoint: str) -> asyncio.subprocess.Process:
        """The public command as its own process."""
        options = [word for text in STRATEGIES for word in ("--strategy", text)]
        return await asyncio.create_subprocess_exec(
            COMMAND, "profile", "measure", str(self.tasks), "--profiles", str(self.store(name)),
            "--workload", "killed", "--endpoint", f"{endpoint}/v1", "--prices", "demo/prices.yaml",
            "--scorer", "demo.tasks:score", "--verifier", "checker=demo.tasks:check",
            "--extractor", "demo.tasks:final_answer", *options,
            "--concurrency", str(CONCURRENCY), "--format", "json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def finish(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        """The report of a run that is left alone."""
        out, errors = await process.communicate()
        if process.returncode:
            raise SystemExit(f"the command ended with {process.returncode}: {errors.decode()}")
        report: dict[str, Any] = json.loads(out)
        return report

    def store(self, name: str) -> Path:
        """Where a run stores."""
        return self.folder / f"{name}.duckdb"

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """What a run stored, without latencies and times."""
        with Store.open(self.store(name), read_only=True) as store:
            found = store.observations("killed")
        return sorted(tuple(getattr(row, name) for name in SAME) for row in found)

    def calls_kept(self, name: str) -> int:
        """Calls whose reply outlives a kill: of stored outcomes, and in the journal."""
        with Store.open(self.store(name)) as store:
            rows = store.observations("killed")
        stored = {(row.query_id, row.strategy, row.sample, row.concurrency) for row in rows}
        journal = journal_of(self.store(name))
        content = journal.read_bytes() if journal.exists() else b""
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        open_calls = [line for line in lines if tuple(json.loads(line)["outcome"]) not in stored]
        return sum(row.calls or 0 for row in rows) + len(open_calls)

    async def bill(self) -> dict[str, int]:
        """What the server has billed since it was reset."""
        async with self.session.get(f"{self.server}/bill") as reply:
            bill = await reply.json()
        calls = sum(line["requests"] for line in bill["by_model"].values())
        return {"calls": calls, "nano_usd": bill["total_nano_usd"]}

    async def reset(self) -> None:
        """Start a new bill."""
        async with self.session.post(f"{self.server}/bill/reset"):
            pass


async def killed_run(runs: Runs, door: Door, url: str, kill_after_s: list[float]) -> dict[str, Any]:
    """Kill the command at random moments while it pays, then let it finish."""
    kills: list[dict[str, Any]] = []
    begun_before = door.begun
    for wait_s in kill_after_s:
        process = await runs.start("killed", url)
        await door.first_call(process)
        await asyncio.sleep(wait_s)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        at_the_server = door.in_flight
        await process.wait()
        await asyncio.sleep(0.2)  # what was sent before the kill may still be on its way
        while door.in_flight:
            await asyncio.sleep(0.01)
        begun = door.begun - begun_before
        lost = begun - runs.calls_kept("killed") - sum(kill["calls_in_flight"] for kill in kills)
        kill = {"exit_code": process.returncode, "calls_begun_before": begun}
        kills.append(kill | {"calls_in_flight": lost, "of_these_at_the_server": at_the_server})
    report = await runs.finish(await runs.start("killed", url))
    return {"kills": kills, "last_run": report}


async def measured(count: int, seed: int, kills: int = KILLS) -> dict[str, Any]:
    """A run left alone and a run killed at random moments, with their bills."""
    rng = random.Random(seed)
    async with running_server() as server, aiohttp.ClientSession() as session:
        door = Door(server, session)
        with tempfile.TemporaryDirectory() as folder:
            runs = Runs(Path(folder), count, server, session)
            async with door.open() as url:
                process = await runs.start("straight", url)
                await door.first_call(process)
                started = time.perf_counter()
                straight = await runs.finish(process)
                took_s = time.perf_counter() - started
                straight_bill = await runs.bill()
                await runs.reset()
                moments = [rng.uniform(0.02, took_s / (kills + 1)) for _ in range(kills)]
                killed = await killed_run(runs, door, url, moments)
                killed_bill = await runs.bill()
            same = runs.rows("straight") == runs.rows("killed")
            left = [str(path.name) for path in Path(folder).glob("*.calls")]
    return {
        "outcomes": straight["measured"],
        "straight": straight_bill | {"spent_usd": straight["spent_usd"]},
        "killed": killed_bill | killed,
        "rows_identical_but_for_time": same,
        "journals_left": left,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="queries")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    found = asyncio.run(measured(arguments.count, arguments.seed))
    cut_off = sum(kill["calls_in_flight"] for kill in found["killed"]["kills"])
    more = {key: found["killed"][key] - found["straight"][key] for key in ("calls", "nano_usd")}
    result = {
        "queries": arguments.count,
        "strategies": STRATEGIES,
        "concurrency": CONCURRENCY,
        "seed": arguments.seed,
        **found,
        "calls_in_flight_at_kills": cut_off,
        "billed_more_than_straight": more,
        "share_billed_more": round(more["nano_usd"] / found["straight"]["nano_usd"], 6),
        "holds": more["calls"] <= cut_off <= KILLS * CONCURRENCY
        and found["rows_identical_but_for_time"],
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "aiohttp": version("aiohttp"),
            "duckdb": version("duckdb"),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
