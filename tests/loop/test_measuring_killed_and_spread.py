"""`profile measure` on the demo's model server: killed, out of money, spread over a cluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure_killed import CONCURRENCY, SAME, STRATEGIES, measured
from demo.tasks import problems
from profiles.observation import Observation
from profiles.store.store import Store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).parent / "inferbudget")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    command = [sys.executable, "-m", "demo.server", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["url"]
        server.send_signal(signal.SIGTERM)


def billed(upstream: str) -> tuple[int, int]:
    with urllib.request.urlopen(f"{upstream}/bill") as reply:  # noqa: S310
        bill = json.load(reply)
    calls = sum(line["requests"] for line in bill["by_model"].values())
    return calls, bill["total_nano_usd"]


def command(folder: Path, upstream: str, count: int, *more: str) -> list[str]:
    tasks = folder / f"tasks-{count}.jsonl"
    rows = [{"query": p.query_id, "prompt": p.prompt} for p in problems(5, count)]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [word for text in STRATEGIES for word in ("--strategy", text)]
    return [
        COMMAND, "profile", "measure", str(tasks), "--profiles", str(folder / "store.duckdb"),
        "--workload", "w", "--endpoint", f"{upstream}/v1", "--prices", "demo/prices.yaml",
        "--scorer", "demo.tasks:score", "--verifier", "checker=demo.tasks:check",
        "--extractor", "demo.tasks:final_answer", "--format", "json", *options, *more,
    ]  # fmt: skip


def run(words: list[str], code: int = 0) -> dict[str, Any]:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(folder: Path) -> list[Observation]:
    with Store.open(folder / "store.duckdb") as store:
        return store.observations("w")


def timeless(found: list[Observation]) -> list[tuple[Any, ...]]:
    return sorted(tuple(getattr(row, name) for name in SAME) for row in found)


def test_a_killed_and_resumed_run_pays_for_the_calls_in_flight_and_stores_the_same_rows() -> None:
    found = asyncio.run(measured(count=16, seed=3, kills=2))
    straight, killed = found["straight"], found["killed"]
    assert [kill["exit_code"] for kill in killed["kills"]] == [-signal.SIGKILL] * 2
    in_flight = [kill["calls_in_flight"] for kill in killed["kills"]]
    assert all(0 <= calls <= CONCURRENCY for calls in in_flight)
    assert 0 <= killed["calls"] - straight["calls"] <= sum(in_flight)
    assert straight["spent_usd"] * 1e9 == pytest.approx(straight["nano_usd"], abs=1)
    assert found["rows_identical_but_for_time"]
    assert found["journals_left"] == []


def test_a_spend_cap_holds_and_the_next_runs_finish_at_the_price_of_one(
    tmp_path: Path, upstream: str
) -> None:
    before = billed(upstream)
    capped = run(command(tmp_path, upstream, 20, "--max-usd", "0.002"), code=1)
    paid = billed(upstream)[1] - before[1]
    assert 0 < paid <= 2_000_000
    assert capped["spent_usd"] == pytest.approx(paid / 1e9)
    assert capped["left"] == 100 - capped["measured"] > 0
    assert "no room" in capped["stopped"]
    rest = run(command(tmp_path, upstream, 20))
    assert rest["resumed"] == capped["measured"]
    assert sum(row.cost_usd or 0 for row in rows(tmp_path)) * 1e9 == pytest.approx(
        billed(upstream)[1] - before[1]
    )


def test_levels_of_concurrency_are_rows_of_their_own(tmp_path: Path, upstream: str) -> None:
    report = run(command(tmp_path, upstream, 6, "--concurrency", "1,4"))
    assert (report["planned"], report["measured"]) == (60, 60)
    found = rows(tmp_path)
    assert sorted({row.concurrency for row in found if row.concurrency}) == [1, 4]
    assert all(row.answer is not None and row.verdict in {0.0, 1.0} for row in found)


def test_a_cluster_stores_the_same_rows_at_the_same_price_even_after_a_kill(
    tmp_path: Path, upstream: str
) -> None:
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    alone.mkdir()
    spread.mkdir()
    before = billed(upstream)
    run(command(alone, upstream, 30, "--concurrency", "4"))
    between = billed(upstream)
    words = command(spread, upstream, 30, "--concurrency", "4", "--ray", "local", "--shards", "2")
    kill_a_driver(words, upstream)
    report = run(words)
    after = billed(upstream)
    assert report["measured"] + report["resumed"] == 150
    assert timeless(rows(alone)) == timeless(rows(spread))
    assert 0 <= (after[0] - between[0]) - (between[0] - before[0]) <= 4
    assert list(spread.glob("*.calls*")) == []


def kill_a_driver(words: list[str], upstream: str) -> None:
    """Kill it, and with it its cluster, while its shards pay."""
    calls = billed(upstream)[0]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while billed(upstream)[0] < calls + 20:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    calm = billed(upstream)[0]
    while True:  # workers that outlive the driver end by themselves
        time.sleep(2)
        if calm == (calm := billed(upstream)[0]):
            return
