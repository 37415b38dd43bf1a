"""Services with executors that share a budget, killed in the middle: the bill stays within."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from store_servers import RedisServer, billed

from runtime.ledger.store import open_store

ROOT = Path(__file__).parents[2]
LIMIT_NANO_USD = 20_000_000


def worker(*arguments: str) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("executor_worker.py")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/runtime")])
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["redis", "sqlite"])
async def test_services_killed_in_the_middle_never_overspend_their_budget(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "redis":
        server: RedisServer = request.getfixturevalue("server")
        url = server.url()
    else:
        url = f"sqlite:///{tmp_path}/ledger.db?synchronous=normal"
    worker(str(tmp_path)).communicate()  # writes the policy

    def service(name: str) -> subprocess.Popen[str]:
        return worker(str(tmp_path), url, name)

    services = [service("one"), service("two")]
    for number, name in enumerate(("one", "two")):
        began = tmp_path / f"{name}.bill"
        while not began.exists() or billed(tmp_path) < LIMIT_NANO_USD * (number + 1) // 4:
            await asyncio.sleep(0.01)
        victim = services.pop(0)
        victim.kill()
        victim.communicate()
        services.append(service(f"later{number}"))
    said = [(each.communicate()[0], each.returncode) for each in services]
    assert said == [("spent\n", 0)] * 2
    store = open_store(url)
    (account,) = await store.accounts()
    await store.close()
    assert LIMIT_NANO_USD // 2 < billed(tmp_path) <= account.spent + account.held
    assert account.spent + account.held <= LIMIT_NANO_USD
    assert len(list(tmp_path.glob("*.bill"))) == 4
