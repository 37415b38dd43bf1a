"""The stages of the demo, each a public command run as its own process."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.report import Baseline, Report
from demo.tasks import Problem, problems
from demo.traffic import Traffic, drive

HERE = Path("demo")
COMMAND = str(Path(sys.executable).parent / "inferbudget")
SCORING = [
    "--scorer", "demo.tasks:score",
    "--verifier", "checker=demo.tasks:check",
    "--extractor", "demo.tasks:final_answer",
]  # fmt: skip


SINGLE = "demo-large/single(max_tokens=56,temperature=0)"
BEST_OF_16 = "demo-large/best_of_n(max_tokens=56,n=16,temperature=0.8,verifier=checker)"


@dataclass(frozen=True)
class Upstream:
    """A running model server.

    Attributes:
        url: Base URL.
        provider: The ONNX Runtime execution provider that really runs the models.
        models: Names of the models.
    """

    url: str
    provider: str
    models: tuple[str, ...]

    def bill_nano_usd(self) -> int:
        """What the server itself says it is owed."""
        with urllib.request.urlopen(f"{self.url}/bill") as reply:  # noqa: S310
            return int(json.load(reply)["total_nano_usd"])

    def reset_bill(self) -> None:
        """Start a new bill."""
        request = urllib.request.Request(f"{self.url}/bill/reset", method="POST")  # noqa: S310
        with urllib.request.urlopen(request):  # noqa: S310
            pass


@contextmanager
def upstream() -> Iterator[Upstream]:
    """The demo's model server, as its own process."""
    command = [sys.executable, "-m", "demo.server", "--port", "0"]
    with _process(command) as ready:
        yield Upstream(ready["url"], ready["provider"], tuple(ready["models"]))


