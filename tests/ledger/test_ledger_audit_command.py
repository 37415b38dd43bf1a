"""`ledger audit`: what the store says is spent is proved by the logs, or what is wrong is named."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from ledger_commands import TOKENS, USD, Commands, printable, read, spent, tell, write_log
from store_servers import RedisServer, Speaker, truth

from app.cli.ledger.audit import _sums
from runtime.ledger.store import LogKind, Truth, open_store

SETTLED = [(USD, 0, 412_000_000_000), (USD, 0, 300_000_000)]

REPLICA = """
import asyncio, random, sys, time
from pathlib import Path
from runtime.audit import AuditLog, AuditSettings, Charge
from runtime.ledger import Scope, Unit
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.store import open_store

SCOPES = [
    Scope("org:acme|nano_usd|total", 10**12),
    Scope("org:acme|tokens|total", 10**9, unit=Unit.TOKENS),
]

async def main(store, folder, count):
    draws = random.Random(store)
    async with LeasedLedger(SCOPES, open_store(store), exchange_s=0.02, ttl_s=1.0) as ledger:
        log = AuditLog(AuditSettings(folder=Path(folder)), ledger.replica)
        for number in range(count):
            hold = await ledger.admit(str(number), 1_000_000, tokens=1_000)
            call = hold.call(1_000_000, tokens=1_000)
            if number % 20 == 0:
                await asyncio.sleep(0.005)
                print(number, flush=True)
            call.settle(draws.randrange(1_000_000), tokens=draws.randrange(1_000))
            hold.close()
            charges = tuple(
                Charge(account.book.scope.name, account.span.start_s, held, charged)
                for account, held, charged in hold.charges()
            )
            log.put(hold.request_id, time.time(), charges)
    log.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a new store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db?synchronous=normal"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url(uuid.uuid4().hex)


def test_books_that_balance_end_with_0_and_show_their_parts(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    tell(url, spent(free=0))
    log = write_log(tmp_path / "audit", "replica-1", SETTLED)
    said = commands.run("audit", url, "--log", log)
    assert "the books balance: 1 window" in said
    assert "2 entries of 1 replica\n" in said
    found = commands.json("audit", url, "--log", log)
    (window,) = found["windows"]
    assert (window["spent"], window["told"], window["difference"]) == (412_300_000_000,) * 2 + (0,)
    assert (found["balances"], window["unit"], window["verdict"]) == (True, "nano_usd", "balances")


@pytest.mark.parametrize(
    ("charged", "words"),
    [
        (300_000_001, "its log settled 412.300000001 USD, the store lacks 0.000000001 USD of it"),
        (299_999_999, "its log settled 412.299999999 USD, the store has 0.000000001 USD more"),
    ],
)
def test_one_nano_dollar_that_does_not_add_up_ends_with_1_and_is_named(
    url: str, commands: Commands, tmp_path: Path, charged: int, words: str
) -> None:
    tell(url, spent(free=0), spent(TOKENS, 5, 10, free=0))
    charges = [SETTLED[0], (USD, 0, charged), (TOKENS, 0, 5)]
    log = write_log(tmp_path / "audit", "replica-1", charges)
    said = commands.run("audit", url, "--log", log, ends=1)
    assert "the books do not balance: 1 of 2 windows" in said
    assert f"{USD}:\n  replica replica-1: {words}\n" in said
    assert f"{TOKENS}:" not in said
    assert commands.json("audit", url, "--log", log, ends=1)["balances"] is False
    commands.run("audit", url, "--log", log, "--scope", "org:acme/*")


def test_a_correction_is_part_of_the_books(url: str, commands: Commands, tmp_path: Path) -> None:
    tell(url, spent(free=0))
    log = write_log(tmp_path / "audit", "replica-1", SETTLED)
    commands.run("adjust", url, USD, "--usd", "-3.20", "--reason", "a refund", "--yes")
    (window,) = commands.json("audit", url, "--log", log)["windows"]
    assert (window["spent"], window["adjusted"]) == (409_100_000_000, -3_200_000_000)


def test_an_entry_that_the_log_lost_and_a_line_that_is_none_are_named(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    tell(url, spent(free=0))
    log = write_log(tmp_path / "audit", "replica-1", [SETTLED[0], SETTLED[1], (USD, 0, 0)])
    (file,) = log.iterdir()
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "no entry \x1b[2J", lines[2], lines[2][:20]]))
    said = commands.run("audit", url, "--log", log, ends=1)
    assert "the store has 0.30 USD more; 1 entry of its log are missing" in said
    assert "warning: the log of replica replica-1 lacks entries 2" in said
    assert f"warning: {file}:2: this line is no entry" in said
    assert "note: 1 last line was cut off by a kill" in said
    assert printable(said)


