"""A process with nothing but the gateway's own ledger: requests without HTTP, many more of them.

It holds on the same accounts as a gateway does, over the same shared store, and settles what a
request really cost. What a model server would bill it writes to the bill's file itself, by one
write before anything is settled, so that no kill takes it away.

    python -m benchmarks.never_over.ledgers CONFIG.json

The configuration names the store, the budgets' sizes, files, clients, seed and when to stop.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import signal
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.never_over.policy import CLASSES, MAX_TOKENS, NANO_USD_PER_TOKEN
from benchmarks.never_over.records import ASKED, FAULTS, LINE, PLAIN
from benchmarks.never_over.world import (
    KEYS,
    MOST_PROMPT_TOKENS,
    NANO_GPU_S_PER_TOKEN,
    USERS_OF_A_TEAM,
    Account,
    Sizes,
    World,
)
from planner.spec import Window
from profiles.errors import BudgetRefusedError
from runtime.audit import AuditLog, AuditSettings, Charge
from runtime.ledger import Hold, Scope, Unit
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.store import StoreError, open_store

_PER_PROCESS = 100_000_000
_UNKNOWN = FAULTS.index("no usage")


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process does.

    Attributes:
        store: Its address.
        ttl_s: How long leases live.
        per_s: As `Sizes`.
        total: As `Sizes`.
        folder: Of bill, records and audit log.
        clients: At once.
        seed: With the process's own name, of everything drawn.
        mean_s: Mean time that a request takes.
    """

    store: str
    ttl_s: float
    per_s: float
    total: int
    folder: str
    clients: int
    seed: int
    mean_s: float = 0.004


def scope_of(account: Account) -> Scope:
    """The ledger's definition of an account."""
    return Scope(
        account.name,
        account.limit,
        Window(account.window),
        Unit(account.unit),
        account.timezone,
        account.rolling,
        account.carry_over,
    )


class Process:
    """One replica with its clients.

    Args:
        plan: What it does.
        first: Number before its first request.
    """

    def __init__(self, plan: Plan, first: int) -> None:
        self._plan = plan
        world = World(Sizes(plan.per_s, plan.total))
        self._names = {
            (key.number, user, hard): tuple(
                account.name
                for account in world.accounts
                if key.number in account.keys
                and account.user in (None, user)
                and account.class_index in (None, hard)
            )
            for key in KEYS
            for user in range(USERS_OF_A_TEAM)
            for hard in range(len(CLASSES))
        }
        replica = uuid.uuid4().hex
        folder = Path(plan.folder)
        self._audit = AuditLog(AuditSettings(folder=folder / "audit"), replica)
        self.ledger = LeasedLedger(
            map(scope_of, world.accounts),
            open_store(plan.store),
            replica=replica,
            ttl_s=plan.ttl_s,
            settled=self._settled,
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._bill = os.open(folder / "bill", flags, 0o644)
        self._asked = os.open(folder / "asked", flags, 0o644)
        self._number = first
        self._chance = random.Random(f"{plan.seed} {first}")
        self.stops = asyncio.Event()

    def _settled(self, hold: Hold) -> None:
        charges = tuple(
            Charge(account.book.scope.name, account.span.start_s, held, charged)
            for account, held, charged in hold.charges()
        )
        self._audit.put(hold.request_id, time.time(), charges)

    async def run(self) -> None:
        """Until it is told to stop."""
        async with self.ledger:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stops.set)
            await asyncio.gather(*(self._client() for _ in range(self._plan.clients)))
        await asyncio.to_thread(self._audit.close)

    async def _client(self) -> None:
        chance = self._chance
        while not self.stops.is_set():
            key = min(int(chance.random() ** 1.3 * 8), 7)
            who = (key, chance.randrange(USERS_OF_A_TEAM), int(chance.random() < 0.3))
            self._number += 1
            began = time.time_ns() // 1000
            number, name = self._number, uuid.uuid4().hex
            status = await self._one(number, name, who, began)
            done = time.time_ns() // 1000
            budget = int(status == 429)
            row = (number, began, done, status, 0, 0, *who, PLAIN, budget, name.encode())
            os.write(self._asked, np.array([row], ASKED).tobytes())
            if status != 200:
                longer = 10 if status == 503 else 1
                await asyncio.sleep(chance.random() * 0.02 * longer)

    async def _one(self, number: int, name: str, who: tuple[int, int, int], began: int) -> int:
        model, calls = ("large", 3) if who[2] and self._chance.random() < 0.25 else ("small", 1)
        (usd_in, usd_out), (gpu_in, gpu_out) = (
            NANO_USD_PER_TOKEN[model],
            NANO_GPU_S_PER_TOKEN[model],
        )
        most = MOST_PROMPT_TOKENS, calls * MAX_TOKENS
        try:
            hold = await self.ledger.admit(
                name,
                most[0] * usd_in + most[1] * usd_out,
                self._names[who],
                tokens=sum(most),
                nano_gpu_s=most[0] * gpu_in + most[1] * gpu_out,
            )
        except BudgetRefusedError:
            return 429
        except StoreError:
            return 503
        used = self._used(most)
        unknown = self._chance.random() < 0.05
        costs = used[0] * usd_in + used[1] * usd_out, used[0] * gpu_in + used[1] * gpu_out
        call = hold.call(
            most[0] * usd_in + most[1] * usd_out,
            tokens=sum(most),
            nano_gpu_s=most[0] * gpu_in + most[1] * gpu_out,
        )
        took_s = self._chance.expovariate(1 / self._plan.mean_s)
        received = time.time_ns() // 1000
        ends = received + int(took_s * 1e6)
        line = (number, began, received, ends, *costs, sum(used), *who, _UNKNOWN * unknown)
        os.write(self._bill, np.array([line], LINE).tobytes())
        await asyncio.sleep(took_s)
        if unknown:
            call.unknown()
        else:
            call.settle(costs[0], tokens=sum(used), nano_gpu_s=costs[1])
        hold.close()
        return 200

    def _used(self, most: tuple[int, int]) -> tuple[int, int]:
        if self._chance.random() < 0.05:
            return most
        return self._chance.randrange(20, 60), self._chance.randrange(1, most[1])


async def run(plan: Plan, first: int) -> None:
    """Until it is told to stop."""
    await Process(plan, first).run()


def main() -> None:
    """Run the plan of a file; the number of the process keeps its requests apart."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    gc.freeze()
    uvloop.run(run(plan, int(sys.argv[2]) * _PER_PROCESS))


if __name__ == "__main__":
    main()
