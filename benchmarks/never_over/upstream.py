"""A model server that keeps its own bill, and behaves badly.

Every request that it has fully received is billed as it arrives, before a byte of a reply: whether
the client leaves, the reply is cut, its usage is missing or no reply ever comes. Only 429 and a 503
that says so itself cost nothing. The prompt names request, key, user and class, so that the bill
says whose each line is. The bill is a file of fixed records, written before the reply; faults and
sizes are drawn from a seed.

    python -m benchmarks.never_over.upstream BILL [--port N] [--seed N] [--faults SHARE]
        [--mean-ms N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import re
import socket
import time
from typing import Any

import msgspec
import numpy as np
import uvloop

from benchmarks.never_over.policy import NANO_USD_PER_TOKEN
from benchmarks.never_over.records import FAULTS, FREE, LINE
from benchmarks.never_over.replies import END, refused, streamed, whole
from benchmarks.never_over.world import MOST_PROMPT_TOKENS, NANO_GPU_S_PER_TOKEN

_WEIGHTS = (0, 4, 2, 4, 2, 2, 2, 2, 0.3, 3)
TAG = re.compile(
    rb"#r(?P<request>[0-9]{9}) k(?P<key>[0-9]) u(?P<user>[0-9]) c(?P<class>[0-9]) "
    rb"t(?P<sent>[0-9]{17})#"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class _Asked(msgspec.Struct):
    model: str
    max_tokens: int
    n: int = 1
    stream: bool = False


_asked = msgspec.json.Decoder(_Asked)


class Server:
    """Draws, bills and replies.

    Args:
        bill: File that lines are added to.
        seed: Of what is drawn.
        faults: Share of requests that something happens to.
        mean_s: Mean time that a reply takes.
    """

    def __init__(self, bill: str, seed: int, faults: float, mean_s: float) -> None:
        self._file = os.open(bill, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._chance = random.Random(seed)
        self._faults = faults
        self._mean_s = mean_s
        self._kinds = range(len(FAULTS))
        self._line = np.zeros(1, LINE)

    def answer(self, connection: Connection, body: bytes) -> None:
        """Bill a request, then reply or not."""
        received = time.time_ns() // 1000
        asked, chance = _asked.decode(body), self._chance
        fault = 0
        if chance.random() < self._faults:
            fault = chance.choices(self._kinds, _WEIGHTS)[0]
        delay_s = min(chance.expovariate(1 / self._mean_s), 20 * self._mean_s)
        # Some requests cost all that their bound allows.
        full = chance.random() < 0.05
        tokens_in = MOST_PROMPT_TOKENS if full else chance.randrange(20, 60)
        tokens_out = asked.n * (asked.max_tokens if full else chance.randrange(1, asked.max_tokens))
        self._bill(body, asked.model, (tokens_in, tokens_out), fault, (received, delay_s))
        self._reply(connection, asked, (tokens_in, tokens_out), fault, delay_s)

    def _bill(
        self,
        body: bytes,
        model: str,
        tokens: tuple[int, int],
        fault: int,
        when: tuple[int, float],
    ) -> None:
        found = TAG.search(body)
        if found is None:
            raise ValueError(f"a prompt without a tag: {body[:200]!r}")
        line = self._line[0]
        line["request"] = int(found["request"])
        line["key"], line["user"] = int(found["key"]), int(found["user"])
        line["class_index"] = int(found["class"])
        line["sent_us"] = int(found["sent"])
        line["received_us"], line["ends_us"] = when[0], when[0] + int(when[1] * 1e6)
        line["fault"] = fault
        free = fault in FREE
        for name, card in (("nano_usd", NANO_USD_PER_TOKEN), ("nano_gpu_s", NANO_GPU_S_PER_TOKEN)):
            each_in, each_out = card[model]
            line[name] = 0 if free else tokens[0] * each_in + tokens[1] * each_out
        line["tokens"] = 0 if free else sum(tokens)
        os.write(self._file, self._line.tobytes())

    def _reply(
        self,
        connection: Connection,
        asked: _Asked,
        tokens: tuple[int, int],
        fault: int,
        delay_s: float,
    ) -> None:
        name = FAULTS[fault]
        later = asyncio.get_running_loop().call_later
        if name == "hang":
            return
        if name == "reset without a reply":
            later(delay_s, connection.abort)
            return
        if name[0].isdigit():
            later(delay_s, connection.write, refused(name))
            return
        usage = {
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
        }
        told = None if name == "no usage" else usage
        if not asked.stream:
            content = whole(asked.model, asked.n, told)
            if name.startswith("cut"):
                later(delay_s, connection.cut, content[: len(content) * 2 // 3])
            else:
                later(delay_s, connection.write, content)
            return
        parts = streamed(told)
        if name == "cut before usage":
            parts = parts[:3]
        elif name == "cut after usage":
            parts[-1] = parts[-1].removesuffix(b"e\r\n" + END + b"\r\n0\r\n\r\n")
        pieces = iter(parts)
        last = parts[-1] if name.startswith("cut") else None

        def go_on() -> None:  # one timer after the other: near ones may fire in any order
            part = next(pieces, None)
            if part is None:
                return
            (connection.cut if part is last else connection.write)(part)
            later(delay_s / len(parts), go_on)

        later(delay_s / len(parts), go_on)


class Connection(asyncio.Protocol):
    """Reads requests; a client that leaves is noticed by nobody.

    Args:
        server: That answers them.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._read = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where replies are written."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._read, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._read) < size:
                return
            body = bytes(self._read[end + 4 : size])
            del self._read[:size]
            self._server.answer(self, body)

    def write(self, content: bytes) -> None:
        """Send, where somebody is still there."""
        if not self._transport.is_closing():
            self._transport.write(content)

    def cut(self, content: bytes) -> None:
        """Send, and break the connection."""
        self.write(content)
        self._transport.close()

    def abort(self) -> None:
        """Break the connection."""
        self._transport.abort()


async def serve(port: int, server: Server) -> None:
    """Listen until killed; a line on stdout says where."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: Connection(server), "127.0.0.1", port, family=socket.AF_INET, backlog=4096
    )
    print(listening.sockets[0].getsockname()[1], flush=True)
    gc.freeze()
    await listening.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bill")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--mean-ms", type=float, default=10.0)
    asked = parser.parse_args()
    server = Server(asked.bill, asked.seed, asked.faults, asked.mean_ms / 1000)
    uvloop.run(serve(asked.port, server))


if __name__ == "__main__":
    main()
