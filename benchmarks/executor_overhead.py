"""What executing a strategy adds to the bare calls that it makes: processor time per call.

The bare client sends the very calls that a strategy sent, one after the other, through the same
seam: in memory, and over a local socket to a server in a process of its own. Beside it stands what
the seam itself adds to aiohttp, and 1,000 strategies in flight in one process.

    python -m benchmarks.executor_overhead [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop
from msgspec.structs import replace

from profiles.money import PriceCard, TokenPrice
from runtime.caller import Chat, HeldCaller
from runtime.chat import ChatCall, Completion, Message, request_body
from runtime.ledger import Ledger, Scope
from runtime.prepared import tools_of
from runtime.strategies import Request, StrategyExecutor, build
from runtime.upstream import Upstream

RESULT = Path("benchmarks/results/executor_overhead.json")
PRICES = PriceCard(models={name: TokenPrice(input=0.1, output=0.4) for name in ("m", "big")})
STEP_TOKENS = 16
STEPS = f"depth=3,step_tokens={STEP_TOKENS},verifier=checker"
FAMILIES = {
    "single": "m/single",
    "chain_of_thought": "m/chain_of_thought",
    "reasoning_effort": "m/reasoning_effort(effort=high)",
    "thinking_budget": "m/thinking_budget(dialect=vllm,tokens=32)",
    "budget_forcing": "m/budget_forcing(answer_tokens=16,think_tokens=32,waits=1)",
    "self_consistency": "m/self_consistency(k=8)",
    "self_consistency in rounds": "m/self_consistency(batch=2,k=8)",
    "weighted_vote": "m/weighted_vote(k=8,verifier=checker)",
    "diverse_sampling": "m/diverse_sampling(k=8,temperatures=[0.5,1.0])",
    "best_of_n": "m/best_of_n(batch=1,n=8,verifier=checker)",
    "best_of_n, judged": "m/best_of_n(n=8,verifier=big/judge)",
    "self_refine": "m/self_refine(rounds=3)",
    "reflexion": "m/reflexion(rounds=3,verifier=checker)",
    "beam_search": f"m/beam_search(expand=4,width=2,{STEPS})",
    "tree_of_thoughts": f"m/tree_of_thoughts(breadth=4,width=2,{STEPS})",
    "mcts": f"m/mcts(expand=2,simulations=8,{STEPS})",
    "pruned_search": f"m/pruned_search(expand=1,n=8,survivors=2,{STEPS})",
    "simulate_before_act": (
        "m/simulate_before_act(candidates=2,careful_from=0.0,rehearsals=4,risk=checker)"
    ),
    "cascade": "cascade(accept=checker,stages=[m/single,big/self_consistency(k=4)])",
    "dynamic_allocation": "m/dynamic_allocation(below=[0.9],gate=checker,probe=1,then=[4])",
    "mixture": "mixture(shares=[0.5,0.5],strategies=[m/single,big/single])",
    "hedged": "hedged(after_s=60.0,primary=m/single)",
}
LEDGER = Ledger([Scope("global", 10**18)])
MAX_TOKENS = 64
IN_FLIGHT = 1000
WAIT_S = 0.05


async def never(_prompt: str, _answer: str) -> float:
    """Accepts nothing, so that every strategy goes as far as it can; asks no thread."""
    return 0.0


TOOLS = tools_of({"checker": never}, answers_per_call=128)
ONE_EACH = tools_of({"checker": never}, answers_per_call=1)


def executor_of(text: str, *, together: bool = True) -> StrategyExecutor[Any]:
    """A strategy, with several answers per call or one."""
    return build(text, TOOLS if together else ONE_EACH)


def _finish(max_tokens: int) -> str:
    """A step of a search is cut off, so that it goes on; anything longer ends by itself."""
    return "length" if max_tokens <= STEP_TOKENS else "stop"


class InMemory:
    """Replies at once, or after a while; no two answers are the same."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.calls: list[ChatCall] = []
        self.keeps = False
        self.count = 0
        self._wait_s = wait_s

    async def chat(self, call: ChatCall) -> Completion:
        """One reply."""
        self.count += 1
        if self.keeps:
            self.calls.append(call)
        await asyncio.sleep(self._wait_s)
        texts = tuple(f"thought {self.count}.{index}\nso {index}" for index in range(call.n))
        reasons = (_finish(call.max_tokens),) * call.n
        return Completion(texts, 40, 8 * call.n, reasons, 0.0, 0, 0, (0.5,) * call.n)


async def once(executor: StrategyExecutor[Any], chat: Chat, seed: int) -> None:
    """One request as the service runs it: bound, hold, calls, settlement."""
    request = Request((Message("user", "What is 17 times 23?"),), "What?", seed, MAX_TOKENS)
    bound = executor.bound_nano_usd(request.prompt_tokens_bound, MAX_TOKENS, PRICES)
    hold = LEDGER.hold(str(seed), bound)
    try:
        await executor.answer(request, HeldCaller(chat, PRICES, hold))
    finally:
        hold.close()


async def timed(step: Callable[[int], Awaitable[None]], times: int) -> float:
    """Processor microseconds of one step."""
    began = time.process_time_ns()
    for index in range(times):
        await step(index)
    return (time.process_time_ns() - began) / times / 1000


