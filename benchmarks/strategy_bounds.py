"""Whether a request can cost more than was held for it: random strategies, hostile upstreams.

Each execution draws a strategy text of any method, parameters and nested parts at random, holds
exactly its bound, and runs it through the real executor, caller and ledger against an upstream that
answers as it likes: garbage, too few or too many answers, nothing for a while, 400, 429, 500, cut
connections before and after the request left, replies without usage, with impossible usage, and -
in a part of the executions - more tokens than it was allowed. The upstream keeps a bill of its own.

Counted are executions in which the charge was above the hold though the upstream kept its caps, a
call was refused for want of money, the ledger and the bill disagree where usage was told, or a task
was left over. All of them should be 0. Where the upstream broke a cap, the truth must be charged,
and the alarm be raised.

    python -m benchmarks.strategy_bounds [--executions N] [--processes N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import random
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.random_strategies import random_strategy
from profiles.errors import (
    InferbudgetError,
    InputError,
    UpstreamError,
)
from profiles.money import PriceCard, TokenPrice
from runtime.caller import HeldCaller
from runtime.checkers import as_verifiers
from runtime.ledger import Ledger, Scope
from runtime.prompt_bound import prompt_tokens_bound
from runtime.strategies import Request, TimeCapError, Tools, build
from runtime.upstream import (
    ChatCall,
    Completion,
    Message,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)

RESULT = Path(__file__).parent / "results" / "strategy_bounds.json"
SEED = 20260307
EXECUTIONS = 100_000
BLOCK = 1_000
PRICES = PriceCard(
    models={
        "small": TokenPrice(input=0.1, output=0.4),
        "large": TokenPrice(input=0.3, output=1.2),
        "odd": TokenPrice(input=0.0137, output=0.0731),
    }
)
WORDS = (
    "4",
    "5",
    "42",
    "no issues",
    "10",
    "success",
    "failure",
    "</think>",
    "7/10",
    "",
    "\n\n",
    "é😀",
)
BREAKS_CAPS = 0.1
"""Share of the executions whose upstream may give more tokens than it was allowed."""
BILLS_ALL = 0.3
"""Share whose upstream bills every token that it may, so that a call too many has no money left."""


@dataclass
class Hostile:
    """An upstream, and what it would bill."""

    rng: random.Random
    breaks_caps: bool
    bills_all: bool
    bill_nano_usd: int = 0
    unsure_nano_usd: int = 0
    broke_cap: int = 0
    calls: int = 0
    moods: Counter[str] = field(default_factory=Counter)

    async def chat(self, call: ChatCall) -> Completion:
        """Anything that could come back."""
        self.calls += 1
        price = PRICES.price(call.model)
        most_in, most_out = prompt_tokens_bound(call.messages), call.n * call.max_tokens
        bound = price.cost_nano_usd(most_in, most_out)
        await asyncio.sleep(0)
        mood = self.rng.choices(
            (
                "answers",
                "rejects",
                "breaks",
                "unsent",
                "late",
                "silent about usage",
                "answers too few",
                "answers too many",
            ),
            (76, 3, 4, 2, 2, 5, 4, 4),
        )[0]
        self.moods[mood] += 1
        if mood == "rejects":
            raise UpstreamRejectedError("no", status=self.rng.choice((400, 401, 413, 422, 429)))
        if mood == "unsent":
            raise UpstreamError("cannot connect", sent=False)
        if mood in ("breaks", "late"):
            self.unsure_nano_usd += self.rng.randint(0, bound)
            kind = UpstreamTimeoutError if mood == "late" else UpstreamError
            raise kind("broken")
        if self.rng.random() < 0.02:
            try:
                await asyncio.sleep(self.rng.choice((0.001, 0.02)))
            except asyncio.CancelledError:
                self.unsure_nano_usd += self.rng.randint(0, bound)
                raise
        tokens_in, tokens_out = self.rng.randint(1, most_in), self.rng.randint(0, most_out)
        if self.bills_all:
            tokens_in, tokens_out = most_in, most_out
        if self.breaks_caps and self.rng.random() < 0.2:
            tokens_out = most_out + self.rng.randint(1, 1000)
        more = {"answers too few": -1, "answers too many": 3}.get(mood, 0)
        count = 1 if call.reward else max(1, call.n + more)
        texts = tuple(self._text(call) for _ in range(count))
        reasons = tuple(self.rng.choice(("stop", "length")) for _ in texts)
        confidences = tuple(self.rng.choice((None, self.rng.random())) for _ in texts)
        if mood == "silent about usage":
            self.unsure_nano_usd += min(price.cost_nano_usd(tokens_in, tokens_out), bound)
            return Completion(texts, None, None, reasons, 0.0, confidences=confidences)
        self.broke_cap += tokens_out > most_out
        self.bill_nano_usd += price.cost_nano_usd(tokens_in, tokens_out)
        return Completion(texts, tokens_in, tokens_out, reasons, 0.0, confidences=confidences)

    def _text(self, call: ChatCall) -> str:
        if call.reward:
            return str(self.rng.gauss(0, 3))
        size = self.rng.choice((0, 1, 3, 30, call.max_tokens, 12 * call.max_tokens))
        return " ".join(self.rng.choices(WORDS, k=min(size, 400)))


@dataclass
class Found:
    """What a block of executions came to."""

    counts: Counter[str] = field(default_factory=Counter)
    by_method: Counter[str] = field(default_factory=Counter)
    moods: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    share_of_hold: float = 0.0
    calls: int = 0


def block(first: int, count: int) -> Found:
    """Executions with these numbers."""
    logging.disable()  # the verifier that raises is there on purpose
    found = Found()
    asyncio.run(_block(found, first, count))
    return found


async def _block(found: Found, first: int, count: int) -> None:
    rng = random.Random(f"verdicts {first}")
    verifiers = {
        "checker": lambda _, __: rng.choice((0.0, 0.3, 1.0)),
        "bomb": lambda _, __: 1 / 0,
    }
    made = as_verifiers(verifiers)
    for number in range(first, first + count):
        await _execution(found, number, made)


async def _execution(found: Found, number: int, verifiers: Any) -> None:
    rng = random.Random(f"{SEED}:{number}")
    text = random_strategy(rng)
    tools = Tools(verifiers, answers_per_call=rng.choice((1, 2, 128)))
    executor = build(text, tools)
    request = Request(
        (Message("user", "q" * rng.choice((0, 1, 40, 400))),),
        "q",
        seed=rng.getrandbits(31),
        max_tokens=rng.choice((None, 1, 7, 60)),
        wall_s=rng.choice((None, None, None, 0.005)),
    )
    try:
        bound = executor.bound_nano_usd(request.prompt_tokens_bound, request.max_tokens, PRICES)
    except InputError:
        found.counts["not begun: nothing caps its answers, or a thought leaves no room"] += 1
        return
    upstream = Hostile(rng, rng.random() < BREAKS_CAPS, rng.random() < BILLS_ALL)
    ledger = Ledger([Scope("all", bound if not upstream.breaks_caps else 10**18)])
    hold = ledger.hold("r", bound)
    tasks = len(asyncio.all_tasks())
    try:
        outcome = await executor.answer(request, HeldCaller(upstream, PRICES, hold))
        found.counts["answered" if outcome.finished else "answered, cut short"] += 1
    except (InferbudgetError, TimeCapError):
        found.counts["no answer"] += 1
    left_over = len(asyncio.all_tasks()) - tasks
    hold.close()
    state, snapshot = ledger.state("all"), ledger.snapshot()
    found.calls += upstream.calls
    found.by_method[executor.strategy.method] += 1
    found.moods += upstream.moods
    broke = upstream.broke_cap > 0
    found.counts["upstream broke a cap"] += broke
    if not broke and bound:
        found.share_of_hold = max(found.share_of_hold, state.spent / bound)
    faults = {
        "charged above the hold": not broke and state.spent > bound,
        "refused for want of money": state.refusals > 0 and not broke,
        "charged less than the bill": state.spent < upstream.bill_nano_usd,
        "money still held": state.held != 0,
        "a broken cap without an alarm": broke and not snapshot.alarms,
        "an alarm without a broken cap": bool(snapshot.alarms) and not broke,
        "tasks left over": left_over != 0,
    }
    for name, happened in faults.items():
        found.counts[name] += happened
        if happened and len(found.faults) < 5:
            found.faults.append(f"{name}: execution {number}: {executor.strategy}")


def main() -> None:
    """Execute and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategy_bounds")
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    began, total = time.perf_counter(), Found()
    starts = range(0, chosen.executions, BLOCK)
    with ProcessPoolExecutor(chosen.processes) as pool:
        for part in pool.map(block, starts, [BLOCK] * len(starts)):
            total.counts += part.counts
            total.by_method += part.by_method
            total.moods += part.moods
            total.faults += part.faults
            total.calls += part.calls
            total.share_of_hold = max(total.share_of_hold, part.share_of_hold)
    result = {
        "executions": len(starts) * BLOCK,
        "seed": SEED,
        "calls": total.calls,
        "by_method": dict(sorted(total.by_method.items())),
        "upstream": dict(sorted(total.moods.items())),
        "found": dict(sorted(total.counts.items())),
        "largest_share_of_a_hold_charged": round(total.share_of_hold, 6),
        "faults": total.faults[:20],
        "seconds": round(time.perf_counter() - began, 1),
        "versions": {"inferbudget": version("inferbudget"), "python": platform.python_version()},
        "machine": {"processor": platform.machine(), "system": platform.system()},
    }
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
