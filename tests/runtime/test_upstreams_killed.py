"""Three servers under load, one killed and started again: every call done was charged, once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fake_upstream import PRICES
from killable_server import TOKENS_IN, TOKENS_OUT
from several_upstreams import settings

from profiles.errors import UpstreamError
from runtime.caller import HeldCaller
from runtime.ledger import Ledger, Scope
from runtime.upstream import ChatCall, Message
from runtime.upstreams import (
    BreakerSettings,
    BreakerState,
    HealthSettings,
    Upstreams,
    UpstreamSettings,
)

SERVER = Path(__file__).parent / "killable_server.py"
AT_ONCE = 24


class Servers:
    """Processes, each with its book."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.ports: dict[str, int] = {}

    def start(self, name: str) -> None:
        """On the port that it had before, where it had one."""
        seed, port = str(len(self.running)), str(self.ports.get(name, 0))
        command = [sys.executable, str(SERVER), str(self.folder / name), port, seed]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        self.running[name] = process
        self.ports[name] = int(process.stdout.readline())

    def kill(self, name: str) -> None:
        process = self.running[name]
        process.kill()
        process.communicate()

    def book(self, word: str) -> Counter[str]:
        """How often servers began, or had done, each call."""
        lines = "".join((self.folder / name).read_text() for name in self.ports).splitlines()
        return Counter(line.split()[1] for line in lines if line.startswith(word))


@contextmanager
def three(folder: Path) -> Iterator[Servers]:
    servers = Servers(folder)
    try:
        for name in "abc":
            servers.start(name)
        yield servers
    finally:
        for name in servers.running:
            servers.kill(name)


class Load:
    """Many calls at once, each with its own hold and its own number in its prompt."""

    def __init__(self) -> None:
        self.ledger = Ledger([Scope("all")])
        self.charged: dict[str, int] = {}
        self.at: dict[int, asyncio.Event] = {}

    async def run(self, upstreams: Upstreams, numbers: range) -> None:
        left = iter(numbers)
        await asyncio.gather(*(self._work(upstreams, left) for _ in range(AT_ONCE)))

    async def _work(self, upstreams: Upstreams, left: Iterator[int]) -> None:
        for number in left:
            call = ChatCall("small", (Message("user", str(number)),), max_tokens=16)
            hold = self.ledger.hold(str(number), 10**9)
            caller = HeldCaller(upstreams, PRICES, hold)
            with suppress(UpstreamError):
                await caller(call)
            hold.close()
            self.charged[str(number)] = caller.bill.cost_nano_usd
            if len(self.charged) in self.at:
                self.at[len(self.charged)].set()


def listed(servers: Servers) -> list[UpstreamSettings]:
    health = HealthSettings(every_s=0.05)
    breaker = BreakerSettings(open_s=0.2, most_open_s=1.0)
    return [
        settings(name, f"http://127.0.0.1:{port}", health=health, breaker=breaker)
        for name, port in servers.ports.items()
    ]


async def found_again(upstreams: Upstreams) -> None:
    async with asyncio.timeout(20):
        while upstreams.snapshot()[0].breaker is BreakerState.OPEN:
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_killed_server_makes_no_call_be_done_twice_for_one_charge(tmp_path: Path) -> None:
    load = Load()
    kill = load.at[200] = asyncio.Event()
    with three(tmp_path) as servers:
        async with Upstreams(listed(servers), ["small"], environ={}) as upstreams:
            first = asyncio.create_task(load.run(upstreams, range(600)))
            await kill.wait()
            servers.kill("a")
            await first
            killed, *_ = upstreams.snapshot()
            assert killed.breaker is not BreakerState.CLOSED
            await asyncio.to_thread(servers.start, "a")
            await found_again(upstreams)
            await load.run(upstreams, range(600, 900))
            states = upstreams.snapshot()
        began, done = servers.book("began"), servers.book("done")

    price = PRICES.price("small").cost_nano_usd(TOKENS_IN, TOKENS_OUT)
    charged = load.charged
    assert len(charged) == 900
    assert set(began.values()) == {1}  # no call was ever begun twice, by whichever servers
    assert all(charged[call] >= price for call in began)
    assert price * sum(done.values()) <= sum(charged.values())
    assert sum(charged.values()) == load.ledger.snapshot().scopes[0].spent
    # What is charged and was not done was under way to the server, or in it, at the kill.
    assert sum(charged[call] > price for call in charged) <= AT_ONCE
    assert sum(charged[call] > 0 and call not in done for call in charged) <= AT_ONCE
    # Calls were turned down, found another server, and found the killed one again.
    assert sum(charged[call] > 0 for call in charged) >= 850
    assert all({"busy", "unavailable"} <= set(state.failures) for state in states)
    assert states[0].calls >= killed.calls + 30
