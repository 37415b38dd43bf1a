"""The files that a newcomer opens the app with: a spec, last week's policy, a ledger in use."""

from __future__ import annotations

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from click.testing import CliRunner

from app.cli.main import cli
from runtime.ledger import Scope
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.scopes import Window
from runtime.ledger.store import open_store

OPENED = (
    "spec.yaml", "--policy", "last-week.yaml", "--ledger", "sqlite:///ledger.db",
)  # fmt: skip
"""What `inferbudget app` is told in that folder."""
BUDGET = "org:acme|nano_usd|day"

_SPEC = """\
format_version: "1.0"
workload: tiny
objective: maximize accuracy
traffic: {requests: 100000, per: month}
limits: {spend: {usd: 400, per: month}, latency: {p95_s: 2.0}}
"""
_USD = 10**9


def newcomers_folder(folder: Path, store: Path) -> Path:
    """The small store of these tests with a spec that knows its traffic, and all the rest."""
    (folder / "spec.yaml").write_text(_SPEC)
    shutil.copy(store, folder / "profiles.duckdb")
    return with_a_past(folder, "limits.spend={usd: 250, per: month}")


def with_a_past(folder: Path, setting: str) -> Path:
    """A folder with spec and store, to which last week's policy and a ledger in use are added."""
    plan, policy = str(folder / "last-week.json"), str(folder / "last-week.yaml")
    about = [str(folder / "spec.yaml"), "--profiles", str(folder / "profiles.duckdb")]
    for words in (["plan", *about, "--set", setting, "-o", plan], ["compile", plan, "-o", policy]):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
    with ThreadPoolExecutor(1) as beside:  # a browser has a loop in this thread
        beside.submit(asyncio.run, _spend(folder / "ledger.db")).result()
    return folder


async def _spend(path: Path) -> None:
    """A gateway is paid 90 USD today, of 100 for today and 500 for the month."""
    scopes = [
        Scope(BUDGET, 100 * _USD, window=Window.DAY),
        Scope("global", 500 * _USD, window=Window.MONTH),
    ]
    async with LeasedLedger(scopes, open_store(f"sqlite:///{path}"), replica="gateway-1") as ledger:
        hold = await ledger.admit("request", 90 * _USD, tokens=90)
        hold.call(90 * _USD, tokens=90).settle(90 * _USD, tokens=45)
        hold.close()
