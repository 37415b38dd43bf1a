"""What must be true after whatever was sent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.hostile_clients.exchanges import Tally
from benchmarks.hostile_clients.running import Running
from benchmarks.hostile_clients.world import ATTACKER, MARK, SECRETS, VICTIMS

_SETTLE_S = 90.0


def check(running: Running, tally: Tally, before: dict[str, Any]) -> None:
    """Alive, bounded in memory, books in order, others untouched.

    Args:
        running: The gateway, still running.
        tally: Takes what is wrong.
        before: Its accounts before.
    """
    if running.process.poll() is not None:
        tally.fail(f"the gateway ended with {running.process.returncode}")
        return
    ledger = _settled(running, tally)
    bill = running.bill()
    memory = running.memory_mb()
    if memory["most"] > tally.most_memory_mb:
        tally.fail(f"it took {memory['most']} MB")
    for name, state in ledger.items():
        limit = state["limit"]
        if limit is not None and state["spent"] + state["held"] > limit:
            tally.fail(f"{name}: {state}")
        if state["held"]:
            tally.fail(f"{name} still holds {state['held']}")
        if _is_victims(name) and state["spent"] != before.get(name, state)["spent"]:
            tally.fail(f"{name}: {before.get(name)} before, {state} afterwards")
    charged = ledger["global"]["spent"]
    if bill["nano_usd"] > charged:
        tally.fail(f"the model server wants {bill['nano_usd']}, charged were {charged}")
    tops = [ledger[f"org:{name}|nano_usd|total"]["spent"] for name in (ATTACKER, *VICTIMS)]
    if sum(tops) != charged:
        tally.fail(f"organisations together spent {tops}, all together {charged}")
    for text, where in ((running.page("/metrics"), "metrics"), (running.page("/ledger"), "ledger")):
        _refuse_secrets(text, where, tally)
    tally.figures["memory_mb"] = memory
    tally.figures["billed_nano_usd"] = bill["nano_usd"]
    tally.figures["charged_nano_usd"] = charged
    tally.figures["calls"] = bill["calls"]


def check_files(folder: Path, tally: Tally) -> None:
    """No key and no prompt in what the gateway, now ended, has written; logs are JSON."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.name in ("tenants.yaml", "gateway.yaml", "policy.yaml", "schemathesis.log"):
            continue
        if file.suffix == ".parquet":
            content = repr(pq.read_table(file).to_pylist()).encode()
        else:
            content = file.read_bytes()
        _refuse_secrets(content, file.name, tally)
    lines = (folder / "gateway.log").read_text(errors="replace").splitlines()
    tally.figures["log_lines"] = len(lines)
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            tally.fail(f"the log holds a line that is no JSON: {line:.300}")
            continue
        if "error" in entry or entry.get("logger", "").startswith(("uvicorn", "asyncio")):
            tally.fail(f"the log tells of an error inside: {line:.1500}")


def _settled(running: Running, tally: Tally) -> dict[str, Any]:
    """The accounts once nothing is at work."""
    until_s = time.monotonic() + _SETTLE_S
    while True:
        try:
            ledger = running.ledger()
        except OSError as error:
            tally.fail(f"the operator's page is not answered: {error!r}")
            raise
        if not any(state["held"] for state in ledger.values()) or time.monotonic() > until_s:
            return ledger
        time.sleep(0.2)


def _is_victims(account: str) -> bool:
    return any(account.startswith(f"org:{name}") for name in VICTIMS)


def _refuse_secrets(content: bytes, where: str, tally: Tally) -> None:
    for secret in (*SECRETS, MARK):
        if secret.encode() in content:
            tally.fail(f"{where} holds {secret[:12]}...")
