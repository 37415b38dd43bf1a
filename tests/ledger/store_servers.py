"""Real shared stores for tests: a file, and a server process; with a clock that tests set."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
import redis
from programs import program

from runtime.ledger import redis_store
from runtime.ledger.redis_store import RedisStore, redis_options
from runtime.ledger.sqlite_store import SqliteStore
from runtime.ledger.store import Exchange, Reply, Store, Truth

START_S = 1_700_000_040.5  # in the 31st second of a minute of an hour
TICKED = "redis.call('LRANGE', KEYS[1] .. ':clock', 0, 1)"


def redis_binary() -> str:
    return program("redis-server", "valkey-server")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class RedisServer:
    """One server process; started again it finds what it kept in its folder."""

    folder: Path
    settings: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> RedisServer:
        self.folder.mkdir(exist_ok=True)
        self.port = self.port or free_port()
        command = [redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), "--save", "", "--daemonize", "no", *self.settings]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.await_answer()
        return self

    def await_answer(self) -> None:
        for _ in range(2_000):
            try:
                with redis.Redis(port=self.port, socket_timeout=5) as client:
                    client.ping()
            except redis.AuthenticationError:
                return
            except (redis.ConnectionError, redis.ResponseError):
                assert self.process is not None
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.005)
            else:
                return
        pytest.fail((self.folder / "log").read_text())

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)

    def url(self, namespace: str = "test", **options: str) -> str:
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"redis://127.0.0.1:{self.port}/0?namespace={namespace}&timeout_s=10{more}"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True)


class Shelf(Protocol):
    """One shared store, which several processes open."""

    def open(self) -> Store: ...

    def set_clock(self, now_s: float) -> None: ...


@dataclass
class SqliteShelf:
    path: Path
    now_s: float = START_S

    def open(self) -> SqliteStore:
        return SqliteStore(self.path, synchronous="normal", clock=lambda: self.now_s)

    def set_clock(self, now_s: float) -> None:
        self.now_s = now_s


@dataclass
class RedisShelf:
    """The script reads the clock from a key, else it is the one that is served."""

    server: RedisServer
    monkeypatch: pytest.MonkeyPatch
    namespace: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        ticked = redis_store.SCRIPT.replace("redis.call('TIME')", TICKED)
        assert ticked.count(TICKED) == 1
        self.monkeypatch.setattr(redis_store, "SCRIPT", ticked)
        self.set_clock(START_S)

    def open(self) -> RedisStore:
        return RedisStore(redis_options(self.server.url(self.namespace)))

    def set_clock(self, now_s: float) -> None:
        key = f"{{{self.namespace}}}:ledger:clock"
        with self.server.client() as client:
            client.delete(key)
            client.rpush(key, int(now_s), round(now_s % 1 * 1e6))


def truth(account: str = "org", leased: int = 0, spent: int = 0, **more: object) -> Truth:
    """A truth of an account of 100 without an end, unless it says otherwise."""
    told: dict[str, object] = {
        "epoch": 0, "ends_s": None, "window_s": None, "limit": 100, "carry_over": 0, "requests": 0,
    }  # fmt: skip
    told |= more
    return Truth(account, leased=leased, spent=spent, **told)  # type: ignore[arg-type]


def minute(now_s: float, account: str = "minute", **more: object) -> Truth:
    """A truth of a calendar minute."""
    start = int(now_s // 60) * 60
    return truth(account, epoch=start, ends_s=start + 60, **more)  # type: ignore[arg-type]


@dataclass
class Speaker:
    """A replica that says what it is told to say, numbered."""

    store: Store
    name: str
    number: int = 0
    ttl_s: float = 15.0

    def says(self, *truths: Truth, closing: bool = False) -> Exchange:
        self.number += 1
        return Exchange(self.name, self.number, self.ttl_s, truths, closing=closing)


class Meddler:
    """Stands between a store and its server, and meddles with the next reply when told to."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.port = 0
        self.fate = ""
        self.kept = b""
        self.tasks: set[asyncio.Task[None]] = set()
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Meddler:
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()
        closed = [writer.wait_closed() for writer in self.writers]
        await asyncio.gather(*closed, return_exceptions=True)
        await self.listener.wait_closed()

    def url(self) -> str:
        return self.server.url().replace(str(self.server.port), str(self.port))

    async def serve(self, ours: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        there, server = await asyncio.open_connection("127.0.0.1", self.server.port)
        self.writers += [back, server]
        for step in (self.requests(ours, server), self.replies(there, back)):
            self.tasks.add(asyncio.create_task(step))

    async def requests(self, ours: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await ours.read(1 << 20):
            server.write(data)
        server.close()

    async def replies(self, there: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await there.read(1 << 20):
            fate, self.fate = self.fate, ""
            if fate == "cut":
                back.transport.abort()
                return
            if fate == "keep":
                self.kept = data
            back.write(self.kept if fate == "repeat" else data)
        back.close()


async def asks(store: Store, name: str, number: int, *truths: Truth, ttl_s: float = 15) -> Reply:
    return await store.exchange(Speaker(store, name, number - 1, ttl_s).says(*truths))


async def leased(store: Store, name: str, number: int, told: Truth, ttl_s: float = 15) -> int:
    return (await asks(store, name, number, told, ttl_s=ttl_s)).given[0].leased


def worker(*arguments: str) -> subprocess.Popen[str]:
    root, script = Path(__file__).parents[2], Path(__file__).with_name("store_worker.py")
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, str(script), *arguments]
    return subprocess.Popen(command, cwd=root, text=True, stdout=subprocess.PIPE, env=environment)


def billed(folder: Path) -> int:
    bills = (path.read_text().split("\n")[:-1] for path in folder.glob("*.bill"))
    return sum(int(line) for bill in bills for line in bill)


def a_server(started: list[RedisServer], tmp_path: Path, *settings: str) -> RedisServer:
    started.append(RedisServer(tmp_path / f"redis{len(started)}", settings).start())
    return started[-1]