async def family(text: str, chat: Chat, rounds: int, times: int) -> dict[str, float]:
    """A strategy beside the bare calls that it sends, in turn."""
    executor = executor_of(text)
    recorder = InMemory()
    recorder.keeps = True
    await once(executor, recorder, 0)
    calls = [replace(call, on_text=None) for call in recorder.calls]

    async def bare(_: int) -> None:
        for call in calls:
            await chat.chat(call)

    async def run(index: int) -> None:
        await once(executor, chat, index)

    await timed(bare, 5)
    await timed(run, 5)
    pairs = [(await timed(bare, times), await timed(run, times)) for _ in range(rounds)]
    bare_us = statistics.median(pair[0] for pair in pairs) / len(calls)
    added_us = statistics.median(pair[1] - pair[0] for pair in pairs) / len(calls)
    return {
        "calls": len(calls),
        "bare_us_per_call": round(bare_us, 1),
        "added_us_per_call": round(added_us, 1),
    }


class _Server(asyncio.Protocol):
    """Answers every request on its connection, with as many answers as were asked for."""

    def __init__(self) -> None:
        self._read = bytearray()
        self._write: Callable[[bytes], None] = self._read.extend

    def connection_made(self, transport: Any) -> None:
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = bytes(self._read).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not found or len(body) < length:
            return
        self._read = self._read[len(head) + 4 + length :]
        asked = msgspec.json.decode(body[:length])
        finish = _finish(asked["max_tokens"])
        self._write(_pieces() if asked.get("stream") else _whole(asked.get("n", 1), finish))


def _whole(answers: int, finish: str) -> bytes:
    """No two answers are the same."""
    choices = [
        {"message": {"content": f"so it is\nso {index}"}, "finish_reason": finish}
        for index in range(answers)
    ]
    usage = {"prompt_tokens": 40, "completion_tokens": 8 * answers}
    body = json.dumps({"choices": choices, "usage": usage}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _pieces() -> bytes:
    """Eight pieces and what ends them."""
    one = {"choices": [{"index": 0, "delta": {"content": "so "}}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 8}}
    events = [json.dumps(event) for event in (*[one] * 8, end, usage)]
    body = "".join(f"data: {event}\n\n" for event in (*events, "[DONE]")).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def serve(port: Connection) -> None:
    """A model server in a process of its own."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def seam(url: str, rounds: int, times: int) -> dict[str, float]:
    """What the seam adds to aiohttp and msgspec, per call over the socket."""
    call = ChatCall("m", (Message("user", "What is 17 times 23?"),), MAX_TOKENS, seed=1)
    heard = replace(call, on_text=lambda _: None)
    headers = {"content-type": "application/json"}
    async with Upstream(url) as upstream, aiohttp.ClientSession(headers=headers) as session:

        async def bare(_: int) -> None:
            body = request_body(call)
            async with session.post(f"{url}/v1/chat/completions", data=body) as response:
                msgspec.json.decode(await response.read())

        async def whole(_: int) -> None:
            await upstream.chat(call)

        async def streamed(_: int) -> None:
            await upstream.chat(heard)

        ways = {"aiohttp": bare, "upstream": whole, "upstream, 8 pieces": streamed}
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds + 1):
            for name, way in ways.items():
                found[name].append(await timed(way, times))
    return {f"{name}_us": round(statistics.median(us[1:]), 1) for name, us in found.items()}


async def in_flight() -> dict[str, float]:
    """1,000 strategies at once, each call taking 50 ms; the loop is asked how late it is."""
    executors = [executor_of(text, together=False) for text in FAMILIES.values()]
    chat = InMemory(WAIT_S)
    late: list[float] = []

    async def watch() -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - due)

    watching = asyncio.create_task(watch())
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(
        *(once(executors[index % len(executors)], chat, index) for index in range(IN_FLIGHT))
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    watching.cancel()
    more_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
    return {
        "strategies": IN_FLIGHT,
        "calls": chat.count,
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "cpu_us_per_call": round(1e6 * cpu / chat.count, 1),
        "loop_late_p50_ms": round(1e3 * statistics.median(late), 2),
        "loop_late_p99_ms": round(
            1e3 * statistics.quantiles(late, n=100, method="inclusive")[98], 2
        ),
        "loop_late_max_ms": round(1e3 * max(late), 2),
        "memory_kb_per_strategy": round(more_kb / IN_FLIGHT, 1),
    }


async def measured(port: int, rounds: int) -> dict[str, Any]:
    """All of it, the crowd first while memory is small."""
    crowd = await in_flight()
    url = f"http://127.0.0.1:{port}"
    rows: dict[str, Any] = {}
    async with Upstream(url) as upstream:
        for name, text in FAMILIES.items():
            rows[name] = {
                "strategy": str(executor_of(text).strategy),
                "in_memory": await family(text, InMemory(), rounds, 60),
                "over_a_socket": await family(text, upstream, rounds, 40),
            }
    return {"seam": await seam(url, rounds, 300), "families": rows, "in_flight": crowd}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="Pairs of bare and strategy.")
    rounds = parser.parse_args().rounds
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        found = uvloop.run(measured(ours.recv(), rounds))
    finally:
        server.terminate()
    result = {
        "rounds": rounds,
        **found,
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "aiohttp": aiohttp.__version__,
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
