"""The product's own way from recorded answers to policies: measure, fit, plan, compile.

Each step is the public command as its own process. The profile is measured on other problems than
those that the traffic asks, so a policy meets strangers, as it would.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.replayed_traffic.answers import record
from benchmarks.replayed_traffic.upstream import PRICES
from demo.stages import SCORING
from demo.tasks import Problem, problems

PROGRAM = str(Path(sys.executable).with_name("inferbudget"))
WORKLOAD = "demo"
PROFILE_SEED, TRAFFIC_SEED = 1, 2
STRATEGIES = tuple(
    line
    for line in Path("demo/strategies.txt").read_text().splitlines()
    if line and not line.startswith("#") and "self_consistency" not in line
    if "single(max_tokens=56,temperature=0.8)" not in line
)
"""Those whose calls are recorded."""
ACCURACY_FLOOR = 0.5
RUNGS = (1.0, 0.75, 0.5, 0.25)
PART_S = 30
"""Seconds of a part of the day's shape."""
DAY_S = 86_400


@dataclass(frozen=True)
class Material:
    """What all arms share.

    Attributes:
        folder: Where it is kept.
        profile: Problems that the profile is measured on, at most.
        traffic: Problems that the traffic asks.
        p95_s: What 95 % of the answers have to keep.
    """

    folder: Path
    profile: int
    traffic: int
    p95_s: float

    @property
    def answers(self) -> Path:
        """Recorded answers."""
        return self.folder / "answers.jsonl"

    @property
    def profiles(self) -> Path:
        """The store that plans are made from."""
        return self.folder / "profiles.duckdb"

    @property
    def outcomes(self) -> Path:
        """The store of what every strategy brings on the traffic's problems: hindsight's."""
        return self.folder / "outcomes.duckdb"

    def asked(self) -> list[Problem]:
        """The traffic's problems."""
        return problems(TRAFFIC_SEED, self.traffic)

    def prepare(self) -> None:
        """Record, measure and fit whatever is not there yet.

        Raises:
            SystemExit: The folder was made for other sizes.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        sizes, kept = [self.profile, self.traffic, self.p95_s], self.folder / "sizes.json"
        if kept.exists() and json.loads(kept.read_text()) != sizes:
            raise SystemExit(
                f"{kept}: expected {sizes}, got {kept.read_text()}; name another folder"
            )
        kept.write_text(json.dumps(sizes))
        profiled, asked = problems(PROFILE_SEED, self.profile), self.asked()
        asyncio.run(record([one.prompt for one in (*profiled, *asked)], self.answers))
        with model_server(self.answers) as url:
            self._measure(url, profiled, self.profiles)
            self._measure(url, asked, self.outcomes)
        if not (self.folder / "difficulty.onnx").exists():
            run("difficulty", "fit", "--profiles", str(self.profiles), "--workload", WORKLOAD,
                "--classes", "5", "-o", str(self.folder / "difficulty.onnx"))  # fmt: skip

    def _measure(self, url: str, rows: Sequence[Problem], store: Path) -> None:
        if store.with_suffix(".done").exists():
            return
        asked = store.with_suffix(".jsonl")
        said = [{"query": one.query_id, "prompt": one.prompt} for one in rows]
        asked.write_text("".join(json.dumps(row) + "\n" for row in said))
        options = [word for text in STRATEGIES for word in ("--strategy", text)]
        run("profile", "measure", str(asked), "--profiles", str(store), "--workload", WORKLOAD,
            "--upstream", f"{url}/v1", "--prices", str(PRICES), *SCORING, *options,
            "--concurrency", "24")  # fmt: skip
        store.with_suffix(".done").touch()

    def best(self) -> dict[str, Any]:
        """The first rung of the most accurate plan in time, whatever it costs."""
        file = self.folder / "best" / "plan.json"
        if not file.exists():
            self._plan(file.parent, rungs=[1.0])
        found: dict[str, Any] = json.loads(file.read_text())["rungs"][0]
        return found

    def policy(self, folder: Path, requests: int, usd: float, span: tuple[int, int]) -> Path:
        """A policy for a day's budget, all of whose traffic is forecast within a span.

        Args:
            folder: For its files.
            requests: Forecast.
            usd: Budget.
            span: Unix times of its begin and end, in whole parts of the day.
        """
        shape = [0] * (DAY_S // PART_S)
        for at_s in range(*span, PART_S):
            shape[at_s % DAY_S // PART_S] = 1
        self._plan(
            folder,
            traffic={"requests": requests, "per": "day", "shape": shape},
            limits={"spend": {"usd": round(usd, 9), "per": "day"}},
            rungs=list(RUNGS),
        )
        run("compile", str(folder / "plan.json"), "-o", str(folder / "policy.yaml"))
        return folder / "policy.yaml"

    def _plan(self, folder: Path, *, limits: dict[str, Any] | None = None, **more: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        spec = {
            "format_version": "1.0",
            "workload": WORKLOAD,
            "objective": "maximize accuracy",
            "classes": str((self.folder / "difficulty.onnx").resolve()),
            "limits": {
                "accuracy": {"overall": ACCURACY_FLOOR},
                "latency": {"p95_s": self.p95_s},
                **(limits or {}),
            },
            "confidence": 0.95,
            "prices": str(PRICES.resolve()),
            **more,
        }
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, default_flow_style=None))
        run("plan", str(folder / "spec.yaml"), "--profiles", str(self.profiles),
            "-o", str(folder / "plan.json"))  # fmt: skip


def run(*words: str) -> None:
    """One command of the product.

    Raises:
        SystemExit: It failed; with all that it said.
    """
    ended = subprocess.run([PROGRAM, *words], check=False, capture_output=True, text=True)  # noqa: S603
    if ended.returncode:
        raise SystemExit(f"inferbudget {words[0]}: {ended.stdout}{ended.stderr}")


@contextmanager
def model_server(answers: Path) -> Iterator[str]:
    """The server that repeats recorded answers; yields its URL."""
    command = [sys.executable, "-m", "benchmarks.replayed_traffic.upstream", str(answers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            if not port:
                raise SystemExit("the model server did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
