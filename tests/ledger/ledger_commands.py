"""Commands run as `inferbudget` runs them, on stores that replicas have used."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from store_servers import Speaker

from app.cli.main import main
from runtime.audit import AuditLog, AuditSettings, Charge
from runtime.ledger.store import AccountRecord, LogEntry, Truth, open_store

USD = "org:acme|nano_usd|total"
TOKENS = "org:acme/team:search|tokens|total"


@dataclass
class Commands:
    """Runs `inferbudget ledger ...` and keeps what it said.

    Attributes:
        out: What stood on stdout last.
        err: What stood on stderr last.
    """

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def run(self, *words: str | Path, ends: int = 0) -> str:
        self.monkeypatch.setattr(sys, "argv", ["inferbudget", "ledger", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        self.out, self.err = self.capsys.readouterr()
        assert ended.value.code == ends, self.out + self.err
        return self.out

    def json(self, *words: str | Path, ends: int = 0) -> Any:
        return json.loads(self.run(*words, "--format", "json", ends=ends))


def spent(
    account: str = USD, amount: int = 412_300_000_000, limit: int | None = 10**12, **more: Any
) -> Truth:
    """What a replica says that spent so much, leases 3.1 beyond and has asked for nothing more."""
    leased = amount + (0 if limit is None else more.pop("free", 3_100_000_000))
    told: dict[str, Any] = {
        "epoch": 0, "ends_s": None, "window_s": None, "carry_over": 0, "requests": 7,
    }  # fmt: skip
    return Truth(account, limit=limit, leased=leased, spent=amount, **{**told, **more})


def tell(url: str, *truths: Truth, replica: str = "replica-1", number: int = 1) -> None:
    """One exchange of a replica that then falls silent."""

    async def told() -> None:
        store = open_store(url)
        speaker = Speaker(store, replica, number - 1, 3_600.0)
        await store.exchange(speaker.says(*truths))
        await store.close()

    asyncio.run(told())


def read(url: str) -> tuple[tuple[AccountRecord, ...], tuple[LogEntry, ...]]:
    async def asked() -> tuple[tuple[AccountRecord, ...], tuple[LogEntry, ...]]:
        store = open_store(url)
        found = await store.accounts(), await store.log()
        await store.close()
        return found

    return asyncio.run(asked())


def write_log(folder: Path, replica: str, charges: Iterable[tuple[str, int, int]]) -> Path:
    """An audit log with one settled request for each (account, epoch, charged)."""
    folder.mkdir(exist_ok=True)
    log = AuditLog(AuditSettings(folder=folder), replica)
    for number, (account, epoch, charged) in enumerate(charges):
        log.put(f"{replica}-{number}", 1.0, (Charge(account, epoch, charged, charged),))
    log.close()
    return folder


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))
