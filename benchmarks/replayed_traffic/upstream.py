"""A model server that repeats recorded answers, each after the time that it took, and keeps a bill.

It has room for everybody: a burst makes no queue here, as with a provider that scales. A call is
billed as it arrives, before a byte of its reply. `GET /bill` says what it is owed.

    python -m benchmarks.replayed_traffic.upstream ANSWERS.jsonl
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from benchmarks.replayed_traffic.answers import MODELS, read_answers
from demo.server.bill import Bill, read_prices

PRICES = Path("demo/prices.yaml")


class Server:
    """Repeats and bills.

    Args:
        answers: File of the recorded answers.
    """

    def __init__(self, answers: Path) -> None:
        self._answers = read_answers(answers)
        self._bill = Bill(read_prices(PRICES, MODELS))

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._chat)
        application.router.add_get("/bill", self._report)
        return application

    async def _chat(self, request: web.Request) -> web.Response:
        asked = await request.json()
        call = asked["messages"][-1]["content"], asked["model"], asked.get("n") or 1
        recorded = self._answers[call]
        self._bill.charge(asked["model"], recorded.usage)
        await asyncio.sleep(recorded.latency_s)
        return web.Response(body=recorded.body, content_type="application/json")

    async def _report(self, _: web.Request) -> web.Response:
        return web.json_response(self._bill.report())


async def serve(answers: Path) -> None:
    """Listen until killed; a line on stdout says where."""
    runner = web.AppRunner(Server(answers).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    gc.freeze()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
