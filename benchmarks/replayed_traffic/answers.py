"""Recorded answers: what the demo's models said, what it cost and how long it took, call by call.

Every problem is asked of both models as the strategies ask it: one answer at temperature 0, and 4
and 16 answers at 0.8. 24 calls are in flight at a time, as when `make demo` measures its profile,
so that the times are those of a server at work. A file keeps a line per call; a recording that was
killed goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp

from demo.server import running_server
from demo.server.job import Usage

MODELS = ("demo-small", "demo-large")
TEMPERATURES = {1: 0.0, 4: 0.8, 16: 0.8}
"""By the number of answers of a call."""
MAX_TOKENS = 56
AT_ONCE = 24
SEED = 20231116

Call: TypeAlias = tuple[str, str, int]
"""Prompt, model and number of answers."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call of the past.

    Attributes:
        latency_s: Seconds until its reply was there.
        usage: Tokens as the server counted them.
        body: Its reply as bytes.
    """

    latency_s: float
    usage: Usage
    body: bytes


def read_answers(file: Path) -> dict[Call, Recorded]:
    """All calls of a file, none where there is none; a last line cut short is left out."""
    found: dict[Call, Recorded] = {}
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    for line in lines:
        row = json.loads(line)
        used = row["body"]["usage"]
        found[row["prompt"], row["model"], row["n"]] = Recorded(
            row["latency_s"],
            Usage(used["prompt_tokens"], used["completion_tokens"]),
            json.dumps(row["body"], separators=(",", ":")).encode(),
        )
    return found


async def record(prompts: Iterable[str], file: Path) -> None:
    """Ask the demo's models whatever a file does not hold yet."""
    known = read_answers(file)
    wanted = product(sorted(set(prompts)), MODELS, TEMPERATURES)
    missing = [call for call in wanted if call not in known]
    random.Random(SEED).shuffle(missing)
    if not missing:
        return
    print(f"recording {len(missing)} calls of the demo's models ...", flush=True)
    _mend(file)
    timeout = aiohttp.ClientTimeout(total=300)
    async with running_server() as url, aiohttp.ClientSession(timeout=timeout) as client:
        with file.open("a") as lines:

            async def ask() -> None:
                while missing:
                    lines.write(await _row(client, url, missing.pop()))
                    lines.flush()

            await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


async def _row(client: aiohttp.ClientSession, url: str, call: Call) -> str:
    prompt, model, answers = call
    asked: Mapping[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "n": answers,
        "temperature": TEMPERATURES[answers],
        "max_tokens": MAX_TOKENS,
        "seed": SEED,
    }
    began_s = time.perf_counter()
    async with client.post(f"{url}/v1/chat/completions", json=asked) as reply:
        reply.raise_for_status()
        body = await reply.json()
    latency_s = round(time.perf_counter() - began_s, 4)
    row = {"prompt": prompt, "model": model, "n": answers, "latency_s": latency_s, "body": body}
    return json.dumps(row, separators=(",", ":")) + "\n"


def _mend(file: Path) -> None:
    """Without a last line that was cut short."""
    if file.exists():
        whole, _, _ = file.read_bytes().rpartition(b"\n")
        file.write_bytes(whole + b"\n" if whole else b"")
