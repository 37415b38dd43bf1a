"""Where the time of a request goes in our gateway: samples of its stacks while it is loaded.

py-spy looks at the running gateway a few hundred times a second; every sample is counted for the
part of the request that the innermost frame known to `PARTS` belongs to. Shares are of processor
time; microseconds are the share of what a request takes without the profiler, measured before.

    python -m benchmarks.gateway_profile [--py-spy PROGRAM] [--seconds S] [--clients N] [--stream]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import gateways
from benchmarks.gateways import Gateway
from demo.tasks import problems

RESULT = Path(__file__).parent / "results" / "gateway_profile.json"
RATE_HZ = 250
PROMPTS = 256
SEED = 8
# The innermost frame that matches says what a sample was spent on, the first line that does for it.
# Frames that match nothing belong to whoever called them; those of every stack to the event loop.
PARTS: tuple[tuple[str, str], ...] = (
    ("metrics", r"prometheus_client/|runtime/metrics\.py"),
    ("decision: ONNX Runtime", r"onnxruntime"),
    ("decision: around it", r"runtime/(decision|gathering)\.py|numpy/"),
    ("auth", r"runtime/tenants/|gateway/access\.py|_authenticate|hmac\.py"),
    ("rung and pace", r"runtime/pacing|Service\.rung"),
    ("hold and settle", r"runtime/(ledger|offers|money_left|envelope)|profiles/(money|methods)"),
    ("hold and settle", r"policies/bounds"),
    ("HTTP client", r"aiohttp|yarl|multidict|runtime/(upstream|connections|reply_)"),
    ("HTTP client", r"runtime/(chat|replies|event_stream)\.py"),
    ("executor", r"runtime/(strategies|caller)"),
    ("JSON of the request", r"read_chat|read_body|ask_of|openai/(reading|asking)|\b_ask\b"),
    ("reply", r"completion_body|served_headers|run_headers|runtime/(openai|client|refusals)"),
    ("HTTP server", r"uvicorn/(protocols|middleware)|gateway/(connection|one_write)"),
    ("service", r"runtime/service\.py"),
    ("ASGI application", r"runtime/gateway"),
    ("tasks and timers", r"asyncio/(tasks|timeouts|locks)"),
)
_COMPILED = tuple((name, re.compile(pattern)) for name, pattern in PARTS)


def part_of(stack: list[str]) -> str:
    """What a sample was spent on, by its innermost frame that says so."""
    for frame in reversed(stack):
        for name, pattern in _COMPILED:
            if pattern.search(frame):
                return name
    return "event loop"


def parts(samples: str) -> dict[str, int]:
    """Samples per part, of py-spy's raw lines: frames with semicolons between them, and a count."""
    found: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        found[part_of(stack.split(";"))] += int(count)
    return dict(found.most_common())


def frames(samples: str, most: int = 40) -> dict[str, int]:
    """Samples per innermost frame."""
    found: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        found[stack.split(";")[-1]] += int(count)
    return dict(found.most_common(most))


def loading(gateway: Gateway, asked: argparse.Namespace, prompts: Path, core: int) -> list[str]:
    """The command that loads it."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.gateway_load"]
    command += ["--url", gateway.url, "--key", gateway.key or "", "--model", gateway.model]
    command += ["--clients", str(asked.clients), "--seconds", str(asked.seconds)]
    command += ["--pid", str(gateway.pid), "--prompts", str(prompts)]
    return [*command, *(["--stream"] if asked.stream else [])]


def sampled(gateway: Gateway, asked: argparse.Namespace, prompts: Path, core: int) -> str:
    """Stacks of the gateway under load."""
    raw = prompts.with_name("samples.txt")
    load = subprocess.Popen(  # noqa: S603 our own command
        loading(gateway, asked, prompts, core), stdout=subprocess.DEVNULL
    )
    command = [asked.py_spy, "record", "--pid", str(gateway.pid), "--format", "raw"]
    command += ["--rate", str(RATE_HZ), "--duration", str(int(asked.seconds)), "--nonblocking"]
    try:
        subprocess.run([*command, "--output", str(raw)], check=True, capture_output=True)  # noqa: S603
    finally:
        load.wait()
    return raw.read_text()


def profiled(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Load, load and look, and say what was seen."""
    known = sorted(os.sched_getaffinity(0))
    ours, theirs = known[0], known[-1]
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps([one.prompt for one in problems(SEED, PROMPTS)]))
    with (
        gateways.fixed_upstream(theirs) as upstream,
        gateways.inferbudget(upstream, folder / "ours", ours) as gateway,
    ):
        command = loading(gateway, asked, prompts, theirs)
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        samples = sampled(gateway, asked, prompts, theirs)
    plain = json.loads(done.stdout)
    counted = parts(samples)
    total, cpu_us = sum(counted.values()), plain["cpu_us_per_request"]
    return {
        "clients": asked.clients,
        "form": "stream" if asked.stream else "json",
        "samples": total,
        "unprofiled": plain,
        "parts": {
            name: {
                "share": round(count / total, 4),
                "us_per_request": round(cpu_us * count / total, 1),
            }
            for name, count in counted.items()
        },
        "innermost_frames": {
            name: round(count / total, 4) for name, count in frames(samples).items()
        },
    }


def main() -> None:
    """Look and write."""
    beside = Path(sys.executable).with_name("py-spy")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--py-spy", default=str(beside) if beside.exists() else "py-spy")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args()
    if shutil.which(asked.py_spy) is None:
        parser.error("py-spy is not here; name it with --py-spy")
    with tempfile.TemporaryDirectory() as folder:
        found = profiled(asked, Path(folder))
    result = {
        **found,
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("aiohttp", "uvicorn", "uvloop")},
        },
    }
    asked.result.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: part["share"] for name, part in found["parts"].items()}, indent=1))


if __name__ == "__main__":
    main()
