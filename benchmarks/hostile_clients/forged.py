"""Headers and fields by which one tenant would pass for another, and keys that open nothing."""

from __future__ import annotations

import json
import random
import statistics
import time

import aiohttp

from benchmarks.hostile_clients import world
from benchmarks.hostile_clients.exchanges import Tally, all_of
from benchmarks.hostile_clients.running import Running

_SHUT = ("past", "off", "stranger")
_TIMED = 400
_NAMES = (
    "x-inferbudget-class", "x-inferbudget-tags", "x-inferbudget-user", "x-inferbudget-tenant",
    "x-inferbudget-org", "x-inferbudget-key", "x-inferbudget-cost-usd", "x-inferbudget-strategy",
    "x-inferbudget-rung", "x-inferbudget-request-id", "x-inferbudget-outcome", "traceparent",
    "tracestate", "baggage", "forwarded", "x-forwarded-for", "x-forwarded-user", "x-real-ip",
    "x-original-url", "x-rewrite-url", "x-http-method-override", "x-api-key", "api-key",
    "proxy-authorization", "cookie", "openai-organization", "openai-project", "x-request-id",
    "remote-user", "x-authenticated-userid",
)  # fmt: skip
_VALUES = (
    "acme", "org:acme", "org:acme/key:web", "web", "blau", "vip", "night", "trial", "trial,vip",
    "vip\t", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r", "0", "-1", "0.0", "true", "", "../../acme",
    "org%3Aacme", "00-" + "1" * 32 + "-" + "1" * 16 + "-01", "for=127.0.0.1;by=acme", "/ledger",
    "GET", "hard", "easy", "\u00e9".encode().decode("latin-1"), "x" * 4000,
)  # fmt: skip
_USERS = ("jane", "org:acme", "", "../acme", "acme/key:web", "x" * 512, "\u202e", "user:1|nano_usd")
_OPERATORS = ("/metrics", "/ledger", "/dry-run")


def case(seed: int, number: int) -> tuple[str, str, dict[str, str], dict[str, object]]:
    """Kind, key, headers and body of a number."""
    chance = random.Random(f"{seed} forged {number}")
    key = chance.choice(("fuzz", "bound", "poor", "tight", *_SHUT))
    headers = {chance.choice(_NAMES): chance.choice(_VALUES) for _ in range(chance.randint(0, 4))}
    user = chance.choice(_USERS)
    if chance.random() < 0.5:
        user += str(number)
    body: dict[str, object] = {
        "messages": [{"role": "user", "content": f"{world.MARK} {number}"}]
        * chance.choice((1, 1, 5)),
        "user": user,
        "metadata": {"class": chance.choice(_VALUES), "tenant": "acme", "key": world.KEYS["web"]},
        "tenant": "acme",
        "organisation": "acme",
        "stream": chance.random() < 0.2,
    }
    return f"key {key}", key, headers, body


async def attack(running: Running, tally: Tally, seed: int, count: int) -> None:
    """Send them; keys that are shut open nothing, and clients never see the operator's pages."""
    base = f"http://127.0.0.1:{running.port}"
    async with aiohttp.ClientSession(base) as session:

        async def one(number: int) -> None:
            kind, key, forged, body = case(seed, number)
            headers = {**forged, "authorization": f"Bearer {world.KEYS[key]}"}
            async with session.post(
                "/v1/chat/completions", data=json.dumps(body).encode(), headers=headers
            ) as found:
                await found.read()
            tally.saw(kind, [found.status], (number, forged))
            if key in _SHUT and found.status != 401:
                tally.fail(f"the key {key} was answered with {found.status}: {forged}")
            if key in ("bound", "poor", "tight") and "x-inferbudget-tags" in forged:
                tags = forged["x-inferbudget-tags"].strip()
                if tags and found.status == 200:
                    tally.fail(f"the key {key} set the tags {tags!r}")

        await all_of(range(count), one)
        for path in _OPERATORS:
            for key in (*world.KEYS, None):
                sent = {"authorization": f"Bearer {world.KEYS[key]}"} if key else {}
                method = "POST" if path == "/dry-run" else "GET"
                async with session.request(method, path, headers=sent, data=b"{}") as found:
                    tally.saw("operator's pages", [found.status], (path, key))
                    if found.status not in (401, 403):
                        tally.fail(f"{path} answered {found.status} to {key}")
        tally.figures["refusal_us"] = await _timed(session, tally)


async def _timed(session: aiohttp.ClientSession, tally: Tally) -> dict[str, float]:
    """Median microseconds until a wrong key is refused, by how wrong it is; taken in turns."""
    right = world.KEYS["web"]
    keys = {
        "unknown": world.KEYS["stranger"],
        "another first character": "ib-" + ("A" if right[3] != "A" else "B") + right[4:],
        "another last character": right[:-2] + ("AA" if right[-2:] != "AA" else "BA"),
        "switched off": world.KEYS["off"],
        "expired": world.KEYS["past"],
    }
    took_us: dict[str, list[float]] = {name: [] for name in keys}
    for _ in range(_TIMED):
        for name, key in keys.items():
            began_s = time.perf_counter()
            async with session.get(
                "/v1/models", headers={"authorization": f"Bearer {key}"}
            ) as found:
                await found.read()
            took_us[name].append(1e6 * (time.perf_counter() - began_s))
            tally.saw("wrong keys by time", [found.status], name)
    return {name: round(statistics.median(found), 1) for name, found in took_us.items()}
