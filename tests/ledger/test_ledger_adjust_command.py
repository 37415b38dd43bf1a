"""`ledger adjust`: a correction to the nano-dollar, asked for, logged, and never made twice."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_commands import TOKENS, USD, Commands, printable, read, spent, tell
from store_servers import RedisServer

from app.cli.ledger.adjust import _epoch
from runtime.ledger.redis_store import RedisStore
from runtime.ledger.store import AccountRecord, LogKind, StoreLostError

WHY = ("--reason", "billed twice", "--yes")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a store of each kind in which one account spent 412.30 of 1,000 dollars."""
    found = f"sqlite:///{tmp_path}/ledger.db"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        found = server.url(uuid.uuid4().hex)
    tell(found, spent())
    return found


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """Sits at a terminal and says yes or no; returns the questions."""

    def sits(says: bool) -> list[str]:  # noqa: FBT001
        asked: list[str] = []

        def confirm(text: str, **_: object) -> bool:
            asked.append(text)
            if not says:
                raise click.Abort
            return True

        monkeypatch.setattr("app.cli.ledger.adjust.is_terminal", lambda: True)
        monkeypatch.setattr(click, "confirm", confirm)
        return asked

    return sits


def account(url: str, name: str = USD) -> AccountRecord:
    (found,) = [record for record in read(url)[0] if record.account == name]
    return found


def test_a_correction_is_made_logged_and_shown_before_and_after(
    url: str, commands: Commands
) -> None:
    said = commands.run("adjust", url, USD, "--usd", "-3.20", *WHY)
    before, after = (line.split() for line in said.splitlines()[2:4])
    assert before == ["before", "1,000.00", "0.00", "412.30", "3.10", "584.60"]
    assert after == ["after", "1,000.00", "0.00", "409.10", "3.10", "587.80"]
    records, log = read(url)
    assert records[0].spent == 409_100_000_000
    (entry,) = log
    assert (entry.kind, entry.amount) == (LogKind.ADJUSTED, -3_200_000_000)
    assert (entry.account, entry.reason) == (USD, "billed twice")
    assert "billed twice" in commands.run("show", url, "--log")
    assert commands.json("show", url, "--log")["log"][0]["amount"] == -3_200_000_000


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amounts=st.lists(st.decimals(-10, 10_000, places=9).filter(bool), min_size=1, max_size=3))
def test_corrections_add_up_to_the_nano_dollar(
    amounts: list[Decimal], tmp_path: Path, commands: Commands
) -> None:
    found = f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db"
    tell(found, spent())
    for amount in amounts:
        said = commands.json("adjust", found, USD, f"--usd={amount:f}", *WHY)
        assert said["amount"] == int(amount.scaleb(9))
        assert said["after"]["spent"] - said["before"]["spent"] == said["amount"]
    assert account(found).spent == 412_300_000_000 + sum(int(one.scaleb(9)) for one in amounts)


@pytest.mark.parametrize(
    ("name", "option", "amount", "counted"),
    [
        (TOKENS, "--tokens", "-12", -12),
        ("org:acme|requests|total", "--requests", "3", 3),
        ("org:acme|nano_gpu_s|total", "--gpu-s", "0.000000001", 1),
        ("global/month", "--usd", "0.5", 500_000_000),
    ],
)
def test_each_unit_has_its_option_and_takes_no_other(
    url: str, commands: Commands, name: str, option: str, amount: str, counted: int
) -> None:
    tell(url, spent(name, 100, 1_000_000_000_000), number=2)
    commands.run("adjust", url, name, option, amount, *WHY)
    assert account(url, name).spent == 100 + counted
    for other in {"--usd", "--tokens", "--requests", "--gpu-s"} - {option}:
        commands.run("adjust", url, name, other, "1", *WHY, ends=2)
        assert f"expected {option}; got {other}" in commands.err
        commands.run("adjust", url, name, option, "1", other, "1", *WHY, ends=2)
    commands.run("adjust", url, name, *WHY, ends=2)
    assert "got no amount" in commands.err
    assert account(url, name).spent == 100 + counted


@pytest.mark.parametrize("name", ["org:acme|in_flight|total", "anything"])
def test_what_is_never_spent_or_says_no_unit_is_not_corrected(
    url: str, commands: Commands, name: str
) -> None:
    commands.run("adjust", url, name, "--requests", "1", *WHY, ends=2)
    assert read(url)[1] == ()


@pytest.mark.parametrize(
    "words",
    [
        ("--usd", "0", *WHY),
        ("--usd", "1e3", *WHY),
        ("--usd", "0.0000000001", *WHY),
        ("--usd", "9999999999999999999", *WHY),
        ("--usd", "-412.300000001", *WHY),
        ("--usd", "1", "--reason", " ", "--yes"),
        ("--usd", "1", "--reason", "a\x1b[2Jb", "--yes"),
        ("--usd", "1", "--reason", "two\nlines", "--yes"),
        ("--usd", "1", "--reason", "x" * 501, "--yes"),
        ("--usd", "1", "--yes"),
        ("--usd", "1", "--epoch", "yesterday", *WHY),
        ("--usd", "1", "--epoch", "12345", *WHY),
        ("another", "--usd", "1", *WHY),
    ],
)
def test_what_nobody_can_mean_changes_nothing(
    url: str, commands: Commands, words: tuple[str, ...]
) -> None:
    commands.run("adjust", url, USD, *words, ends=2)
    assert printable(commands.err)
    records, log = read(url)
    assert (records[0].spent, log) == (412_300_000_000, ())


