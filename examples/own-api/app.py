"""An application that answers chat completions itself, with a budget in front of it.

No framework: every ASGI server runs it, and any framework's application can stand in its place.
Its "models" add two numbers. The small one is wrong at times, the large one seldom; both cost what
the demo's policy says, which decides how each sum is answered.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from runtime import BudgetMiddleware

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

POLICY = Path(__file__).parents[2] / "demo/policy/policy.yaml"
WRONG = {"demo-small": 0.6, "demo-large": 0.2}
_NUMBER = re.compile(r"\d+")


def add(model: str, question: str, chance: random.Random) -> str:
    """What a model says."""
    total = sum(map(int, _NUMBER.findall(question)))
    return str(total + (chance.random() < WRONG[model]))


def check(prompt: str, answer: str) -> float:
    """The verifier that the policy's strategies name: by casting out nines, so it can be fooled."""
    if not answer.isdigit():
        return 0.0
    return float(int(answer) % 9 == sum(map(int, _NUMBER.findall(prompt))) % 9)


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """``POST /v1/chat/completions``, and nothing else."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    # another method would come here past the budget
    if (scope["method"], scope["path"]) != ("POST", "/v1/chat/completions"):
        await respond(send, 404, {"error": {"message": "no such page"}})
        return
    call = json.loads(await read(receive))
    question = call["messages"][-1]["content"]
    chance = random.Random(call.get("seed"))
    texts = [add(call["model"], question, chance) for _ in range(call.get("n", 1))]
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": len(question), "completion_tokens": sum(map(len, texts))}
    await respond(send, 200, {"choices": choices, "usage": usage})


async def read(receive: Receive) -> bytes:
    """The whole body."""
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            return body


async def respond(send: Send, status: int, content: Any) -> None:
    """A whole reply."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


app = BudgetMiddleware(application, POLICY, verifiers={"checker": check})
