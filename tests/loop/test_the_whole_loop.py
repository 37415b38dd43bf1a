"""Measure, fit, plan, compile, serve, audit: real models, real processes, public commands."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.tasks import problems
from demo.traffic import Traffic, drive

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).parent / "inferbudget")
SCORING = ("--verifier", "checker=demo.tasks:check", "--extractor", "demo.tasks:final_answer")
BEST_OF_4 = "best_of_n(max_tokens=56,n=4,temperature=0.8,verifier=checker)"
STRATEGIES = (
    "demo-small/single(max_tokens=56,temperature=0)",
    f"demo-large/{BEST_OF_4}",
    "demo-large/self_consistency(k=4,max_tokens=56,temperature=0.8)",
    "cascade(accept=checker,stages=[demo-small/single(max_tokens=56,temperature=0),"
    f"demo-large/{BEST_OF_4}])",
)


@contextmanager
def process(*words: str) -> Iterator[dict[str, Any]]:
    running = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield json.loads(running.stdout.readline())
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0
        running.stdout.close()


def command(*words: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        [COMMAND, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else {}


def fetch(url: str, method: str = "GET") -> dict[str, Any]:
    request = urllib.request.Request(url, method=method)  # noqa: S310
    with urllib.request.urlopen(request) as reply:  # noqa: S310
        content: dict[str, Any] = json.loads(reply.read() or b"{}")
        return content


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with process(sys.executable, "-m", "demo.server", "--port", "0") as ready:
        yield ready["url"]


def measure(folder: Path, upstream: str, count: int) -> dict[str, Any]:
    path = folder / "problems.jsonl"
    path.write_text(
        "".join(
            json.dumps({"query": p.query_id, "prompt": p.prompt}) + "\n" for p in problems(5, count)
        )
    )
    options = [word for text in STRATEGIES for word in ("--strategy", text)]
    return command(
        "profile", "measure", path, "--profiles", folder / "store.duckdb", "--workload", "loop",
        "--upstream", f"{upstream}/v1", "--prices", ROOT / "demo/prices.yaml", "--format", "json",
        "--scorer", "demo.tasks:score", *SCORING, *options, "--concurrency", "16",
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    report = measure(folder, upstream, 240)
    assert (report["measured"], report["failed"]) == (240 * len(STRATEGIES), 0)
    store = folder / "store.duckdb"
    command("difficulty", "fit", "--profiles", store, "--workload", "loop", "--classes", "3",
            "-o", folder / "difficulty.onnx")  # fmt: skip
    return folder


def policy(folder: Path, name: str, usd: float, requests: int) -> Path:
    spec = folder / f"{name}.yaml"
    spec.write_text(
        f"""\
format_version: "1.0"
workload: loop
objective: maximize accuracy
classes: difficulty.onnx
traffic: {{requests: {requests}, per: total}}
limits: {{latency: {{p95_s: 30}}, spend: {{usd: {usd}, per: total}}}}
prices: {ROOT / "demo/prices.yaml"}
"""
    )
    store, plan = folder / "store.duckdb", folder / f"{name}.json"
    command("plan", spec, "--profiles", store, "-o", plan)
    compiled = folder / f"policy-{name}.yaml"
    command("compile", plan, "-o", compiled)
    command("check", compiled)
    return compiled


def serve(path: Path, upstream: str, count: int, per_s: float) -> Traffic:
    fetch(f"{upstream}/bill/reset", "POST")
    words = (COMMAND, "serve", str(path), "--upstream", f"{upstream}/v1", "--port", "0", *SCORING)
    with process(*words) as ready:
        traffic = asyncio.run(drive(ready["url"], problems(6, count), per_s=per_s, seed=1))
        ledger = fetch(f"{ready['url']}/ledger")
    bill = fetch(f"{upstream}/bill")["total_nano_usd"]
    return traffic.billed(ledger=ledger, upstream_nano_usd=bill, provider=ready["provider"])


def test_what_was_measured_is_not_paid_for_again(measured: Path, upstream: str) -> None:
    fetch(f"{upstream}/bill/reset", "POST")
    report = measure(measured, upstream, 240)
    assert (report["measured"], report["resumed"]) == (0, 240 * len(STRATEGIES))
    assert fetch(f"{upstream}/bill")["total_nano_usd"] == 0


def test_a_policy_serves_within_its_budget_and_its_ledger_is_the_upstreams_bill(
    measured: Path, upstream: str
) -> None:
    traffic = serve(policy(measured, "enough", 0.012, 200), upstream, 200, 50)
    assert Counter(one.status for one in traffic.served) == {200: 200}
    assert len(traffic.answered()) == 200
    assert traffic.ledger_nano_usd == traffic.upstream_nano_usd
    assert 0 < traffic.ledger_nano_usd <= traffic.budget_nano_usd == 12_000_000
    assert {one.class_name for one in traffic.served} == {"easy", "medium", "hard"}
    easy = [one.correct for one in traffic.answered() if one.class_name == "easy"]
    assert sum(filter(None, easy)) / len(easy) > 0.9


def test_traffic_far_beyond_the_budget_is_refused_and_never_overspent(
    measured: Path, upstream: str
) -> None:
    # ten times the traffic that the budget was planned for, almost all at once
    traffic = serve(policy(measured, "short", 0.001, 30), upstream, 300, 2000)
    refused = [one for one in traffic.served if one.status in {402, 429}]
    assert len(refused) + len(traffic.answered()) == 300
    assert refused
    assert traffic.ledger_nano_usd == traffic.upstream_nano_usd
    assert traffic.ledger_nano_usd <= traffic.budget_nano_usd == 1_000_000


def test_the_same_store_gives_the_same_policy_bytes(measured: Path) -> None:
    store = measured / "store.duckdb"
    before = (measured / "difficulty.onnx").read_bytes()
    command("difficulty", "fit", "--profiles", store, "--workload", "loop", "--classes", "3",
            "-o", measured / "difficulty.onnx")  # fmt: skip
    assert (measured / "difficulty.onnx").read_bytes() == before
    one = policy(measured, "enough", 0.012, 200)
    first = [one.read_bytes(), one.with_suffix(".onnx").read_bytes()]
    again = policy(measured, "enough", 0.012, 200)
    assert [again.read_bytes(), again.with_suffix(".onnx").read_bytes()] == first


def test_a_key_is_asked_for_where_one_is_set(
    measured: Path, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = policy(measured, "enough", 0.012, 200)
    monkeypatch.setenv("INFERBUDGET_API_KEY", "secret")
    words = (COMMAND, "serve", str(path), "--upstream", f"{upstream}/v1", "--port", "0", *SCORING)
    with process(*words) as ready:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            fetch(f"{ready['url']}/v1/models")
        refusal.value.close()
        assert refusal.value.code == 401
