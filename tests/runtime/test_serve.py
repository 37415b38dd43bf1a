"""The gateway as its own process: ready line, drain on SIGTERM, refusals at the start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from fake_upstream import FakeUpstream, served
from small_policies import DEAR, policy, written

from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard
from runtime.serve import serve

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from runtime.serve import serve
serve(Path(sys.argv[1]), upstream=sys.argv[2], port=0, drain_s=10.0,
      verifiers={"checker": lambda prompt, answer: 1.0})
"""


@pytest.mark.asyncio
async def test_sigterm_lets_running_requests_end_and_exits_with_0(tmp_path: Path) -> None:
    path = written(policy(), tmp_path)
    async with served(FakeUpstream(delay_s=0.5)) as fake:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SCRIPT,
            str(path),
            fake.url,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "INFERBUDGET_API_KEY": "k"},
        )
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        assert set(ready) == {"url", "policy", "provider"}
        body = {
            "messages": [{"role": "user", "content": "two and two"}],
            "metadata": {"class": "easy"},
        }
        headers = {"authorization": "Bearer k"}
        async with aiohttp.ClientSession(headers=headers) as client:
            asked = asyncio.ensure_future(
                client.post(f"{ready['url']}/v1/chat/completions", json=body)
            )
            while not fake.calls:
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            found = await asked
            assert found.status == 200
            assert (await found.json())["choices"][0]["message"]["content"] == "four"
        assert await process.wait() == 0


def test_what_cannot_be_served_is_refused_at_the_start(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    with pytest.raises(UnknownValueError, match="no price is known"):
        serve(written(policy(prices=PriceCard()), tmp_path), upstream=url)
    with pytest.raises(InputError, match="no verifier is called 'checker'"):
        serve(written(policy(rungs=((DEAR, 0.1),)), tmp_path), upstream=url)
    verifiers = {"checker": lambda prompt, answer: 1.0}
    with pytest.raises(InputError, match="cannot listen on this address"):
        serve(written(policy(), tmp_path), upstream=url, host="203.0.113.1", verifiers=verifiers)
