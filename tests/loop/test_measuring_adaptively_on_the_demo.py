"""`profile measure --adaptive` on the demo's model server, for a spec with fitted classes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.tasks import problems
from profiles.store.store import Store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).parent / "inferbudget")
CHECKED = "max_tokens=56,temperature=0.8,verifier=checker"
STRATEGIES = (
    "demo-small/single(max_tokens=56,temperature=0)",
    "demo-large/single(max_tokens=56,temperature=0)",
    f"demo-small/best_of_n({CHECKED},n=4)",
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    command = [sys.executable, "-m", "demo.server", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["url"]
        server.send_signal(signal.SIGTERM)


def nano_usd(upstream: str) -> int:
    with urllib.request.urlopen(f"{upstream}/bill") as reply:  # noqa: S310
        return int(json.load(reply)["total_nano_usd"])


def run(*words: str | Path, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [COMMAND, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    return found | {"stderr": done.stderr}


def measure(
    folder: Path, upstream: str, seed: int, count: int, *more: str | Path, code: int = 0
) -> dict[str, Any]:
    tasks = folder / f"tasks-{seed}.jsonl"
    rows = [{"query": p.query_id, "prompt": p.prompt} for p in problems(seed, count)]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [word for text in STRATEGIES for word in ("--strategy", text)]
    return run(
        "profile", "measure", tasks, "--profiles", folder / "store.duckdb", "--workload", "w",
        "--endpoint", f"{upstream}/v1", "--prices", "demo/prices.yaml", "--format", "json",
        "--scorer", "demo.tasks:score", "--verifier", "checker=demo.tasks:check",
        "--extractor", "demo.tasks:final_answer", "--concurrency", "8", *options, *more, code=code,
    )  # fmt: skip


def write_spec(folder: Path, mix: dict[str, float] | None) -> Path:
    traffic = {"requests": 200_000, "per": "total"} | ({"mix": mix} if mix else {})
    spec = {
        "format_version": "1.0",
        "workload": "w",
        "objective": "minimize cost",
        "classes": "difficulty.onnx",
        "traffic": traffic,
        "limits": {"accuracy": {"overall": 0.55}},
        "prices": str(ROOT / "demo/prices.yaml"),
    }
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec))
    return path


def test_a_run_for_fitted_classes_stops_resumes_and_pays_what_the_server_bills(
    tmp_path: Path, upstream: str
) -> None:
    store = tmp_path / "store.duckdb"
    measure(tmp_path, upstream, 5, 60)
    spec = write_spec(tmp_path, None)
    absent = measure(tmp_path, upstream, 6, 200, "--adaptive", spec, code=2)
    assert "the difficulty graph does not exist" in absent["stderr"]
    run("difficulty", "fit", "--profiles", store, "--workload", "w", "--classes", "3",
        "-o", tmp_path / "difficulty.onnx")  # fmt: skip
    before = nano_usd(upstream)
    unmixed = measure(tmp_path, upstream, 6, 200, "--adaptive", spec, code=2)
    mix = yaml.safe_load(unmixed["stderr"].split("it is mix: ")[1].split("}")[0] + "}")
    assert sum(mix.values()) == pytest.approx(1)
    assert nano_usd(upstream) == before

    spec = write_spec(tmp_path, mix)
    capped = measure(tmp_path, upstream, 6, 200, "--adaptive", spec, "--max-usd", "0.0002", code=1)
    paid = nano_usd(upstream) - before
    assert 0 < paid <= 200_000
    assert capped["spent_usd"] * 1e9 == pytest.approx(paid)
    assert capped["stopped"]
    assert capped["ended"] is None
    rest = measure(tmp_path, upstream, 6, 200, "--adaptive", spec, "--max-usd", "1")
    assert rest["stopped"] is None
    assert rest["rounds"] >= 2
    assert rest["ended"] == "no task that is left is worth its cost to the plan"
    assert (capped["spent_usd"] + rest["spent_usd"]) * 1e9 == pytest.approx(
        nano_usd(upstream) - before
    )
    with Store.open(store, read_only=True) as opened:
        rows = opened.observations("w")
    assert sum(row.cost_usd or 0 for row in rows) * 1e9 == pytest.approx(nano_usd(upstream))
    assert len(rows) == 180 + capped["measured"] + rest["measured"] < 180 + 600
    assert not list(tmp_path.glob("*.calls*"))

    again = measure(tmp_path, upstream, 6, 200, "--adaptive", spec, "--max-usd", "1")
    assert (again["measured"], again["spent_usd"]) == (0, 0)
    advice = run("profile", "advise", spec, "--profiles", store, "--format", "json")
    assert advice["certified"] is not None
