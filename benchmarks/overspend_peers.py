"""A budget worth 10 requests, and 200 of them at once: ours and the LiteLLM proxy's.

The upstream keeps the bill; its answers take a second, so that all requests are in flight together.
After the burst, requests come one by one until five are refused in a row: what the budget still
admits then. Then the same again after `--pause-s`, in which nothing is sent: does the gateway
remember what was spent? Everything that the upstream bills counts.

The worth of a request is what the upstream bills for it. Ours holds an upper bound of every request
until the truth is known, so fewer than ten are in flight at once, and the rest follow.
LiteLLM has two kinds of budgets that need no database: of a provider, and of a key that a custom
auth function hands out (with a reservation on it); both are tried, the key's also without
``max_tokens`` in the requests.

    python -m benchmarks.overspend_peers [--litellm PROGRAM] [--pause-s S]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import gateways
from benchmarks.fixed_upstream import USD_PER_ANSWER
from benchmarks.gateway_side_by_side import litellm_version
from benchmarks.gateways import MAX_TOKENS, Gateway

RESULT = Path(__file__).parent / "results" / "overspend_peers.json"
WORTH = 10
AT_ONCE = 200
REFUSED_IN_A_ROW = 5
DELAY_S = 1.0
EXCERPT = 400
BUDGET_USD = WORTH * USD_PER_ANSWER
Start = Callable[[Gateway, Path], AbstractContextManager[Gateway]]


async def ask(session: aiohttp.ClientSession, gateway: Gateway, *, capped: bool) -> tuple[int, str]:
    """One request; status and beginning of its reply."""
    body: dict[str, Any] = {
        "model": gateway.model,
        "messages": [{"role": "user", "content": "add 17 25"}],
        **({"max_tokens": MAX_TOKENS} if capped else {}),
    }
    headers = {"authorization": f"Bearer {gateway.key}"}
    url = f"{gateway.url}/v1/chat/completions"
    async with session.post(url, json=body, headers=headers) as reply:
        content = await reply.text()
        if reply.status == 200 and "usage" not in json.loads(content):
            raise RuntimeError(f"{gateway.name} answered without usage: {content}")
        return reply.status, content[:EXCERPT]


async def burst(gateway: Gateway, *, capped: bool) -> dict[str, Any]:
    """All at once."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        asking = [ask(session, gateway, capped=capped) for _ in range(AT_ONCE)]
        replies = await asyncio.gather(*asking)
    statuses = Counter(status for status, _ in replies)
    refusal = next((content for status, content in replies if status != 200), None)
    return {
        "admitted": statuses[200],
        "statuses": {str(status): count for status, count in statuses.items()},
        "first_refusal": refusal,
    }


async def one_by_one(gateway: Gateway, *, capped: bool) -> int:
    """How many are admitted until the budget refuses several in a row, or admits far too many."""
    admitted = refused = 0
    async with aiohttp.ClientSession() as session:
        while refused < REFUSED_IN_A_ROW and admitted < AT_ONCE:
            status, _ = await ask(session, gateway, capped=capped)
            if status == 200:
                admitted, refused = admitted + 1, 0
            else:
                refused += 1
    return admitted


def experiment(start: Start, folder: Path, pause_s: float, *, capped: bool) -> dict[str, Any]:
    """One budget, from the first request to the last."""
    with gateways.fixed_upstream(None) as upstream:
        with start(upstream, folder) as gateway:
            first = gateways.bill(upstream)
            gateways.set_delay(upstream, DELAY_S)
            found = {"answered_at_the_start": first, **asyncio.run(burst(gateway, capped=capped))}
            time.sleep(2.0)  # LiteLLM counts what was spent in the background
            found["billed_usd_after_the_burst"] = _usd(upstream)
            gateways.set_delay(upstream, 0.0)
            found["admitted_one_by_one"] = asyncio.run(one_by_one(gateway, capped=capped))
            found["billed_usd_then"] = _usd(upstream)
            time.sleep(pause_s)
            found["admitted_after_the_pause"] = asyncio.run(one_by_one(gateway, capped=capped))
        found["billed_usd"] = _usd(upstream)
    found["budget_usd"] = round(BUDGET_USD, 9)
    found["times_the_budget"] = round(found["billed_usd"] / BUDGET_USD, 2)
    return found


def _usd(upstream: Gateway) -> float:
    return round(gateways.bill(upstream) * USD_PER_ANSWER, 9)


def _experiments(litellm: Path) -> dict[str, tuple[Start, bool]]:
    def proxy(**budgets: float | None) -> Start:
        return lambda upstream, folder: gateways.litellm(upstream, folder, None, litellm, **budgets)

    ours: Start = partial(_ours)
    found: dict[str, tuple[Start, bool]] = {
        "inferbudget": (ours, True),
        "inferbudget, no max_tokens": (ours, False),
    }
    if litellm.is_file():
        provider = proxy(key_usd=None, provider_usd=BUDGET_USD)
        key = proxy(key_usd=BUDGET_USD, provider_usd=None)
        found["litellm, provider budget"] = provider, True
        found["litellm, key budget"] = key, True
        found["litellm, key budget, no max_tokens"] = key, False
    return found


def _ours(upstream: Gateway, folder: Path) -> AbstractContextManager[Gateway]:
    return gateways.inferbudget(upstream, folder, None, BUDGET_USD)


def main() -> None:
    """Try and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm", type=Path, default=Path("litellm"))
    parser.add_argument("--pause-s", type=float, default=65.0)
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args()
    rows: dict[str, Any] = {}
    for name, (start, capped) in _experiments(asked.litellm).items():
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = experiment(start, Path(folder), asked.pause_s, capped=capped)
        print(name, json.dumps(rows[name]), flush=True)
    result = {
        "worth_requests": WORTH,
        "at_once": AT_ONCE,
        "pause_s": asked.pause_s,
        "upstream_s": DELAY_S,
        "left_out": [] if asked.litellm.is_file() else ["litellm"],
        "rows": rows,
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "litellm": litellm_version(asked.litellm),
        },
    }
    asked.result.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