@dataclass(frozen=True)
class Workload:
    """Problems drawn from one seed.

    Attributes:
        out: Folder of every file that the demo writes.
        seed: Of the problems.
        count: How many.
    """

    out: Path
    seed: int
    count: int

    def problems(self) -> list[Problem]:
        """The same list for the same seed and count."""
        return problems(self.seed, self.count)

    def measure(self, server: Upstream, store: Path, strategies: list[str]) -> None:
        """Run strategies on the problems; what the store already holds is kept."""
        path = self.out / f"problems-{self.seed}.jsonl"
        rows = [{"query": p.query_id, "prompt": p.prompt} for p in self.problems()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = [word for text in strategies for word in ("--strategy", text)]
        _stage("profile", "measure", str(path), "--profiles", str(store), "--workload", "demo",
               "--upstream", f"{server.url}/v1", "--prices", str(HERE / "prices.yaml"),
               *SCORING, *options, "--concurrency", "24")  # fmt: skip


def measure(work: Workload, server: Upstream) -> None:
    """Measure every strategy on the profile's problems."""
    lines = (HERE / "strategies.txt").read_text().splitlines()
    strategies = [line for line in lines if line and not line.startswith("#")]
    work.measure(server, work.out / "profiles.duckdb", strategies)


def make_policy(out: Path) -> None:
    """Learn difficulty, solve the plan and compile the policy."""
    store = str(out / "profiles.duckdb")
    for name in ("spec.yaml", "prices.yaml"):
        shutil.copy(HERE / name, out / name)
    _stage("difficulty", "fit", "--profiles", store, "--workload", "demo",
           "--classes", "5", "-o", f"{out}/difficulty.onnx")  # fmt: skip
    _stage("plan", f"{out}/spec.yaml", "--profiles", store, "-o", f"{out}/plan.json")
    _stage("compile", f"{out}/plan.json", "-o", f"{out}/policy.yaml")
    _stage("check", f"{out}/policy.yaml")


def serve_traffic(work: Workload, server: Upstream, *, per_s: float) -> Traffic:
    """Serve the policy and drive the problems through it at random times."""
    server.reset_bill()
    command = [COMMAND, "serve", f"{work.out}/policy.yaml", "--upstream", f"{server.url}/v1",
               "--port", "0", *SCORING[2:]]  # fmt: skip
    print(f"\n$ {_shown(command)}\n{work.count} requests, {per_s:g} per second ...", flush=True)
    with _process(command) as ready:
        found = asyncio.run(drive(ready["url"], work.problems(), per_s=per_s, seed=work.seed))
        with urllib.request.urlopen(f"{ready['url']}/ledger") as reply:  # noqa: S310
            ledger = json.load(reply)
    return found.billed(
        ledger=ledger, upstream_nano_usd=server.bill_nano_usd(), provider=ready["provider"]
    )


def baselines(work: Workload, server: Upstream) -> dict[str, Baseline]:
    """One strategy for everything, on the traffic's problems and the same upstream."""
    chosen = _single_strategies(work.out)
    rows = {text: _baseline(work, server, text) for text in dict.fromkeys(chosen.values())}
    return {name: rows[text] for name, text in chosen.items()}


def picture(out: Path, report: Report) -> None:
    """The frontier with the plan, the outcome and the baselines on it, as PNG."""
    from app.charts.frontier import frontier_chart

    points = json.loads(
        _output("frontier", f"{out}/spec.yaml", "--profiles", f"{out}/profiles.duckdb",
                "--points", "40", "--format", "json")
    )["points"]  # fmt: skip
    baselines = [{**mark, "best": True} for mark in report.baseline_marks()]
    chart = frontier_chart(points, baselines, report.outcome_mark(), width=720)
    chart.save(str(out / "frontier.png"), scale_factor=2)


def _baseline(work: Workload, server: Upstream, text: str) -> Baseline:
    store = work.out / f"baselines-{work.seed}.duckdb"
    work.measure(server, store, [text])
    row = next(row for row in _cells(store) if row["strategy"] == text)
    return Baseline.build(row, requests=work.count)


def _cells(store: Path) -> list[dict[str, Any]]:
    shown = _output("profile", "show", "--profiles", str(store), "--workload", "demo",
                    "--format", "json")  # fmt: skip
    rows: list[dict[str, Any]] = json.loads(shown)["cells"]
    return rows


def _single_strategies(out: Path) -> dict[str, str]:
    """The baselines, chosen from the profile alone and never from the traffic's problems."""
    rows = _cells(out / "profiles.duckdb")
    plan = json.loads((out / "plan.json").read_text())
    planned = plan["rungs"][0]["expected"]["accuracy"]
    best = max(row["accuracy"] for row in rows)
    as_good = [row for row in rows if row["accuracy"] >= min(planned, best)]
    cheapest = min(as_good, key=lambda row: row["cost_usd"])
    chosen = {"single_everywhere": SINGLE, "best_of_16_everywhere": BEST_OF_16}
    if plan["best_single_strategy"]:
        within = plan["best_single_strategy"]["strategy"]
        chosen["best_single_strategy_within_budget"] = within
    return chosen | {"single_strategy_at_equal_accuracy": cheapest["strategy"]}


def _stage(*words: str) -> None:
    started = time.monotonic()
    print(f"\n$ {_shown([COMMAND, *words])}", flush=True)
    code = subprocess.run([COMMAND, *words], check=False).returncode  # noqa: S603
    if code:
        raise SystemExit(code)
    print(f"({time.monotonic() - started:.1f} s)", flush=True)


def _output(*words: str) -> str:
    return subprocess.run(  # noqa: S603
        [COMMAND, *words], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def _shown(command: list[str]) -> str:
    words = ["inferbudget" if word == COMMAND else word for word in command]
    strategies = words.count("--strategy")
    if strategies > 1:
        first = words.index("--strategy")
        words[first : first + 2 * strategies] = [f"[--strategy ... x {strategies}]"]
    return " ".join(f"'{word}'" if "(" in word else word for word in words)


@contextmanager
def _process(command: list[str]) -> Iterator[dict[str, Any]]:
    """A server that prints one JSON line when it is ready; stopped with SIGTERM."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SystemExit(f"{_shown(command)} ended with {process.wait()}")
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