def test_a_store_that_was_emptied_is_said(url: str, commands: Commands, tmp_path: Path) -> None:
    tell(url, spent(TOKENS, 5, 10, free=0))
    log = write_log(tmp_path / "audit", "replica-1", [*SETTLED, (TOKENS, 0, 5)])
    said = commands.run("audit", url, "--log", log, ends=1)
    assert "the store does not know this window: it was emptied, or is another one" in said
    assert "replica replica-1: its log settled 412.30 USD" in said


def test_windows_that_the_store_no_longer_keeps_are_no_finding(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    name = "org:acme|tokens|minute"
    tell(url, spent(TOKENS, 5, 10, free=0))
    minute = int(commands.json("show", url)["now_s"] // 60) * 60
    tell(url, spent(name, 8, 10, free=0, epoch=minute, ends_s=minute + 60), number=2)
    kept = [(name, minute, 8), (TOKENS, 0, 5)]
    old = [(name, minute - 60 * ago, 1) for ago in (100, 200, 300)]
    log = write_log(tmp_path / "audit", "replica-1", [*old, *kept])
    said = commands.run("audit", url, "--log", log)
    assert "note: 3 windows are over for longer than the store keeps them" in said
    log = write_log(tmp_path / "other", "replica-1", [(name, minute - 120, 1), *old, *kept])
    said = commands.run("audit", url, "--log", log, ends=1)
    assert said.count("the store does not know this window") == 1


def test_windows_that_are_over_are_audited_while_traffic_goes_on(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    name = "org:acme|tokens|hour"
    tell(url, spent(TOKENS, 5, 10, free=0))
    hour = int(commands.json("show", url)["now_s"] // 3600) * 3600
    over, running = ({"epoch": at, "ends_s": at + 3600} for at in (hour - 3600, hour))
    late = "org:late|tokens|hour"
    tell(url, spent(name, 7, 100, free=0, **over), spent(late, 4, 100, free=1, **over), number=2)
    tell(url, spent(name, 20, 100, free=9, **running), number=3)
    log = write_log(tmp_path / "audit", "replica-1", [(name, hour - 3600, 7), (name, hour, 15)])
    said = commands.run("audit", url, "--log", log, ends=1)
    assert "1 replica holds leases, at work or lost and not charged yet" in said
    assert "the books balance: 1 window" in commands.run("audit", url, "--log", log, "--ended")


def replica(store: str, folder: Path, count: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", REPLICA, store, str(folder), str(count)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def await_sweep(store: str, folder: Path) -> None:
    """Others come until the killed one was charged its lease."""
    silent = threading.Event()
    while not [entry for entry in read(store)[1] if entry.kind is LogKind.SWEPT]:
        silent.wait(0.1)
        with replica(store, folder, 1) as sweeper:
            sweeper.communicate()


def test_real_replicas_balance_when_one_was_killed_and_its_lease_is_told_apart(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    with replica(url, folder, 10**9) as killed, replica(url, folder, 400) as well:
        assert killed.stdout is not None
        while killed.stdout.readline() != b"300\n":
            pass
        killed.send_signal(signal.SIGKILL)
        well.communicate()
        assert well.returncode == 0
    await_sweep(url, folder)
    config = tmp_path / "gateway.yaml"
    config.write_text(
        f'format_version: "1.0"\nledger: {{store: {json.dumps(url)}}}\naudit: {{folder: audit}}\n'
    )
    found = commands.json("audit", "--config", config)
    windows = {window["account"]: window for window in found["windows"]}
    for window in windows.values():
        parts = ("told", "proven", "unproven", "unlogged", "adjusted", "difference")
        assert window["spent"] == sum(window[part] for part in parts)
        assert window["difference"] == 0
    assert sum(window["proven"] + window["unproven"] for window in windows.values()) > 0
    shown = commands.run("show", url, "--log")
    assert "swept" in shown
    lost = windows[USD]["unproven"]
    if lost:
        exact = f"-{lost // 10**9}.{lost % 10**9:09d}"
        commands.run("adjust", url, USD, "--usd", exact, "--reason", "never left", "--yes")
        after = commands.json("audit", "--config", config)
        assert [one["adjusted"] for one in after["windows"] if one["account"] == USD] == [-lost]


COUNTED = "tag:x|nano_usd|total"
UNTOLD = [(COUNTED, 0, 12), (USD, 0, 12)]


def test_what_a_lost_replica_had_not_told_of_a_mere_count_is_a_note(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    lose(url, spent(COUNTED, 10, None), spent(USD, 10, 100, free=5))
    log = write_log(tmp_path / "audit", "replica-1", UNTOLD)
    said = commands.run("audit", url, "--log", log)
    assert "of accounts without a limit, lost replicas had not told all" in said
    verdicts = {one["account"]: one for one in commands.json("audit", url, "--log", log)["windows"]}
    assert (verdicts[COUNTED]["verdict"], verdicts[COUNTED]["difference"]) == ("counted", -2)
    assert (verdicts[USD]["verdict"], verdicts[USD]["unproven"]) == ("balances", 3)


def test_what_a_lost_replica_settled_beyond_its_lease_is_a_finding(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    lose(url, spent(USD, 10, 100, free=5))
    log = write_log(tmp_path / "audit", "replica-1", [(USD, 0, 16)])
    said = commands.run("audit", url, "--log", log, ends=1)
    assert "the store lacks 0.000000001 USD of it" in said


def test_what_a_replica_that_is_not_lost_has_not_told_is_a_finding(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    tell(url, spent(COUNTED, 10, None), spent(USD, 10, 100, free=5))
    log = write_log(tmp_path / "audit", "replica-1", UNTOLD)
    assert commands.run("audit", url, "--log", log, ends=1).count("the store lacks") == 2


def lose(url: str, *truths: Truth) -> None:
    """A replica tells, falls silent, and is charged its lease when another one comes."""

    async def lived() -> None:
        store = open_store(url)
        await store.exchange(Speaker(store, "replica-1", 0, 0.2).says(*truths))
        other = Speaker(store, "replica-2", 0, 3_600.0)
        while not [entry for entry in await store.log() if entry.kind is LogKind.SWEPT]:
            await store.exchange(other.says(truth()))
        await store.exchange(other.says(truth(), closing=True))
        await store.close()

    asyncio.run(lived())


def test_a_log_that_is_not_named_or_not_there_is_a_wrong_use(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    tell(url, spent(free=0))
    commands.run("audit", url, ends=2)
    assert "it is not clear where the audit log is" in commands.err
    commands.run("audit", url, "--log", tmp_path / "nowhere", ends=2)
    commands.run("audit", "redis://127.0.0.1:1/0", "--log", tmp_path, ends=5)


def test_hostile_names_of_accounts_replicas_and_files_are_printed_safely(
    url: str, commands: Commands, tmp_path: Path
) -> None:
    name = "org:\x1b[2J\r\n::error::\u202e|nano_usd|total"
    tell(url, spent(name, free=0), replica="r\x1b[2J")
    log = write_log(tmp_path / "au\x1b[2Jdit", "replica-1", [(name, 0, 5)])
    said = commands.run("audit", url, "--log", log, ends=1)
    assert printable(said + commands.err)
    assert "\n::error" not in said
    assert r"replica r\x1b[2J: its log settled 0.00 USD" in said


def test_a_bar_is_drawn_on_a_terminal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(tmp_path / "audit", "replica-1", SETTLED)
    quiet = _sums(log)
    assert capsys.readouterr().err == ""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert _sums(log) == quiet
        said = b""
        while b"100%" not in said:
            said += screen.read(4096)
    assert b"reading the audit log" in said
