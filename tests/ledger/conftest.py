"""Shared stores that every test of the ledger can ask for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from store_servers import RedisServer, RedisShelf, Shelf, SqliteShelf


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server process of its own, without persistence."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), ("--appendonly", "no")).start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "redis"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Each kind of shared store, with a clock that stands still."""
    if request.param == "sqlite":
        return SqliteShelf(tmp_path / "ledger.db")
    return RedisShelf(request.getfixturevalue("redis_server"), monkeypatch)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[RedisServer]]:
    servers: list[RedisServer] = []
    yield servers
    for server in servers:
        with suppress(ProcessLookupError):
            server.signal(signal.SIGCONT)
        server.stop()


@pytest.fixture
def server(started: list[RedisServer], tmp_path: Path) -> RedisServer:
    """A server that may be harmed."""
    started.append(RedisServer(tmp_path / "redis", ("--appendonly", "no")).start())
    return started[0]
