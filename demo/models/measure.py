"""Measure the models through their server and print the table of their card.

python -m demo.models.measure --count 300
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import aiohttp

from demo.server import running_server
from demo.tasks import SIZES, Problem, check, final_answer, problem, score

#: Neither traffic nor tests use this seed.
SEED: Final = 20_260
SAMPLES: Final = 16
TEMPERATURE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean scores in 0..1 over `count` problems; `single` is the mean of all samples."""

    count: int
    greedy: float
    single: float
    majority: float
    best: float


async def measure(
    session: aiohttp.ClientSession,
    model: str,
    task: str,
    level: int,
    count: int,
    *,
    seed: int = SEED,
) -> Accuracy:
    """Measure one model on problems of one level; `session` has the server's base URL."""
    drawn = [problem(task, level, seed, index) for index in range(count)]
    greedy = await asyncio.gather(*(ask(session, model, one, 1, 0.0) for one in drawn))
    sampled = await asyncio.gather(
        *(ask(session, model, one, SAMPLES, TEMPERATURE) for one in drawn)
    )
    pairs = list(zip(drawn, sampled, strict=True))
    return Accuracy(
        count,
        fmean(score(one.prompt, texts[0]) for one, texts in zip(drawn, greedy, strict=True)),
        fmean(score(one.prompt, text) for one, texts in pairs for text in texts),
        fmean(score(one.prompt, majority(texts)) for one, texts in pairs),
        fmean(score(one.prompt, best(one.prompt, texts)) for one, texts in pairs),
    )


async def ask(
    session: aiohttp.ClientSession, model: str, one: Problem, n: int, temperature: float
) -> list[str]:
    """The texts of `n` samples, seeded by the problem's place in its list."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": one.prompt}],
        "n": n,
        "temperature": temperature,
        "seed": int(one.query_id.rsplit("-", 1)[1]),
    }
    async with session.post("/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        answer = await response.json()
    return [choice["message"]["content"] for choice in answer["choices"]]


def majority(texts: list[str]) -> str:
    """The final answer that most texts give, the first among equals."""
    return Counter(map(final_answer, texts)).most_common(1)[0][0]


def best(prompt: str, texts: list[str]) -> str:
    """The first text that passes the check, or the first of all."""
    return max(texts, key=lambda text: check(prompt, text))


async def table(count: int) -> None:
    """Print one row per model, task and level."""
    print(f"| model | task | size | temperature 0 | one sample | majority of {SAMPLES} | ", end="")
    print(f"best of {SAMPLES} |\n|---|---|---|---|---|---|---|")
    connector = aiohttp.TCPConnector(limit=64)
    async with (
        running_server() as url,
        aiohttp.ClientSession(url, connector=connector) as session,
    ):
        for model in ("demo-small", "demo-large"):
            for task, sizes in SIZES.items():
                for level, size in enumerate(sizes, 1):
                    found = await measure(session, model, task, level, count)
                    shares = (found.greedy, found.single, found.majority, found.best)
                    cells = " | ".join(f"{share:.3f}" for share in shares)
                    print(f"| {model} | {task} | {size} | {cells} |", flush=True)


def main() -> None:
    """Read the number of problems per row and print the table."""
    parser = argparse.ArgumentParser(prog="python -m demo.models.measure", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="problems per row")
    asyncio.run(table(parser.parse_args().count))


if __name__ == "__main__":
    main()
