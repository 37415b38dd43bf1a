"""`ledger show`: every account with what it spent, holds and has left, of real stores."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_commands import TOKENS, USD, Commands, printable, spent, tell
from store_servers import RedisServer

from app.cli.ledger.standings import matches
from runtime.ledger.store import open_store

HOSTILE = "org:de\x1b[31mred\x07\r\n::error::pay\u202e\x9b0m|nano_usd|total"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a new store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url(uuid.uuid4().hex)


def test_every_account_is_shown_with_what_is_spent_held_and_left(
    url: str, commands: Commands
) -> None:
    tell(url, spent(), spent(TOKENS, 1_500, 6_000, free=500))
    said = commands.run("show", url)
    head, dollars, tokens = (line.split() for line in said.splitlines()[2:5])
    assert head[:7] == ["account", "unit", "limit", "carried", "spent", "held", "remaining"]
    assert dollars[:9] == [USD, "USD", "1,000.00", "0.00", "412.30", "3.10", "584.60", "41.2", "%"]
    assert tokens[:9] == [TOKENS, "tokens", "6,000", "0", "1,500", "500", "4,000", "25.0", "%"]
    assert "replica-1  415.40  412.30  3.10         7   0.00" in said


def test_json_has_whole_numbers_of_the_unit_and_all_leases(url: str, commands: Commands) -> None:
    tell(url, spent())
    tell(url, spent(amount=5, free=0), replica="replica-2")
    found = commands.json("show", url)
    assert found["format_version"] == "1.0"
    (account,) = found["accounts"]
    assert (account["limit"], account["spent"]) == (10**12, 412_300_000_005)
    assert (account["held"], account["remaining"]) == (3_100_000_000, 584_599_999_995)
    assert (account["unit"], account["is_current"]) == ("nano_usd", True)
    assert account["share_spent"] == pytest.approx(0.412300000005)
    assert [lease["replica"] for lease in account["leases"]] == ["replica-1", "replica-2"]


def test_a_replica_that_holds_nothing_is_counted_and_has_no_line(
    url: str, commands: Commands
) -> None:
    tell(url, spent(free=0))
    said = commands.run("show", url)
    assert "replica-1" not in said
    assert said.splitlines()[3].split()[-3:] == ["1", "-", "-"]


def test_markdown_is_a_table_whose_cells_hold_the_bars_of_names(
    url: str, commands: Commands
) -> None:
    tell(url, spent())
    said = commands.run("show", url, "--format", "markdown")
    assert r"| org:acme\|nano_usd\|total | USD | 1,000.00 |" in said


def test_windows_that_are_over_are_shown_where_they_are_asked_for(
    url: str, commands: Commands
) -> None:
    async def now() -> float:
        store = open_store(url)
        found = await store.now()
        await store.close()
        return found

    name = "org:acme|tokens|hour"
    hour = int(asyncio.run(now()) // 3600) * 3600
    old, new = ({"epoch": at, "ends_s": at + 3600} for at in (hour - 7200, hour))
    tell(url, spent(name, 10, 100, free=0, **old), spent("gone|tokens|hour", 7, 100, **old))
    tell(url, spent(name, 20, 100, free=0, **new), number=2)
    latest = commands.json("show", url)["accounts"]
    everything = commands.json("show", url, "--all")["accounts"]
    assert [(one["epoch"], one["spent"]) for one in everything if one["account"] == name] == [
        (hour - 7200, 10), (hour, 20)
    ]  # fmt: skip
    assert [(one["account"], one["epoch"], one["is_current"]) for one in latest] == [
        ("gone|tokens|hour", hour - 7200, False), (name, hour, True)
    ]  # fmt: skip
    assert "Z, over" in commands.run("show", url, "--scope", "gone")


def test_accounts_are_chosen_by_their_scope_or_their_whole_name(
    url: str, commands: Commands
) -> None:
    tell(url, spent(), spent(TOKENS, 5, 10), spent("org:b|nano_usd|total"))
    for pattern, names in (
        ("org:acme", [USD]),
        ("org:acme*", [TOKENS, USD]),
        ("org:acme/*", [TOKENS]),
        ("*|tokens|*", [TOKENS]),
        (USD, [USD]),
    ):
        found = commands.json("show", url, "--scope", pattern)["accounts"]
        assert sorted(one["account"] for one in found) == sorted(names), pattern
    assert "no account is like org:z" in commands.run("show", url, "--scope", "org:z")


@given(st.text(), st.sampled_from(["nano_usd", "tokens"]))
def test_every_name_is_like_itself_where_it_has_no_wildcards(scope: str, unit: str) -> None:
    plain = "".join(char for char in scope if char not in "[*?|")
    assert matches(f"{plain}|{unit}|day", f"{plain}|{unit}|day")
    assert not plain or matches(f"{plain}|{unit}|day", plain)


def test_a_hostile_name_never_reaches_the_terminal(url: str, commands: Commands) -> None:
    tell(url, spent(HOSTILE), replica="r\x1b[2J\u2066")
    for words in ((), ("--format", "markdown"), ("--log",), ("--scope", "no\x1b[2Jne")):
        said = commands.run("show", url, *words)
        assert printable(said + commands.err), words
        assert "\n::error" not in said
    found = commands.json("show", url)["accounts"]
    assert found[0]["account"] == HOSTILE


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_whatever_an_account_is_called_its_line_is_one_line(
    name: str, tmp_path: Path, commands: Commands
) -> None:
    url = f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db"
    tell(url, spent(f"{name}|nano_usd|total"))
    said = commands.run("show", url)
    assert printable(said)
    assert len(said.splitlines()) == 9


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "empty.db").touch()
    for name in ("ledger.db", "empty.db", "", "a%00b"):
        commands.run("show", f"sqlite:///{tmp_path}/{name}", ends=2)
        assert "there is no ledger store" in commands.err
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_a_store_that_nobody_used_says_so(redis_server: RedisServer, commands: Commands) -> None:
    said = commands.run("show", redis_server.url(uuid.uuid4().hex))
    assert "no gateway has used this store yet" in said


def test_a_server_that_is_gone_ends_with_5_and_names_no_password(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")
    commands.run("show", "redis://user:${PASSWORD}@127.0.0.1:1/0", ends=5)
    assert "127.0.0.1:1" in commands.err
    assert "hunter2" not in commands.err


@pytest.mark.parametrize(
    "address",
    [
        "redis://:hunter2@127.0.0.1:1/0?nonsense=1",
        "redis://:hun/ter2@127.0.0.1:1/0",
        "redis://:hun?ter2@127.0.0.1:1/0",
        "redis://:hun#ter2@127.0.0.1:1/0",
        "redis://:1/ter2@127.0.0.1:1/0",
        "redis://:a@b/ter2@127.0.0.1:1/0",
        "redis://:ter2@[::1/0",
        "redis://:ter2@127.0.0.1:port/0",
        "unix://me:hun/ter2@/run/redis.sock",
        "unix://me:a@b/ter2@/run/redis.sock",
        "sqlite://me:ter2@host/ledger.db",
        "rdis://me:ter2@host/0",
        "ter2@host:6379",
        "me:ter2@host:6379",
    ],
)
def test_no_part_of_a_password_is_printed_however_wrong_the_address(
    address: str, commands: Commands
) -> None:
    commands.run("show", address, ends=2)
    assert "ter2" not in commands.out + commands.err


@pytest.mark.parametrize(
    "words",
    [
        ("show", "sqlite:///a.db", "redis://:hunter2@h/0"),
        ("show", "--config", "redis://:hunter2@h/0"),
        ("show", "--url", "redis://:hunter2@h/0"),
        ("audit", "sqlite:///a.db", "redis://:hunter2@h/0"),
        ("adjust", "redis://:hunter2@h/0", "--reason", "r", "--usd", "1"),
        ("adjust", "global", "redis://:hunter2@h/0", "--reason", "r", "--usd", "1"),
        ("adjust", "redis://h:1/0", "redis://:hunter2@h/0", "--reason", "r", "--usd", "1"),
    ],
)
def test_an_address_in_a_wrong_place_is_not_quoted(
    words: tuple[str, ...], commands: Commands
) -> None:
    commands.run(*words, ends=2)
    assert "hunter2" not in commands.out + commands.err


def test_the_password_is_not_shown_beside_the_accounts(
    redis_server: RedisServer, commands: Commands
) -> None:
    url = redis_server.url(uuid.uuid4().hex)
    with redis_server.client() as client:
        client.acl_setuser(
            "reader", enabled=True, passwords=["+hunter2"], keys="*", commands=["+@all"]
        )
    tell(url, spent())
    named = url.replace("redis://", "redis://reader:hunter2@")
    said = commands.run("show", named) + json.dumps(commands.json("show", named))
    assert "hunter2" not in said
    assert f"redis://127.0.0.1:{redis_server.port}/0?namespace=" in said


def test_gateway_yaml_names_the_store_and_the_environment_its_secrets(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(f"sqlite:///{tmp_path}/ledger.db", spent())
    config = tmp_path / "gateway.yaml"
    config.write_text(
        f'format_version: "1.0"\nledger: {{store: "sqlite:///{tmp_path}/${{FILE}}"}}\n'
    )
    commands.run("show", "--config", config, ends=2)
    assert "the environment has no variable FILE" in commands.err
    monkeypatch.setenv("FILE", "ledger.db")
    assert USD in commands.run("show", "--config", config)
    config.write_text('format_version: "1.0"\n')
    commands.run("show", "--config", config, ends=2)
    assert "ledger show --url" in commands.err


@pytest.mark.parametrize("words", [(), ("sqlite:///a.db", "--config")])
def test_exactly_one_store_is_named(
    words: tuple[str, ...], tmp_path: Path, commands: Commands
) -> None:
    (tmp_path / "gateway.yaml").write_text('format_version: "1.0"\n')
    more = [tmp_path / "gateway.yaml"] if words else []
    commands.run("show", *words, *more, ends=2)
    assert "it is not clear which store is meant" in commands.err


PAGE: dict[str, Any] = {
    "format_version": "2.0",
    "scopes": {
        HOSTILE: {
            "unit": "nano_usd", "window": "day", "epoch_start_s": 1_700_000_000,
            "epoch_end_s": 1_700_086_400, "limit": 10**9, "spent": 250_000_001, "held": 0,
            "remaining": 749_999_999, "requests": 3, "refusals": 2, "spent_ever": 250_000_001,
        }
    },
    "open_holds": 1, "alarms": 0, "overrun_nano_usd": 0,
}  # fmt: skip


class Page(BaseHTTPRequestHandler):
    """Answers as it is told, and keeps the keys it was sent."""

    status = 200
    body = b""
    to: str | None = None
    keys: list[str | None] = []  # noqa: RUF012 one for all requests

    def do_GET(self) -> None:
        self.keys.append(self.headers.get("authorization"))
        self.send_response(self.status)
        if self.to:
            self.send_header("location", self.to)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[tuple[str, type[Page]]]:
    class Told(Page):
        keys: list[str | None] = []  # noqa: RUF012
        body = json.dumps(PAGE).encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Told)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Told
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_gateway_without_a_store_is_asked_with_the_operators_key(
    page: tuple[str, type[Page]], commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, told = page
    monkeypatch.setenv("INFERBUDGET_OPERATOR_KEY", "the-operator")
    said = commands.run("show", "--url", address)
    assert told.keys == ["Bearer the-operator"]
    assert "0.250000001" in said
    assert "0.749999999" in said
    assert "1 requests hold money now; 2 holds were refused" in said
    assert printable(said)
    (found,) = commands.json("show", "--url", f"{address}/")["accounts"]
    assert (found["account"], found["spent"], found["refusals"]) == (HOSTILE, 250_000_001, 2)
    assert commands.json("show", "--url", address, "--scope", "x")["accounts"] == []


def test_the_operators_key_follows_no_redirect(
    page: tuple[str, type[Page]], commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, told = page
    monkeypatch.setattr(told, "status", 302)
    monkeypatch.setattr(told, "to", f"{address}/elsewhere")
    monkeypatch.setenv("INFERBUDGET_OPERATOR_KEY", "the-operator")
    commands.run("show", "--url", address, ends=5)
    assert len(told.keys) == 1


@pytest.mark.parametrize(
    ("status", "body", "ends", "words"),
    [
        (401, b"", 2, "set INFERBUDGET_OPERATOR_KEY"),
        (403, b"", 2, "set INFERBUDGET_OPERATOR_KEY"),
        (500, b"", 5, "answered with status 500"),
        (200, b"<html>", 5, "is no ledger of a gateway"),
        (200, b'{"format_version": "2.0"}', 5, "is no ledger of a gateway"),
        (200, json.dumps({**PAGE, "format_version": "3.0"}).encode(), 5, "format_version 3.0"),
        (200, json.dumps({**PAGE, "format_version": "2.7"}).encode(), 0, ""),
    ],
)
def test_what_a_gateway_answers_instead_is_said(
    page: tuple[str, type[Page]], commands: Commands, monkeypatch: pytest.MonkeyPatch,
    status: int, body: bytes, ends: int, words: str,
) -> None:  # fmt: skip
    address, told = page
    monkeypatch.setattr(told, "status", status)
    monkeypatch.setattr(told, "body", body)
    commands.run("show", "--url", address, ends=ends)
    assert words in commands.err
    assert printable(commands.err)


@pytest.mark.parametrize(
    "address", ["localhost:8080", "ftp://host", "http://", "http://me:hunter2@host", "http://[::1",
                "http://host/?key=hunter2", "http://ho st"],
)  # fmt: skip
def test_a_wrong_address_of_a_gateway_is_refused_without_its_secrets(
    address: str, commands: Commands
) -> None:
    commands.run("show", "--url", address, ends=2)
    assert "this is not the address of a gateway" in commands.err
    assert "hunter2" not in commands.err


def test_a_gateway_that_is_not_there_ends_with_5(commands: Commands) -> None:
    commands.run("show", "--url", "http://127.0.0.1:1", ends=5)
    assert "does not answer" in commands.err


@pytest.mark.parametrize("more", [("sqlite:///a.db",), ("--all",), ("--log",)])
def test_a_process_is_not_asked_what_only_a_store_knows(
    more: tuple[str, ...], commands: Commands
) -> None:
    commands.run("show", "--url", "http://127.0.0.1:1", *more, ends=2)
