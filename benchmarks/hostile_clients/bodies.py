"""Bodies that are nearly requests, and prompts in every script."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import aiohttp

from benchmarks.hostile_clients import world
from benchmarks.hostile_clients.exchanges import CHAT, Tally, all_of
from benchmarks.hostile_clients.running import Running

_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
_MESSAGES = [{"role": "system", "content": "be kind"}, {"role": "user", "content": world.MARK}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "inferbudget",
        "messages": _MESSAGES,
        "max_tokens": 7,
        "temperature": 0.5,
        "stop": ["x"],
        "stream": False,
        "stream_options": {"include_usage": True},
        "metadata": {"class": "hard"},
        "user": "jane",
        "tools": [_TOOL],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "seed": 1,
        "n": 1,
    },
    "/v1/completions": {"prompt": ["two"], "stop": "x", "echo": False, "n": 1, "max_tokens": 3},
    "/v1/responses": {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "two"}]}],
        "instructions": "be kind",
        "text": {"format": {"type": "text"}},
        "metadata": {"class": "hard"},
        "max_output_tokens": 7,
    },
    "/v1/embeddings": {"model": world.EMBEDDER, "input": ["a", "b"], "dimensions": 3},
}
PATHS = tuple(BODIES)
_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 10**40, 0.1, -0.0, 1e308, "", " ", "\x00",
    "a" * 300, "a" * 100_000, "\ud800", "\udcff", "user", "tool", "\u202e", "\ufeff", [], {},
    [[]], [None], {"": 0}, {"a": {"b": []}}, ["a"] * 3000, "Infinity", "é", "e\u0301", "😀",
)  # fmt: skip
_RAW = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"[" * 900 + b"]" * 900,
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"1" * 100_000,
    b"-",
    b"0x10",
    b'"\xff"',
    b'"\xed\xa0\xbd"',
    b'"\\ud83d"',
    b'"\\u0000"',
    b"'a'",
    b"// x",
    b"",
    b"nul",
    b'"' + b"\\" * 999,
)
_BLOCK = 96
_BLOCKS = sys.maxunicode // _BLOCK + 1


def _edited(chance: random.Random, value: Any) -> Any:
    """The value with something in it replaced, gone or new."""
    inner = (
        list(value)
        if isinstance(value, dict)
        else list(range(len(value)))
        if isinstance(value, list)
        else []
    )
    if not inner or chance.random() < 0.25:
        return chance.choice(_ODD)
    key = chance.choice(inner)
    found = dict(value) if isinstance(value, dict) else list(value)
    what = chance.random()
    if what < 0.15:
        del found[key]
    elif what < 0.3 and isinstance(found, dict):
        found[chance.choice(("x", "", "class", "role", "logprobs", "store", "\ud800"))] = found[key]
    else:
        found[key] = _edited(chance, found[key])
    return found


def _json(chance: random.Random, path: str) -> bytes:
    value: Any = BODIES[path]
    for _ in range(chance.randint(1, 3)):
        value = _edited(chance, value)
    try:
        return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    except ValueError:
        return json.dumps(value).encode()


def _text(chance: random.Random, path: str) -> bytes:
    """The body's text with odd JSON in it, names twice, marks before it, other encodings."""
    text = json.dumps(BODIES[path])
    name = chance.choice((*BODIES[path], "unknown", "user"))
    odd = chance.choice(_RAW)
    kind = chance.randrange(5)
    if kind == 0:
        return text[:-1].encode() + b',"%b":%b}' % (name.encode(), odd)
    if kind == 1:
        return b'{"%b":%b,%b' % (name.encode(), odd, text[1:].encode())
    if kind == 2:
        return chance.choice((b"\xef\xbb\xbf", b"\x00", b"\n" * 9999, b"1")) + text.encode()
    if kind == 3:
        return text.encode(chance.choice(("utf-16", "utf-32", "utf-7")))
    return odd


def script(number: int) -> str:
    """A text out of one block of Unicode, of all blocks one after another."""
    start = number % _BLOCKS * _BLOCK
    chance = random.Random(number)
    points = [start + chance.randrange(_BLOCK) for _ in range(40)]
    return "".join(chr(p) for p in points if p <= sys.maxunicode and not 0xD800 <= p < 0xE000)


def case(seed: int, number: int) -> tuple[str, str, bytes]:
    """What is sent as this number: its kind, its path, its body."""
    chance = random.Random(f"{seed} bodies {number}")
    path = PATHS[number % len(PATHS)]
    kind = ("edited", "text", "script")[number // len(PATHS) % 3]
    if kind == "edited":
        return kind, path, _json(chance, path)
    if kind == "text":
        return kind, path, _text(chance, path)
    words = script(number // (3 * len(PATHS))) or "x"
    asked: dict[str, Any] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": words}]},
        "/v1/completions": {"prompt": words},
        "/v1/responses": {"input": words},
        "/v1/embeddings": {"model": world.EMBEDDER, "input": words},
    }[path]
    return kind, path, json.dumps(asked, ensure_ascii=chance.random() < 0.5).encode()


async def attack(running: Running, tally: Tally, seed: int, count: int) -> None:
    """Send them; a prompt of any script must be answered, a stream of it too."""
    headers = {"authorization": f"Bearer {world.KEYS['fuzz']}", "content-type": "application/json"}
    base = f"http://127.0.0.1:{running.port}"
    async with aiohttp.ClientSession(base, headers=headers) as session:

        async def one(number: int) -> None:
            kind, path, body = case(seed, number)
            try:
                async with session.post(path, data=body) as found:
                    content = await found.read()
            except aiohttp.ClientError as error:
                tally.fail(f"{kind}: {error!r} for {(number, path, body)!r:.3000}")
                tally.saw(kind, [], number)
                return
            tally.saw(kind, [found.status], (number, path, body))
            if kind == "script" and found.status != 200:
                tally.fail(f"script: {found.status} {content!r:.300} for {(number, path, body)!r}")
            if found.status != 200 and not _is_error(content):
                tally.fail(f"{kind}: this is no error's body: {content!r:.300}")

        await all_of(range(count), one)
        async with session.post("/v1/chat/completions", data=CHAT) as found:
            if found.status != 200:
                tally.fail(f"afterwards a plain request is answered with {found.status}")


def _is_error(content: bytes) -> bool:
    try:
        return set(json.loads(content)["error"]) == {"message", "type", "param", "code"}
    except (ValueError, KeyError, TypeError):
        return False