def test_an_account_that_is_not_there_is_named_safely(url: str, commands: Commands) -> None:
    name = "org:\x1b[2J\u202e|nano_usd|total"
    commands.run("adjust", url, name, "--usd", "1", *WHY, ends=2)
    assert "the store has no such account" in commands.err
    assert printable(commands.err)


def test_nobody_is_corrected_without_a_yes(
    url: str, commands: Commands, answer: Callable[[bool], list[str]]
) -> None:
    change = ("adjust", url, USD, "--usd", "-3.20", "--reason", "billed twice")
    commands.run(*change, ends=2)
    assert "give --yes" in commands.err
    answer(False)
    commands.run(*change, ends=130)
    assert read(url)[1] == ()
    asked = answer(True)
    commands.run(*change)
    assert asked == ["Add -3.20 USD to what it has spent?"]
    assert "409.10" in commands.err
    assert "409.10" in commands.out
    assert len(read(url)[1]) == 1


def test_the_running_window_is_meant_unless_another_is_named(url: str, commands: Commands) -> None:
    now_s = commands.json("show", url)["now_s"]
    hour, name = int(now_s // 3600) * 3600, "org:acme|tokens|hour"
    before, running = ({"epoch": at, "ends_s": at + 3600} for at in (hour - 3600, hour))
    tell(url, spent(name, 10, 100, **before), number=2)
    commands.run("adjust", url, name, "--tokens", "1", *WHY, ends=2)
    assert "has not begun" in commands.err
    assert f"{hour - 3600} (" in commands.err
    tell(url, spent(name, 20, 100, **running), number=3)
    commands.run("adjust", url, name, "--tokens", "1", *WHY)
    shown = [one for one in commands.json("show", url, "--all")["accounts"] if one["ends_s"]]
    written = commands.run("show", url, "--all").splitlines()
    text = next(line.split()[-3] for line in written if line.endswith("over"))
    assert [one["spent"] for one in shown] == [10, 21]
    for epoch in (str(hour - 3600), text, text.removesuffix("Z")):
        commands.run("adjust", url, name, "--tokens", "2", "--epoch", epoch, *WHY)
    shown = [one for one in commands.json("show", url, "--all")["accounts"] if one["ends_s"]]
    assert [one["spent"] for one in shown] == [16, 21]


def test_a_correction_may_go_above_the_limit_and_says_by_how_much(
    url: str, commands: Commands
) -> None:
    said = commands.run("adjust", url, USD, "--usd", "600", *WHY)
    assert said.splitlines()[-1].split()[-1] == "-15.40"


def test_a_rolling_window_is_corrected_too(url: str, commands: Commands) -> None:
    name = "org:acme|nano_usd|rolling-hour"
    tell(url, spent(name, 10**9, 10**10, window_s=3600), number=2)
    commands.run("adjust", url, name, "--usd", "-0.25", *WHY)
    assert account(url, name).spent == 750_000_000


def test_gateway_yaml_may_stand_for_the_store(url: str, commands: Commands, tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(f'format_version: "1.0"\nledger: {{store: {json.dumps(url)}}}\n')
    commands.run("adjust", USD, "--config", config, "--usd", "1", *WHY)
    assert account(url).spent == 413_300_000_000
    commands.run("adjust", url, USD, "--config", config, "--usd", "1", *WHY, ends=2)
    commands.run("adjust", USD, "--usd", "1", *WHY, ends=2)
    assert account(url).spent == 413_300_000_000


def test_a_store_that_falls_silent_meanwhile_leaves_no_doubt_about_the_doubt(
    redis_server: RedisServer, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = redis_server.url(uuid.uuid4().hex)
    tell(found, spent())
    corrected = RedisStore.adjust

    async def lost(store: RedisStore, *words: str | int) -> None:
        await corrected(store, *words)  # type: ignore[arg-type]
        raise StoreLostError("the ledger store failed: no answer within 2 s")

    monkeypatch.setattr(RedisStore, "adjust", lost)
    commands.run("adjust", found, USD, "--usd", "1", *WHY, ends=5)
    assert "it is not known whether the correction was made" in commands.err
    assert "ledger show --log` before you repeat it" in commands.err
    assert account(found).spent == 413_300_000_000


def test_a_correction_that_was_made_is_said_to_be_although_nobody_answers_then(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RedisServer(tmp_path / "redis", ("--appendonly", "no")).start()
    tell(server.url(), spent())
    corrected = RedisStore.adjust

    async def then_lost(store: RedisStore, *words: str | int) -> None:
        await corrected(store, *words)  # type: ignore[arg-type]
        server.stop()

    monkeypatch.setattr(RedisStore, "adjust", then_lost)
    try:
        commands.run("adjust", server.url(), USD, "--usd", "1", *WHY, ends=5)
    finally:
        server.stop()
    assert "the correction was made" in commands.err


def test_a_time_without_a_zone_is_utc_wherever_the_operator_sits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert _epoch("2026-11-01") == _epoch("2026-11-01T00:00:00Z") == 1_793_491_200
        assert _epoch("2026-11-01T00:00+09:00") == 1_793_491_200 - 9 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()
