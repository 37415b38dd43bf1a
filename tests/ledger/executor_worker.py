"""One service with an executor in it. ``python executor_worker.py FOLDER STORE NAME``.

Its model server writes every call to a bill before it answers, as a provider would; the service
answers until there is no money for a further request, and says so.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fake_upstream import PRICES, reply
from small_policies import budget, is_right, policy, written

from profiles.errors import BudgetRefusedError
from runtime import Executor
from runtime.upstream import ChatCall, Completion

LIMIT_USD = 0.02
TOKENS_IN, TOKENS_OUT = 100, 20


class BilledModel:
    """Keeps its bill in a file, which outlives the process."""

    def __init__(self, bill: Path) -> None:
        self.bill = bill.open("a", buffering=1)

    async def chat(self, call: ChatCall) -> Completion:
        self.bill.write(f"{PRICES.price(call.model).cost_nano_usd(TOKENS_IN, TOKENS_OUT)}\n")
        await asyncio.sleep(0.001)
        return reply("four", tokens_in=TOKENS_IN, tokens_out=TOKENS_OUT)


async def serve(folder: Path, store: str, name: str) -> None:
    async with Executor(
        folder / "policy.yaml",
        BilledModel(folder / f"{name}.bill"),
        store=store,
        verifiers={"checker": is_right},
    ) as executor:

        async def client() -> None:
            while True:
                try:
                    await executor.answer("two and two", label="hard")
                except BudgetRefusedError:
                    return

        await asyncio.gather(*(client() for _ in range(4)))
    print("spent", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        written(policy(budgets=(budget(LIMIT_USD),)), Path(sys.argv[1]))
    else:
        asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
